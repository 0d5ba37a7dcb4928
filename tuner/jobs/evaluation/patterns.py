"""A regular expression held against answers in a process of its own: some of them never come to an end.

Python's matcher lets no other thread run meanwhile, and cannot be stopped from within.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import weakref

from tuner.jobs.evaluation.own_metric import NoScoreError

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


class Matcher:
    """Tells whether whole texts match; the process is begun with the first of them."""

    def __init__(self) -> None:
        """Nothing is begun yet."""
        self._process: subprocess.Popen[str] | None = None

    def matches(self, pattern: str, text: str) -> bool:
        """Whether all of ``text`` matches; a dot is any character.

        Raises:
            NoScoreError: The pattern cannot be compiled, or does not come to an end in ``LONGEST_S``.
        """
        process = self._begun()
        if process.stdin is None or process.stdout is None:
            raise NoScoreError("regex has no process to match in")
        process.stdin.write(json.dumps([pattern, text]) + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], LONGEST_S)[0]:
            _end(process)
            raise NoScoreError(
                f"regex was not done after {LONGEST_S:g} s: a pattern that repeats what repeats, "
                "such as (a+)+, may take for ever"
            )
        said = json.loads(process.stdout.readline() or '"its process ended"')
        if isinstance(said, str):
            raise NoScoreError(f"regex has no such pattern: {said}")
        return bool(said)

    def _begun(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _MATCHER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="ascii",
                start_new_session=True,  # Ctrl-C is for us
            )
            weakref.finalize(self, _end, self._process)
        return self._process


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
