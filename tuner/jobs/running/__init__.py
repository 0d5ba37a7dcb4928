"""One process's work on many jobs, side by side with other processes."""
