"""Where tests keep the real base models, fetched once for all of them."""

from __future__ import annotations

from pathlib import Path

MODELS = Path(__file__).parents[2] / ".cache" / "models"


def lend(home: Path) -> Path:
    """The same home, and in it the models that were fetched and converted before."""
    MODELS.mkdir(parents=True, exist_ok=True)
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "models").exists():
        (home / "models").symlink_to(MODELS)
    return home
