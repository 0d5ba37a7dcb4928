"""Read CSV whose columns are those of a known shape: prompt and completion, or Alpaca's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.data import USUAL, Batch, Columns, nowhere
from tuner.data.formats import csv
from tuner.data.formats.shapes import JOINT, SHAPES, shape_of
from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tuner.data import Field, Source


def read(path: Path, source: Source) -> Iterator[Batch]:
    """Yield the rows of a CSV file; see ``csv.read``.

    Unless the columns are named, ``prompt`` and ``completion`` will do, and Alpaca's
    ``instruction``, ``input``, ``system`` and ``output``.

    Raises:
        OSError: The file cannot be read.
    """
    shape = source.format if source.format in SHAPES else ""
    names = csv.header(path, source) if shape or source.columns == USUAL else []
    shape = shape or shape_of(names, source)
    match shape:
        case "prompt-completion":
            return csv.read(path, source._replace(columns=Columns("prompt", "completion")))
        case "alpaca":
            asked = [each for each in ("system", "instruction", "input") if each in names]
            return _joined(path, source, asked or ["instruction"])
        case "openai" | "vertex" | "sharegpt":
            return iter([_refused(path, shape)])
        case _:
            return csv.read(path, source)


def _refused(path: Path, shape: str) -> Batch:
    what = f"is CSV, whose cells are texts, and {shape} has lists of messages"
    problem = Problem(
        str(path), 1, 0, what, "leave format out, or name the file meant", "no-column"
    )
    return Batch(str(path), (), (), (), (problem,), nowhere)


def _joined(path: Path, source: Source, names: Sequence[str]) -> Iterator[Batch]:
    """Rows whose input is in several columns; each column is read by itself, side by side."""
    sides = [csv.read(path, source._replace(columns=Columns(name, "output"))) for name in names]
    for batches in zip(*sides, strict=False):  # they differ if it is written to meanwhile
        first = batches[0]
        inputs = [batch.text_inputs for batch in batches]
        texts = [JOINT.join(filter(None, cells)) for cells in zip(*inputs, strict=False)]
        yield first._replace(text_inputs=texts, locate=_Locate(batches))


class _Locate:
    """Finds a character of a joined text in the column that it comes from."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    def __call__(self, row: int, field: Field, offset: int = 0) -> tuple[int, int]:
        if field == "output":
            return self._batches[0].locate(row, field, offset)
        full = [batch for batch in self._batches if batch.text_inputs[row]] or self._batches[:1]
        for batch in full[:-1]:
            size = len(batch.text_inputs[row])
            if offset < size + len(JOINT):
                return batch.locate(row, field, min(offset, size))
            offset -= size + len(JOINT)
        return full[-1].locate(row, field, offset)
