"""What is written down for later: the log, the audit log, and tuner.lock."""
