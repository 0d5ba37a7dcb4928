"""What happens to a job, and who is informed: events, reporters and notifications."""
