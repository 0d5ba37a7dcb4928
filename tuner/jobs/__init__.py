"""The orchestrator: what happens to one job, and to many."""
