"""How long to wait before asking again."""

import random


def jittered(seconds: float) -> float:
    """Give or take a fifth, so that many who wait do not ask in step."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 -- nothing secret
