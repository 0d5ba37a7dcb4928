"""What a tuned model makes of held-out rows, and whether it may be shared."""
