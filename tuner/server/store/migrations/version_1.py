"""The tables of tuner 0.1.0: never created, because only its SQLite files have them."""

from __future__ import annotations

revision = "1"
down_revision = None


def upgrade() -> None:
    """Do nothing."""
