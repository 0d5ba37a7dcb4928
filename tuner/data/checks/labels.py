"""Outputs as a set of labels: a rare one that looks like a misspelt frequent one, and imbalance."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from tuner.data import Batch

MOST_LABELS = 200
"""More different outputs than this are no set of labels, nor are more than one in ``ROWS_A_LABEL``."""
ROWS_A_LABEL = 5
SMALL_SET = 10
"""Up to so many labels may be in any number of rows."""
LONGEST = 60
"""Characters of a label."""
RARE = 20
"""What is in more rows than this was meant."""
TIMES_AS_FREQUENT = 10
IMBALANCE = 0.9
"""The share of one output from which a model that always gives it looks good."""
LEAST_ROWS = 50
"""With fewer rows no share means much."""
_LETTERS_AN_EDIT = 4
"""``cat`` and ``car`` may both be meant; of four letters or more one may be wrong, of eight two."""


class _Place(NamedTuple):
    path: str
    line: int
    column: int


class Labels:
    """Counts the outputs as long as there are few different ones, and where the rare ones are."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._places: dict[str, list[_Place]] = {}
        self._path = ""
        self._is_set = True

    @property
    def are_labels(self) -> bool:
        """Whether the outputs, as far as they were seen, are a set of labels."""
        return self._is_set and bool(self.counts)

    def add(self, batch: Batch) -> None:
        """Count the outputs of a batch."""
        if not self._is_set:
            return
        self._path = self._path or batch.path
        self.counts.update(batch.outputs)
        self._is_set = is_label_set(self.counts)
        if self._is_set:
            self._locate(batch)
        else:
            self.counts.clear()
            self._places.clear()

    def problems(self, ignore: Container[str] = frozenset()) -> Iterator[Problem]:
        """What is wrong with the set of labels, if it is one."""
        if self.are_labels and "label-typo" not in ignore:
            typos = misspelt(self.counts)
            for label, other in typos.items():
                for place in self._places[label]:
                    yield _typo(place, label, other, self.counts)
            yield from self._spelt_twice(typos)
        if self.are_labels and "imbalance" not in ignore:
            yield from self._imbalance()

    def _locate(self, batch: Batch) -> None:
        """Remember where the labels are that are still rare: later the batch is gone."""
        rare = {label for label, count in self.counts.items() if count <= RARE}
        for row, label in enumerate(batch.outputs if rare else ()):
            if label in rare:
                place = _Place(batch.path, *batch.locate(row, "output"))
                self._places.setdefault(label, []).append(place)
        for label in self._places.keys() - rare:
            del self._places[label]

    def _spelt_twice(self, told: Container[str]) -> Iterator[Problem]:
        """Labels that differ by case and space alone and are too frequent to be slips."""
        alike: dict[str, str] = {}
        for label, count in self.counts.most_common():
            other = alike.setdefault(_bare(label), label)
            if other != label and _bare(label) and label not in told:
                what = f"the outputs {other!r} ({self.counts[other]:,}) and {label!r} ({count:,})"
                what += " differ by case and space alone"
                fix = "write both in one way, if they mean the same: an answer counts to the letter"
                yield Problem(self._path, 0, 0, what, fix, "label-typo", "warning")

    def _imbalance(self) -> Iterator[Problem]:
        ((label, count), *others), rows = self.counts.most_common(), self.counts.total()
        if rows < LEAST_ROWS or count < rows * IMBALANCE:
            return
        what = f"{count:,} of {rows:,} outputs are {label!r}"
        if others:
            what += f", {others[0][1]:,} are {others[0][0]!r}, the next most frequent"
        fix = "add rows with other outputs, or take some of these out: a model learns to say it always"
        yield Problem(self._path, 0, 0, what, fix, "imbalance", "warning")


def is_label_set(counts: Counter[str]) -> bool:
    """Whether outputs that are there so often are a set of labels: few, and short."""
    most = max(SMALL_SET, min(MOST_LABELS, counts.total() // ROWS_A_LABEL))
    return len(counts) <= most and max(map(len, counts), default=0) <= LONGEST


def misspelt(counts: Counter[str]) -> dict[str, str]:
    """Each rare label that may be a misspelt frequent one, and that one."""
    found: dict[str, str] = {}
    for label, count in counts.items():
        for other, times in counts.most_common() if count <= RARE else ():
            if times < count * TIMES_AS_FREQUENT:
                break
            if is_misspelt(label, other):
                found[label] = other
                break
    return found


def is_misspelt(label: str, other: str) -> bool:
    """Whether two labels differ by case and space alone, or by a letter in four at most two.

    Letters count that are left out, put in, exchanged with the next or replaced. Digits tell labels
    apart, and so does another beginning: ``supported`` is no misspelt ``unsupported``, and
    ``decrease`` no ``increase``.
    """
    one, two = sorted(map(_bare, (label, other)), key=len)
    if one == two:
        return True
    if not one or any(map(str.isdigit, one + two)):
        return False
    if two.endswith(one) and len(two) > len(one) + 1:
        return False
    most = min(2 if one[0] == two[0] else 1, len(one) // _LETTERS_AN_EDIT)
    return abs(len(one) - len(two)) <= most and _edits(one, two) <= most


def _bare(label: str) -> str:
    """A label but for case and space."""
    return "".join(label.casefold().split())


def _edits(one: str, two: str) -> int:
    """The least number of edits that make ``one`` ``two`` (Damerau-Levenshtein, adjacent letters)."""
    before: list[int] = []
    last = list(range(len(two) + 1))
    for row, letter in enumerate(one, 1):
        now = [row]
        for column, other in enumerate(two, 1):
            cost = min(last[column] + 1, now[-1] + 1, last[column - 1] + (letter != other))
            if row > 1 < column and letter == two[column - 2] and one[row - 2] == other:
                cost = min(cost, before[column - 2] + 1)
            now.append(cost)
        before, last = last, now
    return last[-1]


def _typo(place: _Place, label: str, other: str, counts: Counter[str]) -> Problem:
    what = f"the output {label!r} ({counts[label]:,}) looks like a misspelt {other!r} ({counts[other]:,})"
    return Problem(*place, what, f"write {other!r}, if it is that", "label-typo", "warning")
