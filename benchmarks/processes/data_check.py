"""Repetitions, conflicts, leaks and lengths of a file and of one held out: data_check.py CONTESTANT FILE HELD."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import meter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    Finding: TypeAlias = tuple[str, str, int]
    Work: TypeAlias = Callable[[], set[Finding]]

MOST_INPUT, MOST_OUTPUT = 40_000, 5_000
COMPARED = (
    "empty-text-input",
    "empty-output",
    "long-text-input",
    "long-output",
    "duplicate",
    "conflict",
    "leak",
)


def ours(train: Path, held: Path, rules: tuple[str, ...] = COMPARED) -> Work:
    """The functions of `tuner data check` with the other rules switched off."""
    from tuner.data.checks import Checks
    from tuner.data.checks.rules import IGNORABLE
    from tuner.data.dataset import Source, read
    from tuner.targets import TARGETS

    limits = replace(TARGETS["gemini"].limits, request_bytes=None)

    def work() -> set[Finding]:
        checks = Checks(limits, ignore=set(IGNORABLE) - set(rules))
        found = []
        for batch in read(Source((train,))):
            found.extend(checks.check_training(batch))
        for batch in read(Source((held,))):
            found.extend(checks.check_held_out(batch))
        found.extend(checks.finish())
        names = {str(path): path.name for path in (train, held)}
        return {(each.rule, names[each.path], each.line) for each in found}

    return work


def every_rule(train: Path, held: Path) -> Work:
    """All rules that there are."""
    from tuner.data.checks.rules import IGNORABLE

    return ours(train, held, IGNORABLE)


def far_rules(train: Path, held: Path) -> Work:
    """All rules but the two that compare every row with all others by their shingles."""
    from tuner.data.checks.rules import IGNORABLE

    return ours(train, held, tuple(rule for rule in IGNORABLE if not rule.startswith("near")))


def pydantic(train: Path, held: Path) -> Work:
    """A model for the lengths, a dictionary for the inputs: what one writes in an afternoon."""
    from pydantic import BaseModel, Field, ValidationError

    class Row(BaseModel):
        text_input: str = Field(min_length=1, max_length=MOST_INPUT)
        output: str = Field(min_length=1, max_length=MOST_OUTPUT)

    def invalid(name: str, lines: tuple[int, int], row: dict[str, str]) -> Iterator[Finding]:
        try:
            Row.model_validate(row)
        except ValidationError as error:
            for each in error.errors():
                kind = "empty" if each["type"] == "string_too_short" else "long"
                field = each["loc"][0]
                yield f"{kind}-{field.replace('_', '-')}", name, lines[field == "output"]

    def work() -> set[Finding]:
        found = set()
        first: dict[str, str] = {}
        for line, answer_line, row in _rows(train):
            found.update(invalid(train.name, (line, answer_line), row))
            text_input, output = row["text_input"], row["output"]
            earlier = first.setdefault(text_input, output)
            if text_input and earlier is not output:
                same = earlier == output
                rule, where = ("duplicate", line) if same else ("conflict", answer_line)
                found.add((rule, train.name, where))
        for line, answer_line, row in _rows(held):
            found.update(invalid(held.name, (line, answer_line), row))
            if row["text_input"] and row["text_input"] in first:
                found.add(("leak", held.name, line))
        return found

    return work


def _rows(path: Path) -> Iterator[tuple[int, int, dict[str, str]]]:
    """Rows, with the lines that they and their outputs start on."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        line = 2
        for row in reader:
            yield line, reader.line_num - row["output"].count("\n"), row
            line = reader.line_num + 1


CONTESTANTS = {each.__name__: each for each in (ours, far_rules, every_rule, pydantic)}

if __name__ == "__main__":
    found, costs = meter.measured(CONTESTANTS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3])))
    meter.tell(costs, sorted(each for each in found if each[0] in COMPARED))
