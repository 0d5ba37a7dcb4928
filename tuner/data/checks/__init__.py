"""Check examples before a job is submitted: every bad row, with its location and a fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.data.checks.duplicates import DuplicateCheck
from tuner.data.checks.labels import LabelCheck
from tuner.data.checks.leakage import OutputInInputCheck
from tuner.data.checks.pii import check_privacy
from tuner.data.checks.rules import RULES
from tuner.data.checks.size import utf8_size
from tuner.data.checks.text import check_texts
from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import TypeAlias

    from tuner.data.dataset import Batch, Field
    from tuner.types import Limits

    CountTokens: TypeAlias = Callable[[Sequence[str], Sequence[str]], Sequence[int]]

MIN_RECOMMENDED_ROWS = 20
"""The minimum number of examples for tuning Gemini 1.5; Google recommends more."""
_MIN_OVERHEAD_BYTES = 6
"""An example takes at least so many bytes in a request in addition to its texts."""
_FILE_RULES = frozenset({"no-header", "no-column", "repeated-column"})
"""Rules about a whole file: their line is not a row."""


class Checks:
    """Checks batches as they are read, and keeps what later batches are compared with.

    Attributes:
        rows: Rows checked so far, including held-out rows and rows that cannot be read.
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
            limits: What the target accepts.
            instruction: Text that is later put in front of every text_input.
            ignore: Codes of rules to skip.
            count_tokens: Number of tokens of each pair of texts; 0 if it is certainly small.
            max_tokens: Maximum number of tokens of an example.
        """
        self.rows = self.bad_rows = 0
        self._ignore = frozenset(ignore)
        self._limits = limits
        self._prefix_chars = len(instruction) + 2 if instruction else 0
        self._count_tokens, self._max_tokens = count_tokens, max_tokens
        self._duplicates = DuplicateCheck(self._ignore)
        self._labels, self._output_in_input = LabelCheck(), OutputInInputCheck()
        self._path = ""
        self._text_bytes = self._train_rows = 0
        self._found_any = False

    def check_training(self, batch: Batch) -> Iterator[Problem]:
        """Yield the problems of training rows in file order, including rows that cannot be read."""
        self._path = self._path or batch.path
        self._train_rows += len(batch.lines)
        self._labels.add(batch)
        for problem in self._check(batch, is_held_out=False):
            self._found_any = True
            yield problem

    def check_held_out(self, batch: Batch) -> Iterator[Problem]:
        """Yield the problems of held-out rows; call it after all training rows."""
        self._duplicates.start_held_out()
        yield from self._check(batch, is_held_out=True)

    def finish(self, path: str = "") -> Iterator[Problem]:
        """Yield the problems that only all rows together show.

        Args:
            path: The file to report if there was no batch.
        """
        yield from self._labels.problems(self._ignore)
        for problem in (
            *self._count_problems(self._path or path),
            *self._output_in_input.problems(),
        ):
            if problem.rule not in self._ignore:
                yield problem
        yield from self._duplicates.finish()

    @property
    def similar_pairs(self) -> list[tuple[int, int]]:
        """Rows and the earlier row each is similar to, but not equal; complete after ``finish``."""
        return self._duplicates.similar_pairs

    def _check(self, batch: Batch, *, is_held_out: bool) -> Iterator[Problem]:
        found = list(batch.problems)
        unread = {each.line for each in found if each.line and each.rule not in _FILE_RULES}
        self.rows += len(batch.lines) + len(unread)
        found += [
            each
            for each in self._row_problems(batch, is_held_out=is_held_out)
            if each.rule not in self._ignore
        ]
        found.sort(key=lambda each: (each.line, each.column))
        self.bad_rows += len({each.line for each in found if each.severity == "error"})
        yield from found

    def _row_problems(self, batch: Batch, *, is_held_out: bool) -> Iterator[Problem]:
        inputs, outputs = list(batch.text_inputs), list(batch.outputs)
        batch = batch._replace(text_inputs=inputs, outputs=outputs)
        if not is_held_out:
            if self._limits.request_bytes is not None:
                self._text_bytes += sum(map(utf8_size, inputs)) + sum(map(utf8_size, outputs))
            if "output-in-input" not in self._ignore:
                self._output_in_input.add(batch)
        prefix, limits = self._prefix_chars, self._limits
        yield from self._text_problems(batch, "text_input", limits.text_input_chars, prefix)
        yield from self._text_problems(batch, "output", limits.output_chars)
        yield from self._duplicates.add(batch)
        yield from self._token_problems(batch)

    def _text_problems(
        self, batch: Batch, field: Field, max_chars: int | None, prefix_chars: int = 0
    ) -> Iterator[Problem]:
        texts = batch.text_inputs if field == "text_input" else batch.outputs
        findings = [
            *check_texts(field, texts, max_chars, prefix_chars, self._ignore),
            *check_privacy(texts, self._ignore),
        ]
        for each in findings:
            line, column = batch.locate(each.row, field, each.offset)
            severity = RULES[each.rule].severity
            yield Problem(batch.path, line, column, each.what, each.fix, each.rule, severity)

    def _token_problems(self, batch: Batch) -> Iterator[Problem]:
        limit = self._max_tokens
        if limit is None or self._count_tokens is None or "long-example" in self._ignore:
            return
        for row, tokens in enumerate(self._count_tokens(batch.text_inputs, batch.outputs)):
            if tokens > limit:
                what = f"the example has {tokens:,} tokens, the model takes {limit:,}"
                line, column = batch.locate(row, "text_input")
                fix = "shorten it, or delete the row"
                yield Problem(batch.path, line, column, what, fix, "long-example")

    def _count_problems(self, path: str) -> Iterator[Problem]:
        rows, limit = self._train_rows, self._limits.request_bytes
        size = self._text_bytes + (self._prefix_chars + _MIN_OVERHEAD_BYTES) * rows
        if limit is not None and size > limit:
            what = f"the examples make a request of over {size:,} bytes, the target takes {limit:,}"
            fix = f"keep about {rows * limit // size:,} of the {rows:,} rows"
            yield Problem(path, 0, 0, what, fix, "request-too-large")
        if self._found_any:
            return
        if not rows:
            fix = "add rows; 100 to 500 are a good start"
            yield Problem(path, 0, 0, "the file has no examples", fix, "no-examples")
        elif rows < MIN_RECOMMENDED_ROWS:
            what = f"{rows} examples are few: tuning rarely helps with less than {MIN_RECOMMENDED_ROWS}"
            yield Problem(path, 0, 0, what, "add more", "few-examples", "warning")
