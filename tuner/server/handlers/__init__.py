"""What each method does, whichever door a call came through."""
