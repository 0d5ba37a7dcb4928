"""The checks without which a tuning dies later: every bad row, with its line and a way out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuner.data import Row
    from tuner.errors import Severity
    from tuner.types import Example, Limits

MAX_SHOWN = 20
"""Problems of one rule that are shown; the rest are counted."""
FEW = 20
"""Google's least number of examples for tuning Gemini 1.5, which it recommended to exceed."""


def check(rows: Iterable[Row], path: str, limits: Limits, instruction: str = "") -> list[Problem]:
    """Say what is wrong with the rows of a file, those that could not be read included.

    Streams: what is kept of a row is two hashes and its line, some 200 bytes.

    Args:
        rows: As ``load_examples`` yields them, without the instruction.
        path: The file they come from, for the messages.
        limits: What the target takes at most.
        instruction: What will be put in front of every text_input, which it makes longer.

    Returns:
        At most ``MAX_SHOWN`` problems a rule, in file order, then the count of the others.
    """
    tally = _Tally(path)
    checks = _Checks(path, limits, len(instruction) + 2 if instruction else 0)
    count = 0
    for row in rows:
        if isinstance(row, Problem):
            tally.add(row)
            continue
        count += 1
        for problem in checks.of(row):
            tally.add(problem)
    if not count and not tally.counts:
        fix = "add rows below the one that names the columns; some 100 to 500 are a good start"
        tally.add(Problem(path, 0, 0, "there are no examples in it", fix, "no-examples"))
    elif count < FEW and not tally.counts:
        what = f"{count} examples are few: tuning rarely helps with less than {FEW}"
        tally.add(Problem(path, 0, 0, what, "add more", "few-examples", "warning"))
    return tally.problems()


class _Tally:
    """Keeps the first problems of each rule and counts the others."""

    def __init__(self, path: str) -> None:
        self.counts: Counter[tuple[str, Severity]] = Counter()
        self._path = path
        self._shown: list[Problem] = []

    def add(self, problem: Problem) -> None:
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


class _Checks:
    """What is looked for in an example; remembers the examples before it."""

    def __init__(self, path: str, limits: Limits, prefix_chars: int) -> None:
        self._path = path
        self._most_input = limits.text_input_chars
        self._most_output = limits.output_chars
        self._prefix = prefix_chars
        self._seen: dict[int, tuple[int, int]] = {}

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
