"""A regular expression held against answers in a process of its own: some of them never come to an end.

Python's matcher lets no other thread run meanwhile, and cannot be stopped from within.
"""

from __future__ import annotations

import re
import sys

from tuner.evaluation.apart import Apart
from tuner.evaluation.own_metric import NoScoreError

LONGEST_S = 10.0
"""For one answer: thousands are matched in a second, by what comes to an end at all."""

_MATCHER = """
import functools, json, re, sys
compiled = functools.lru_cache(maxsize=1024)(lambda pattern: re.compile(pattern, re.DOTALL))
for line in sys.stdin:
    pattern, text = json.loads(line)
    try:
        said = compiled(pattern).fullmatch(text) is not None
    except (re.error, RecursionError, OverflowError, MemoryError) as error:
        said = str(error) or type(error).__name__
    print(json.dumps(said), flush=True)
"""


class Pattern:
    """Tells whether whole answers match; the process is begun with the first of them."""

    def __init__(self, pattern: str) -> None:
        """Nothing is begun yet; ``{expected}`` in ``pattern`` stands for what was expected."""
        self._pattern = pattern
        self._process = Apart([sys.executable, "-I", "-S", "-c", _MATCHER])

    def __call__(self, expected: str, answer: str) -> float:
        """1 when all of the answer matches, white space around it aside; a dot is any character.

        Raises:
            NoScoreError: The pattern cannot be compiled, or does not come to an end in ``LONGEST_S``.
        """
        pattern = self._pattern.replace("{expected}", re.escape(expected))
        try:
            said = self._process.ask([pattern, answer.strip()], LONGEST_S)
        except TimeoutError as error:
            raise NoScoreError(
                f"regex was not done after {LONGEST_S:g} s: a pattern that repeats what repeats, "
                "such as (a+)+, may take for ever"
            ) from error
        except EOFError as error:
            raise NoScoreError(f"regex lost its process: {error}") from error
        if isinstance(said, str):
            raise NoScoreError(f"regex has no such pattern: {said}")
        return float(said)

    def close(self) -> None:
        """End its process, whatever it is at; from any thread."""
        self._process.end()
