"""Tuning examples: one by one, and column by column as they are read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, overload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuner.spans import Spans


class Example(NamedTuple):
    """One row to tune on: the text as written, never stripped or converted.

    ``line`` (1-based) is where the row starts in its file, 0 when it has none; it does not count
    when two examples are compared. A tuple, because a million of them are made in one go.
    """

    text_input: str
    output: str
    line: int = 0

    def __eq__(self, other: object) -> bool:
        """Whether the texts are the same."""
        return isinstance(other, Example) and self[:2] == other[:2]

    def __ne__(self, other: object) -> bool:
        """Whether a text differs."""
        return not self == other

    def __hash__(self) -> int:
        """Of the texts."""
        return hash(self[:2])


class Column(Sequence[str]):
    """Texts where they stand in the bytes of a large file: most are never asked for one by one."""

    __slots__ = ("foreign", "has_nul", "spans")

    def __init__(self, spans: Spans, foreign: Sequence[int], *, has_nul: bool) -> None:
        """Take texts that are known to be UTF-8.

        Args:
            spans: The texts.
            foreign: The indexes of those that hold more than ASCII.
            has_nul: Whether one may hold a NUL.
        """
        self.spans, self.foreign, self.has_nul = spans, foreign, has_nul

    def encoded(self) -> list[bytes]:
        """Every one, made now."""
        buffer, begins, ends = self.spans
        places = zip(begins.tolist(), ends.tolist(), strict=True)
        return [buffer[begin:end] for begin, end in places]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.spans)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One of them, or some."""
        buffer, begins, ends = self.spans
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return buffer[begins[index] : ends[index]].decode()

    def __iter__(self) -> Iterator[str]:
        """Every one, made now."""
        return map(bytes.decode, self.encoded())


class Examples(Sequence[Example]):
    """Examples that are made when they are asked for: as columns they take a third of the memory."""

    def __init__(self) -> None:
        """Begin with none."""
        self._parts: list[tuple[Sequence[str], Sequence[str], Sequence[int]]] = []
        self._ends: list[int] = []

    def add(self, text_inputs: Sequence[str], outputs: Sequence[str], lines: Sequence[int]) -> None:
        """Take the next rows, column by column."""
        if lines:
            self._parts.append((text_inputs, outputs, lines))
            self._ends.append(len(self) + len(lines))

    @property
    def are_many(self) -> bool:
        """Whether some stand in the bytes of a large file."""
        return any(isinstance(part[0], Column) for part in self._parts)

    def columns(self) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
        """Inputs and outputs, as they were added."""
        return ((text_inputs, outputs) for text_inputs, outputs, _ in self._parts)

    def __len__(self) -> int:
        """How many there are."""
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Example]:
        """Every one, made now."""
        return chain.from_iterable(made(*part) for part in self._parts)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        """One of them, or some."""
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        part = bisect_right(self._ends, at)
        text_inputs, outputs, lines = self._parts[part]
        row = at - (self._ends[part] - len(lines))
        return Example(text_inputs[row], outputs[row], lines[row])


def made(
    text_inputs: Iterable[str], outputs: Iterable[str], lines: Iterable[int]
) -> Iterator[Example]:
    """Examples of columns."""
    rows = zip(text_inputs, outputs, lines, strict=True)
    return map(partial(tuple.__new__, Example), rows)  # a quarter of what Example(...) takes
