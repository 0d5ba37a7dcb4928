"""Rows that stood there before: the same, the same but for case and space, or with another output."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import compress, count
from operator import ne
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.data import Batch
    from tuner.data.checks.screen import Screen

Kind: TypeAlias = Literal["duplicate", "similar-case", "conflict", "leak"]


class Again(NamedTuple):
    """A row whose input stood there before.

    Attributes:
        row: Its index in the batch.
        kind: The rule that it breaks.
        earlier: The row that it is compared with, counted over all batches.
        is_exact: Whether the inputs are the same to the letter.
    """

    row: int
    kind: Kind
    earlier: int
    is_exact: bool


class _Part(NamedTuple):
    """Rows that were read in one go: where they start, and hashes of their texts."""

    path: str
    lines: Sequence[int]
    inputs: array[int]
    outputs: array[int]


class Seen:
    """Remembers every row by hashes: some 130 bytes each, whatever the texts are."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        self._parts: list[_Part] = []
        self._starts: list[int] = []
        self._count = 0
        self._variants: dict[tuple[int, ...], int] = {}
        self._held_from: int | None = None

    def __len__(self) -> int:
        """How many rows were seen."""
        return self._count

    def hold(self) -> None:
        """From here on rows are held out; that one of them was tuned on is a leak."""
        if self._held_from is None:
            self._held_from = len(self)

    @property
    def held_from(self) -> int | None:
        """The first row that is held out."""
        return self._held_from

    def add(
        self, batch: Batch, columns: tuple[Screen, Screen], keys: Sequence[int] | None
    ) -> Iterator[Again]:
        """Remember the rows of a batch, and yield those whose input was there before.

        Args:
            batch: The next rows.
            columns: Their inputs and their outputs.
            keys: A hash of each input, the same for those that count as the same; of the text as
                it is when it is None.
        """
        start = len(self)
        inputs, outputs = (column.hashes() for column in columns)
        lines = batch.lines if isinstance(batch.lines, range) else array("Q", batch.lines)
        self._parts.append(_Part(batch.path, lines, array("q", inputs), array("q", outputs)))
        self._starts.append(start)
        self._count += len(lines)
        rows = range(start, len(self))
        known = len(self._first)
        first = list(map(self._first.setdefault, inputs if keys is None else keys, rows))
        if len(self._first) == known + len(first):
            return
        for row in compress(count(), map(ne, first, rows)):
            if batch.text_inputs[row].strip():  # that it is empty is said already
                yield self._compared(first[row], row, start + row)

    def place(self, row: int) -> tuple[str, int]:
        """File and line of a row."""
        part, at = self._part(row)
        return part.path, part.lines[at]

    def _part(self, row: int) -> tuple[_Part, int]:
        """What was read with a row, and where it is in that."""
        index = bisect_right(self._starts, row) - 1
        return self._parts[index], row - self._starts[index]

    def _hashes(self, row: int) -> tuple[int, int]:
        """Of its input and of its output."""
        part, at = self._part(row)
        return part.inputs[at], part.outputs[at]

    def _compared(self, first: int, row: int, now: int) -> Again:
        """Look among the rows that have the key of ``first`` for the one most like ``now``."""
        text, output = self._hashes(now)
        self._remember(first, first)
        exact_row = self._variants.get((first, text, output))
        exact_text = self._variants.get((first, text))
        same_output = self._variants.get((first, output, 0, 0))
        self._remember(first, now)
        if self._held_from is not None and first < self._held_from <= now:
            return self._leaked(row, first, exact_text)
        if exact_row is not None:
            return Again(row, "duplicate", exact_row, is_exact=True)
        if exact_text is not None:
            return Again(row, "conflict", exact_text, is_exact=True)
        if same_output is not None:
            return Again(row, "similar-case", same_output, is_exact=False)
        return Again(row, "conflict", first, is_exact=False)

    def _leaked(self, row: int, first: int, exact: int | None) -> Again:
        if exact is not None and self._held_from is not None and exact < self._held_from:
            return Again(row, "leak", exact, is_exact=True)
        return Again(row, "leak", first, is_exact=False)

    def _remember(self, first: int, row: int) -> None:
        """The first row with each variant of an input, of an output, and of both."""
        text, output = self._hashes(row)
        for variant in ((first, text, output), (first, text), (first, output, 0, 0)):
            self._variants.setdefault(variant, row)
