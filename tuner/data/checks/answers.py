"""Inputs that already hold their output: a model learns to copy what it will not be given."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING

from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.data import Batch
    from tuner.data.checks.screen import Screen

LEAST_WORDS = 4
"""Of an output: that shorter ones stand in the input too may be chance, or a list to choose from."""
MOST_ROWS = 0.5
"""In more rows than this it is the task, to find the answer in a text, and is said once."""
LEAST_ROWS = 20
SAMPLE = 1000
SAMPLED_AT_ONCE = 100
SHARED = 0.75
"""Of the words of an output, at the least, where it is the input put right, or cut short."""
_FIX = "take the answer out of the input, if it will not be there when the model is asked"


class Answers:
    """Remembers which inputs hold their output; 20 bytes each."""

    def __init__(self) -> None:
        self._rows = self._ending = self._sampled = self._rewritten = 0
        self._lines, self._columns = array("Q"), array("Q")
        self._starts: list[int] = []
        self._paths: list[str] = []

    def add(self, batch: Batch, inputs: Screen, outputs: Screen) -> None:
        """Look at the rows of a batch, whose columns are ``inputs`` and ``outputs``."""
        if not self._paths or self._paths[-1] != batch.path:
            self._starts.append(len(self._lines))
            self._paths.append(batch.path)
        self._rows += len(batch.lines)
        holding = inputs.holding(outputs)
        if self._sampled < SAMPLE:
            self._sample(batch, set(holding))
        for row in holding:
            text, output = batch.text_inputs[row], batch.outputs[row]
            self._ending += bool(output.strip()) and text.rstrip().endswith(output.rstrip())
            if len(output.split()) >= LEAST_WORDS:
                line, column = batch.locate(row, "text_input", text.index(output))
                self._lines.append(line)
                self._columns.append(column)

    def problems(self) -> Iterator[Problem]:
        """Each row of which it is telling, or one for all when it is so in most."""
        if self._sampled >= LEAST_ROWS and self._rewritten > MOST_ROWS * self._sampled:
            return  # a row that needs no correction holds its output
        if self._rows >= LEAST_ROWS and self._ending > MOST_ROWS * self._rows:
            what = f"{self._ending:,} of {self._rows:,} inputs end with their output"
            yield Problem(self._paths[0], 0, 0, what, _FIX, "output-in-input", "warning")
        elif self._rows < LEAST_ROWS or len(self._lines) <= MOST_ROWS * self._rows:
            for index, (line, column) in enumerate(zip(self._lines, self._columns, strict=True)):
                path = self._paths[bisect_right(self._starts, index) - 1]
                what = "the text_input holds its output, word for word"
                yield Problem(path, line, column, what, _FIX, "output-in-input", "warning")

    def _sample(self, batch: Batch, holding: set[int]) -> None:
        """Whether the other rows say their input in nearly the same words, looked at in some of them."""
        step = max(1, len(batch.outputs) // SAMPLED_AT_ONCE)
        for row in range(0, len(batch.outputs), step):
            words = batch.outputs[row].casefold().split()
            if row in holding or len(words) < LEAST_WORDS:
                continue
            known = set(batch.text_inputs[row].casefold().split())
            self._sampled += 1
            self._rewritten += sum(word in known for word in words) >= SHARED * len(words)
