"""Limit how many problems are shown: the first of each rule, and the number of the others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuner.errors import Severity

MAX_SHOWN = 20
"""Problems of one rule that are shown; the others are counted."""
FIX_FIRST = "fix the first ones and run the check again"
_MAX_SAME_KEY = 2
"""Rows without a key that are shown: usually all rows lack it."""


def capped(problems: Iterable[Problem], fix: str = FIX_FIRST) -> list[Problem]:
    """Return at most ``MAX_SHOWN`` problems a rule, in file order, then the number of the others.

    Args:
        problems: All of them.
        fix: What to do about the others.
    """
    tally = ProblemTally()
    tally.add_all(problems)
    return tally.capped(fix)


class ProblemTally:
    """Keeps the first problems of each rule and counts the others.

    Attributes:
        counts: How many there are of each rule and severity.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, Severity]] = Counter()
        self._file_order: dict[str, int] = {}
        self._shown_counts: Counter[tuple[str, Severity]] = Counter()
        self._missing_keys: Counter[str] = Counter()
        self._shown: list[Problem] = []

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it if it is one of the first."""
        self._file_order.setdefault(problem.path, len(self._file_order))
        rule = (problem.rule, problem.severity)
        self.counts[rule] += 1
        if problem.rule == "no-key":
            self._missing_keys[problem.what] += 1
            if self._missing_keys[problem.what] > _MAX_SAME_KEY:
                return
        if self._shown_counts[rule] < MAX_SHOWN:
            self._shown_counts[rule] += 1
            self._shown.append(problem)

    def add_all(self, problems: Iterable[Problem]) -> None:
        """Add problems one by one."""
        for problem in problems:
            self.add(problem)

    def has(self, severity: Severity) -> bool:
        """Return whether a problem has this severity."""
        return any(each == severity for _, each in self.counts)

    def shown(self) -> list[Problem]:
        """Return the problems that were kept, file by file and in file order."""
        return sorted(
            self._shown, key=lambda each: (self._file_order[each.path], each.line, each.column)
        )

    def capped(self, fix: str = FIX_FIRST) -> list[Problem]:
        """Return what the function of this name returns, for the added problems."""
        return [*self.shown(), *self.others(fix)]

    def others(self, fix: str) -> Iterator[Problem]:
        """Yield a problem for each rule with the number of those that were not kept."""
        path = next(iter(self._file_order), "")
        for (rule, severity), more in self.more().items():
            shown = self._shown_counts[rule, severity]
            what = f"{more:,} more like the {shown} above ({rule})"
            yield Problem(path, 0, 0, what, fix, rule, severity)

    def more(self) -> dict[tuple[str, Severity], int]:
        """Return how many of each rule were not kept."""
        return dict(self.counts - self._shown_counts)
