"""The checks without which a tuning dies later: every bad row, with its line and a way out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from tuner.data import Batch
    from tuner.errors import Severity
    from tuner.types import Example, Limits

MAX_SHOWN = 20
"""Problems of one rule that are shown; the rest are counted."""
FEW = 20
"""Google's least number of examples for tuning Gemini 1.5, which it recommended to exceed."""


class Checks:
    """Looks at batches as they are read, and remembers what it needs to compare later ones with.

    Of a row two hashes and its line are kept, some 200 bytes.
    """

    def __init__(
        self, limits: Limits, instruction: str = "", ignore: Container[str] = frozenset()
    ) -> None:
        """Check examples for one target.

        Args:
            limits: What the target takes at most.
            instruction: What will be put in front of every text_input, which it makes longer.
            ignore: Codes of rules that are switched off.
        """
        self._limits = limits
        self._prefix = len(instruction) + 2 if instruction else 0
        self._ignore = ignore
        self._seen: dict[int, tuple[int, int]] = {}
        self._path = ""
        self._count = self._bad = 0

    def train(self, batch: Batch) -> Iterator[Problem]:
        """What is wrong with rows to tune on, those that could not be read included."""
        self._path = batch.path
        self._count += len(batch.lines)
        for problem in self._of(batch):
            self._bad += 1
            yield problem

    def held(self, batch: Batch) -> Iterator[Problem]:
        """What is wrong with rows to evaluate with; call it when all of ``train`` was seen."""
        yield from batch.problems

    def finish(self) -> Iterator[Problem]:
        """What only all rows together show."""
        if not self._count and not self._bad:
            fix = "add rows below the one that names the columns; some 100 to 500 are a good start"
            yield Problem(self._path, 0, 0, "there are no examples in it", fix, "no-examples")
        elif self._count < FEW and not self._bad:
            what = f"{self._count} examples are few: tuning rarely helps with less than {FEW}"
            yield Problem(self._path, 0, 0, what, "add more", "few-examples", "warning")

    def _of(self, batch: Batch) -> Iterator[Problem]:
        rows = _Rows(batch.path, self._limits, self._prefix, self._seen)
        yield from batch.problems
        for example in batch.examples():
            yield from (each for each in rows.of(example) if each.rule not in self._ignore)


def capped(problems: Iterable[Problem]) -> list[Problem]:
    """At most ``MAX_SHOWN`` problems a rule, in file order, then the count of the others."""
    tally = _Tally()
    for problem in problems:
        tally.add(problem)
    return tally.problems()


class _Tally:
    """Keeps the first problems of each rule and counts the others."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, Severity]] = Counter()
        self._path = ""
        self._shown: list[Problem] = []

    def add(self, problem: Problem) -> None:
        self._path = self._path or problem.path
        rule = (problem.rule, problem.severity)
        self.counts[rule] += 1
        if self.counts[rule] <= MAX_SHOWN:
            self._shown.append(problem)

    def problems(self) -> list[Problem]:
        more = [
            Problem(
                self._path,
                0,
                0,
                f"{count - MAX_SHOWN:,} more rows like the {MAX_SHOWN} above ({rule})",
                "mend the first ones and look again",
                rule,
                severity,
            )
            for (rule, severity), count in self.counts.items()
            if count > MAX_SHOWN
        ]
        return sorted(self._shown, key=lambda problem: problem.line) + more


class _Rows:
    """What is looked for in an example; remembers the examples before it."""

    def __init__(
        self, path: str, limits: Limits, prefix_chars: int, seen: dict[int, tuple[int, int]]
    ) -> None:
        self._path = path
        self._most_input = limits.text_input_chars
        self._most_output = limits.output_chars
        self._prefix = prefix_chars
        self._seen = seen

    def of(self, row: Example) -> Iterator[Problem]:
        """What is wrong with one example."""
        yield from self._text(
            row.line, "text_input", row.text_input, self._most_input, self._prefix
        )
        yield from self._text(row.line, "output", row.output, self._most_output, 0)
        key, answer = hash(row.text_input), hash(row.output)
        first = self._seen.setdefault(key, (row.line, answer))
        if first[0] != row.line:
            yield self._repeated(row.line, first[0], first[1] == answer)

    def _text(
        self, line: int, name: str, text: str, most: int | None, prefix: int
    ) -> Iterator[Problem]:
        if not text or text.isspace():
            what = f"{name} is blank" if text else f"{name} is empty"
            fix = "fill it in, or delete the row"
            yield Problem(self._path, line, 0, what, fix, f"empty-{name.replace('_', '-')}")
        if most is not None and len(text) + prefix > most:
            with_it = " with the instruction" if prefix else ""
            what = (
                f"{name} has {len(text) + prefix:,} characters{with_it}, the target takes {most:,}"
            )
            fix = "shorten it, or delete the row"
            yield Problem(self._path, line, 0, what, fix, f"long-{name.replace('_', '-')}")
        if not text.isascii() and not _is_unicode(text):
            what = f"{name} holds half of a surrogate pair, which is no character"
            fix = "write the character itself, or both halves of its \\u escape"
            yield Problem(self._path, line, 0, what, fix, "not-unicode")

    def _repeated(self, line: int, first: int, same: bool) -> Problem:
        if same:
            what, fix = f"is the same as line {first}", "delete one of the two"
            return Problem(self._path, line, 0, what, fix, "duplicate", "warning")
        what = f"the text_input of line {first} again, with another output"
        fix = "decide which output is right, and delete the other row"
        return Problem(self._path, line, 0, what, fix, "conflict", "warning")


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold it; JSON can write what it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
