"""Check outputs that are a set of labels: misspelt rare ones, two spellings, and imbalance."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tuner.data.checks.duplicates import normalize
from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from tuner.data.dataset import Batch

MAX_LABELS = 200
"""More different outputs are not a set of labels, nor more than one in ``_MIN_ROWS_PER_LABEL`` rows."""
_MIN_ROWS_PER_LABEL = 5
_SMALL_SET = 10
"""With this number of labels or fewer, the number of rows does not matter."""
MAX_LABEL_CHARS = 60
_MAX_RARE_ROWS = 20
"""Maximum rows of a label that may be a typing error."""
_MIN_FREQUENCY_RATIO = 10
_IMBALANCE = 0.9
"""Share of one output above which a model that always gives it scores well."""
_MIN_ROWS = 50
"""Minimum rows for checking shares."""
_LETTERS_PER_EDIT = 4
"""``cat`` and ``car`` may both be intended; of four letters one may be wrong, of eight two."""


class LabelCheck:
    """Counts outputs while they can be labels, and remembers the rows of the rare ones."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._places: dict[str, list[tuple[str, int, int]]] = {}
        self._path = ""
        self._are_labels = True

    def add(self, batch: Batch) -> None:
        """Count the outputs of a batch."""
        if not self._are_labels:
            return
        self._path = self._path or batch.path
        self._counts.update(batch.outputs)
        self._are_labels = is_label_set(self._counts)
        if not self._are_labels:
            self._counts.clear()
            self._places.clear()
            return
        rare = {label for label, count in self._counts.items() if count <= _MAX_RARE_ROWS}
        for row, label in enumerate(batch.outputs if rare else ()):
            if label in rare:
                place = (batch.path, *batch.locate(row, "output"))
                self._places.setdefault(label, []).append(place)
        for label in self._places.keys() - rare:
            del self._places[label]

    def problems(self, ignore: Container[str] = frozenset()) -> Iterator[Problem]:
        """Yield what is wrong with the labels of all rows."""
        if not self._counts:
            return
        if "label-typo" not in ignore:
            misspelt = find_misspelt(self._counts)
            for label, other in misspelt.items():
                for place in self._places[label]:
                    yield _misspelt_problem(place, label, other, self._counts)
            yield from self._spelling_problems(misspelt)
        if "imbalance" not in ignore:
            yield from self._imbalance_problems()

    def _spelling_problems(self, reported: Container[str]) -> Iterator[Problem]:
        """Labels that differ only in case and spaces and are too frequent for typing errors."""
        spellings: dict[str, str] = {}
        for label, count in self._counts.most_common():
            other = spellings.setdefault(_letters(label), label)
            if other != label and _letters(label) and label not in reported:
                what = f"the outputs {other!r} ({self._counts[other]:,}) and {label!r} ({count:,})"
                what += " differ only in case and spaces"
                fix = "use one spelling if they mean the same: answers are compared to the letter"
                yield Problem(self._path, 0, 0, what, fix, "label-typo", "warning")

    def _imbalance_problems(self) -> Iterator[Problem]:
        ((label, count), *others), rows = self._counts.most_common(), self._counts.total()
        if rows < _MIN_ROWS or count < rows * _IMBALANCE:
            return
        what = f"{count:,} of {rows:,} outputs are {label!r}"
        if others:
            what += f", {others[0][1]:,} are {others[0][0]!r}, the next most frequent"
        fix = "add rows with other outputs, or remove some of these: a model learns to answer it always"
        yield Problem(self._path, 0, 0, what, fix, "imbalance", "warning")


def is_label_set(counts: Counter[str]) -> bool:
    """Return whether outputs look like labels: few different ones, and short."""
    most = max(_SMALL_SET, min(MAX_LABELS, counts.total() // _MIN_ROWS_PER_LABEL))
    return len(counts) <= most and max(map(len, counts), default=0) <= MAX_LABEL_CHARS


def find_misspelt(counts: Counter[str]) -> dict[str, str]:
    """Return each rare label that looks like a misspelt frequent one, with that one."""
    found: dict[str, str] = {}
    for label, count in counts.items():
        for other, times in counts.most_common() if count <= _MAX_RARE_ROWS else ():
            if times < count * _MIN_FREQUENCY_RATIO:
                break
            if is_misspelt(label, other):
                found[label] = other
                break
    return found


def is_misspelt(label: str, other: str) -> bool:
    """Return whether two labels differ only in case and spaces, or in at most two letters.

    One letter in four may be missing, added, replaced or swapped with the next one. Labels with
    digits differ on purpose, and so do other beginnings: ``supported`` is not a misspelt
    ``unsupported``, nor ``decrease`` a misspelt ``increase``.
    """
    one, two = sorted(map(_letters, (label, other)), key=len)
    if one == two:
        return True
    if not one or any(map(str.isdigit, one + two)):
        return False
    if two.endswith(one) and len(two) > len(one) + 1:
        return False
    most = min(2 if one[0] == two[0] else 1, len(one) // _LETTERS_PER_EDIT)
    if abs(len(one) - len(two)) > most:
        return False
    from rapidfuzz.distance import OSA

    return OSA.distance(one, two, score_cutoff=most) <= most


def label_corrections(counts: Counter[str]) -> dict[str, str]:
    """Return for each variant of a label the one it stands for; empty if outputs are not labels."""
    if not is_label_set(counts):
        return {}
    best: dict[str, str] = {}
    for label, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        best.setdefault(normalize(label), label)
    found = {label: best[normalize(label)] for label in counts if best[normalize(label)] != label}
    while more := find_misspelt(_merge(counts, found)):
        found |= {label: more.get(other, other) for label, other in found.items()} | more
    return found


def _merge(counts: Counter[str], labels: Mapping[str, str]) -> Counter[str]:
    merged: Counter[str] = Counter()
    for label, count in counts.items():
        merged[labels.get(label, label)] += count
    return merged


def _letters(label: str) -> str:
    return "".join(label.casefold().split())


def _misspelt_problem(
    place: tuple[str, int, int], label: str, other: str, counts: Counter[str]
) -> Problem:
    times, others = f"{counts[label]:,}", f"{counts[other]:,}"
    what = f"the output {label!r} ({times}) looks like a misspelt {other!r} ({others})"
    return Problem(*place, what, f"write {other!r} if that is intended", "label-typo", "warning")
