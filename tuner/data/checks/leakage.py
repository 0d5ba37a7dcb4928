"""Find inputs that already contain their output: a model learns to copy what it will not be given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.data.dataset import Batch

_MIN_WORDS = 4
"""A shorter output may be in the input by chance, or in a list to choose from."""
_MAX_SHARE = 0.5
"""In more rows than this it is the task to find the output in the input, and is reported once."""
_MIN_ROWS = 20
_MAX_SAMPLE, _SAMPLE_PER_BATCH = 1000, 100
_SHARED_WORDS = 0.75
"""Share of an output's words that are in the input if the output is a corrected or shortened input."""
_FIX = "remove the answer from the input, unless the model is also given it later"


class OutputInInputCheck:
    """Collects the rows whose input contains their output."""

    def __init__(self) -> None:
        self._rows = self._ending = self._sampled = self._rewritten = 0
        self._places: list[tuple[str, int, int]] = []
        self._path = ""

    def add(self, batch: Batch) -> None:
        """Check the rows of a batch."""
        self._path = self._path or batch.path
        self._rows += len(batch.lines)
        step = max(1, len(batch.lines) // _SAMPLE_PER_BATCH)
        for row, (text, output) in enumerate(zip(batch.text_inputs, batch.outputs, strict=True)):
            if output in text:
                self._ending += bool(output.strip()) and text.rstrip().endswith(output.rstrip())
                if len(output.split()) >= _MIN_WORDS:
                    place = batch.locate(row, "text_input", text.index(output))
                    self._places.append((batch.path, *place))
            elif row % step == 0 and self._sampled < _MAX_SAMPLE:
                self._sample(text, output)

    def problems(self) -> Iterator[Problem]:
        """Yield a problem for each such row, or one for all if most rows are like that."""
        if self._sampled >= _MIN_ROWS and self._rewritten > _MAX_SHARE * self._sampled:
            return  # the task is to correct texts: a correct input contains its output
        rule = "output-in-input"
        if self._rows >= _MIN_ROWS and self._ending > _MAX_SHARE * self._rows:
            what = f"{self._ending:,} of {self._rows:,} inputs end with their output"
            yield Problem(self._path, 0, 0, what, _FIX, rule, "warning")
        elif self._rows < _MIN_ROWS or len(self._places) <= _MAX_SHARE * self._rows:
            for place in self._places:
                what = "the text_input contains its output, word for word"
                yield Problem(*place, what, _FIX, rule, "warning")

    def _sample(self, text: str, output: str) -> None:
        """Count a row whose output has nearly the same words as its input."""
        words = output.casefold().split()
        if len(words) >= _MIN_WORDS:
            known = set(text.casefold().split())
            self._sampled += 1
            self._rewritten += sum(word in known for word in words) >= _SHARED_WORDS * len(words)
