"""What a run would do, and why, before it does anything."""
