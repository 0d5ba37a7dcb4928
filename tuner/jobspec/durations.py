"""Lengths of time as people write them: ``90s``, ``45m``, ``2h30m``."""

from __future__ import annotations

import re

DURATION = r"^(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?$"
"""Days, hours, minutes and seconds, each at most once; at least one (which ``$`` cannot say)."""


def seconds(text: str) -> float:
    """The length in seconds of a text that matches ``DURATION``."""
    found = re.fullmatch(DURATION, text)
    counts = [int(count or 0) for count in found.groups()] if found else [0]
    return float(sum(n * size for n, size in zip(counts, (86_400, 3_600, 60, 1), strict=False)))
