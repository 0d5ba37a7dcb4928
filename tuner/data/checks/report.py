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
LOOK_AGAIN = "mend the first ones and look again"
MAX_SAME = 2
"""Rows that are shown to lack one key: mostly all lack it, and the first says so."""


def capped(problems: Iterable[Problem], fix: str = LOOK_AGAIN) -> list[Problem]:
    """At most ``MAX_SHOWN`` problems a rule, in file order, then the count of the others.

    Args:
        problems: All of them.
        fix: What to do about the others.
    """
    tally = Tally()
    tally.add_all(problems)
    return tally.capped(fix)


class Tally:
    """Keeps the first problems of each rule and counts the others.

    Attributes:
        counts: How many there were of each rule and severity.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, Severity]] = Counter()
        self._files: dict[str, int] = {}
        self._shown_of: Counter[tuple[str, Severity]] = Counter()
        self._lacking: Counter[str] = Counter()
        self._shown: list[Problem] = []

    def add(self, problem: Problem) -> None:
        """Take the next problem."""
        self._files.setdefault(problem.path, len(self._files))
        rule = (problem.rule, problem.severity)
        self.counts[rule] += 1
        if self._shown_of[rule] < MAX_SHOWN and not self._is_stale(problem):
            self._shown_of[rule] += 1
            self._shown.append(problem)

    def add_all(self, problems: Iterable[Problem]) -> None:
        """Take the next ones."""
        for problem in problems:
            self.add(problem)

    def has(self, severity: Severity) -> bool:
        """Whether there was one so grave."""
        return any(each == severity for _, each in self.counts)

    def shown(self) -> list[Problem]:
        """Those that were kept, file by file and in the order of each."""
        return sorted(self._shown, key=self._place)

    def capped(self, fix: str = LOOK_AGAIN) -> list[Problem]:
        """The function of this name, of what was added."""
        return [*self.shown(), *self.others(fix)]

    def others(self, fix: str) -> Iterator[Problem]:
        """How many were not kept, one a rule."""
        path = next(iter(self._files), "")
        for (rule, severity), more in self.more().items():
            what = f"{more:,} more like the {self._shown_of[rule, severity]} above ({rule})"
            yield Problem(path, 0, 0, what, fix, rule, severity)

    def more(self) -> dict[tuple[str, Severity], int]:
        """How many of each rule were not kept, where there were too many."""
        return dict(self.counts - self._shown_of)

    def _is_stale(self, problem: Problem) -> bool:
        """Whether this key was said to be missing often enough."""
        if problem.rule != "no-key":
            return False
        self._lacking[problem.what] += 1
        return self._lacking[problem.what] > MAX_SAME

    def _place(self, problem: Problem) -> tuple[int, int, int]:
        return self._files[problem.path], problem.line, problem.column
