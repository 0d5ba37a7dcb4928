"""Where tests keep the real base models, fetched once for all of them."""

from __future__ import annotations

from pathlib import Path

MODELS = Path(__file__).parents[2] / ".cache" / "models"
