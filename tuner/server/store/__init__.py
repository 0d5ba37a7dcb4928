"""What the service remembers, on SQLAlchemy Core: one file a kind of row, one transaction a change."""
