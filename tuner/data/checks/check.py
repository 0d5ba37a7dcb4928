"""The checks without which a tuning dies later: every bad row, with its place and a way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.data.checks.answers import Answers
from tuner.data.checks.labels import Labels
from tuner.data.checks.likeness import Likeness
from tuner.data.checks.report import MAX_SHOWN, Tally, capped
from tuner.data.checks.rules import RULES
from tuner.data.checks.screen import Screen
from tuner.data.checks.texts import Limit, find_flaws
from tuner.errors import Problem
from tuner.examples import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import TypeAlias

    from tuner.data import Batch, Field
    from tuner.types import Limits

    CountTokens: TypeAlias = Callable[[Sequence[str], Sequence[str]], Sequence[int]]

__all__ = ["FEW", "MAX_SHOWN", "Checks", "Tally", "capped"]

FEW = 20
"""Google's least number of examples for tuning Gemini 1.5, which it recommended to exceed."""
MANY = 20_000
"""Rows after which importing numpy, some 80 ms, pays."""
MUCH = 4 * 2**20
"""Bytes of texts after which it does."""
_FRAME = 6
"""Bytes at least that an example takes in a request beside its texts."""
_OF_NO_ROW = frozenset({"no-header", "no-column", "repeated-column"})
_FIELDS: tuple[Field, Field] = ("text_input", "output")


class Checks:
    """Looks at batches as they are read, and remembers what it needs to compare later ones with.

    Attributes:
        rows: Rows so far, those held out and those that cannot be read included.
        bad_rows: Lines with an error so far.
    """

    def __init__(
        self,
        limits: Limits,
        instruction: str = "",
        ignore: Collection[str] = frozenset(),
        count_tokens: CountTokens | None = None,
        max_tokens: int | None = None,
    ) -> None:
        """Check examples for one target.

        Args:
            limits: What the target takes at most.
            instruction: What will be put in front of every text_input, which it makes longer.
            ignore: Codes of rules that are switched off.
            count_tokens: How many tokens each pair of texts makes; 0 will do where they surely are few.
            max_tokens: How many an example may have.
        """
        self._ignore = frozenset(ignore)
        self._prefix = len(instruction) + 2 if instruction else 0
        self._limits = limits
        self._count_tokens, self._max_tokens = count_tokens, max_tokens
        self._likeness = Likeness(self._ignore)
        self._labels, self._answers = Labels(), Answers()
        self._path = ""
        self._bytes = self._train_rows = 0
        self._is_clean, self._are_wide = True, False
        self.rows = self.bad_rows = 0

    def train(self, batch: Batch) -> Iterator[Problem]:
        """What is wrong with rows to tune on, those that could not be read included, in file order."""
        self._path = self._path or batch.path
        self._train_rows += len(batch.lines)
        if batch.lines:
            self._labels.add(batch)
        for problem in self._look(batch):
            self._is_clean = False
            yield problem

    def held(self, batch: Batch) -> Iterator[Problem]:
        """What is wrong with rows to evaluate with; call it when all of ``train`` was seen."""
        self._likeness.hold()
        yield from self._look(batch, is_held=True)

    def finish(self, path: str = "") -> Iterator[Problem]:
        """What only all rows together show; ``path`` is the file to name when there was no batch."""
        yield from self._labels.problems(self._ignore)
        for problem in (*self._counts(self._path or path), *self._answers.problems()):
            if problem.rule not in self._ignore:
                yield problem
        yield from self._likeness.finish()

    @property
    def alike(self) -> Iterator[tuple[int, int]]:
        """Rows that are nearly the same as an earlier one, and that; known after ``finish``."""
        pairs = self._likeness.alike
        return zip(pairs[::2], pairs[1::2], strict=True)

    def _look(self, batch: Batch, *, is_held: bool = False) -> Iterator[Problem]:
        found = list(batch.problems)
        unread = {each.line for each in found if each.line and each.rule not in _OF_NO_ROW}
        self.rows += len(batch.lines) + len(unread)
        if batch.lines:
            found += [each for each in self._of(batch, is_held) if each.rule not in self._ignore]
        if found:
            found.sort(key=lambda each: (each.line, each.column))
            self.bad_rows += len({each.line for each in found if each.severity == "error"})
            yield from found

    def _of(self, batch: Batch, is_held: bool) -> Iterator[Problem]:
        inputs, outputs = self._screens(batch)
        if not is_held:
            self._bytes += inputs.size + outputs.size
        if not is_held and "output-in-input" not in self._ignore:
            self._answers.add(batch, inputs, outputs)
        longest = (
            Limit(self._limits.text_input_chars, self._prefix),
            Limit(self._limits.output_chars),
        )
        for field, screen, limit in zip(_FIELDS, (inputs, outputs), longest, strict=True):
            for flaw in find_flaws(field, screen, limit, self._ignore):
                place = batch.locate(flaw.row, field, flaw.offset)
                severity = RULES[flaw.rule].severity
                yield Problem(batch.path, *place, flaw.what, flaw.fix, flaw.rule, severity)
        yield from self._likeness.add(batch, inputs, outputs)
        yield from self._tokens(batch)

    def _screens(self, batch: Batch) -> tuple[Screen, Screen]:
        is_much = self.rows > MANY or self._bytes > MUCH
        self._are_wide = self._are_wide or is_much or isinstance(batch.text_inputs, Column)
        if not self._are_wide:
            return Screen(batch.text_inputs), Screen(batch.outputs)
        from tuner.data.checks.wide import wide_screens

        return wide_screens(batch)

    def _tokens(self, batch: Batch) -> Iterator[Problem]:
        most = self._max_tokens
        if most is None or self._count_tokens is None or "long-example" in self._ignore:
            return
        texts, outputs = batch.text_inputs, batch.outputs
        for row, tokens in enumerate(self._count_tokens(texts, outputs)):
            if tokens > most:
                what = f"the example has {tokens:,} tokens, the model takes {most:,}"
                fix = "shorten it, or delete the row"
                place = batch.locate(row, "text_input")
                yield Problem(batch.path, *place, what, fix, "long-example")

    def _counts(self, path: str) -> Iterator[Problem]:
        """Too many bytes, too few rows."""
        rows, most = self._train_rows, self._limits.request_bytes
        size = self._bytes + (self._prefix + _FRAME) * rows
        if most is not None and size > most:
            what = f"the examples make a request of over {size:,} bytes, the target takes {most:,}"
            fix = f"keep about {rows * most // size:,} of the {rows:,} rows"
            yield Problem(path, 0, 0, what, fix, "request-too-large")
        if not rows and self._is_clean:
            fix = "add rows below the one that names the columns; some 100 to 500 are a good start"
            yield Problem(path, 0, 0, "there are no examples in it", fix, "no-examples")
        elif rows < FEW and self._is_clean:
            what = f"{rows} examples are few: tuning rarely helps with less than {FEW}"
            yield Problem(path, 0, 0, what, "add more", "few-examples", "warning")
