"""Rows that stood there before: the same, the same but for case and space, or with another output."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from tuner.data import nowhere

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.data import Batch
    from tuner.data.checks.screen import Hashes, Screen

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
    inputs: Hashes
    outputs: Hashes


class _Rows(Protocol):
    """Remembers the first row of each key."""

    def repeated(self, keys: Any, start: int) -> Iterator[tuple[int, int]]:
        """Of the keys of some rows that begin with ``start``, each that was there before, and its first row."""


class _FewRows:
    """In a dictionary."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}

    def repeated(self, keys: Sequence[int], start: int) -> Iterator[tuple[int, int]]:
        for index, key in enumerate(keys):
            first = self._first.setdefault(key, start + index)
            if first != start + index:
                yield index, first


class Seen:
    """Remembers every row by hashes: some 60 bytes each when they are many, whatever the texts are.

    Of the first ones the texts are kept, which wide screens hash in another way.
    """

    def __init__(self) -> None:
        self._rows: _Rows = _FewRows()
        self._few: list[tuple[Batch, bool]] | None = []
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
        self, batch: Batch, columns: tuple[Screen, Screen], keys: Hashes | None
    ) -> Iterator[Again]:
        """Remember the rows of a batch, and yield those whose input was there before.

        Args:
            batch: The next rows.
            columns: Their inputs and their outputs; once they are wide, they stay so.
            keys: A hash of each input, the same for those that count as the same; of the text as
                it is when it is None.
        """
        if columns[0].is_wide:
            self._widen()
        elif self._few is not None:
            self._few.append((batch._replace(problems=(), locate=nowhere), keys is not None))
        start = len(self)
        inputs, outputs = (column.hashes() for column in columns)
        lines = batch.lines if isinstance(batch.lines, range) else array("Q", batch.lines)
        self._parts.append(_Part(batch.path, lines, inputs, outputs))
        self._starts.append(start)
        self._count += len(lines)
        for row, first in self._rows.repeated(inputs if keys is None else keys, start):
            if batch.text_inputs[row].strip():  # that it is empty is said already
                yield self._compared(first, row, start + row)

    def _widen(self) -> None:
        """Look at the first rows once more, if they were few."""
        if self._few is None:
            return
        from tuner.data.checks.many_rows import ManyRows
        from tuner.data.checks.wide import wide_screens

        few, self._few, self._rows = self._few, None, ManyRows()
        self._count = 0
        for rows in (self._parts, self._starts, self._variants):
            rows.clear()
        for batch, has_keys in few:
            columns = wide_screens(batch)
            deque(self.add(batch, columns, columns[0].keys() if has_keys else None), maxlen=0)

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
        return int(part.inputs[at]), int(part.outputs[at])

    def _compared(self, first: int, row: int, now: int) -> Again:
        """Look among the rows that have the key of ``first`` for the one most like ``now``."""
        hashes = text, output = self._hashes(now)
        self._remember(first, first, self._hashes(first))
        exact_row = self._variants.get((first, text, output))
        exact_text = self._variants.get((first, text))
        same_output = self._variants.get((first, output, 0, 0))
        self._remember(first, now, hashes)
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

    def _remember(self, first: int, row: int, hashes: tuple[int, int]) -> None:
        """The first row with each variant of an input, of an output, and of both."""
        text, output = hashes
        for variant in ((first, text, output), (first, text), (first, output, 0, 0)):
            self._variants.setdefault(variant, row)
