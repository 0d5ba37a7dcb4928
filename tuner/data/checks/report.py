"""Which of many problems are shown: the first ones of each rule, and how many more there are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuner.errors import Severity

MAX_SHOWN = 20
"""Problems of one rule that are shown; the rest are counted."""


def capped(
    problems: Iterable[Problem], fix: str = "mend the first ones and look again"
) -> list[Problem]:
    """At most ``MAX_SHOWN`` problems a rule, in file order, then the count of the others.

    Args:
        problems: All of them.
        fix: What to do about the others.
    """
    tally = Tally()
    for problem in problems:
        tally.add(problem)
    return [*tally.shown(), *tally.others(fix)]


class Tally:
    """Keeps the first problems of each rule and counts the others.

    Attributes:
        counts: How many there were of each rule and severity.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, Severity]] = Counter()
        self._files: dict[str, int] = {}
        self._shown: list[Problem] = []

    def add(self, problem: Problem) -> None:
        """Take the next problem."""
        self._files.setdefault(problem.path, len(self._files))
        rule = (problem.rule, problem.severity)
        self.counts[rule] += 1
        if self.counts[rule] <= MAX_SHOWN:
            self._shown.append(problem)

    def has(self, severity: Severity) -> bool:
        """Whether there was one so grave."""
        return any(each == severity for _, each in self.counts)

    def shown(self) -> list[Problem]:
        """Those that were kept, file by file and in the order of each."""
        return sorted(self._shown, key=self._place)

    def others(self, fix: str) -> Iterator[Problem]:
        """How many were not kept, one a rule."""
        path = next(iter(self._files), "")
        for (rule, severity), more in self.more().items():
            what = f"{more:,} more rows like the {MAX_SHOWN} above ({rule})"
            yield Problem(path, 0, 0, what, fix, rule, severity)

    def more(self) -> dict[tuple[str, Severity], int]:
        """How many of each rule were not kept, where there were too many."""
        counts = self.counts.items()
        return {rule: count - MAX_SHOWN for rule, count in counts if count > MAX_SHOWN}

    def _place(self, problem: Problem) -> tuple[int, int, int]:
        return self._files[problem.path], problem.line, problem.column
