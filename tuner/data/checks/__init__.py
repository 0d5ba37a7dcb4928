"""What may be wrong with examples, and how it is found."""
