"""The checks without which a tuning dies later."""

import pytest

from tuner.data import in_batches
from tuner.data.check import MAX_SHOWN, Checks, capped
from tuner.errors import Problem
from tuner.types import Example, Limits

NONE = Limits(None, None, None)


def check(rows, path, limits, instruction=""):
    checks = Checks(limits, instruction)
    found = [problem for batch in in_batches(path, rows) for problem in checks.train(batch)]
    return capped([*found, *checks.finish()])


GOOD = [Example(f"input {n}", "output", n) for n in range(100, 130)]


def found(*rows, limits=NONE, instruction=""):
    return [
        (problem.line, problem.rule, problem.severity)
        for problem in check([*rows, *GOOD], "x.csv", limits, instruction)
    ]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (Example("", "y", 1), "empty-text-input"),
        (Example(" \n\t\u2003", "y", 1), "empty-text-input"),
        (Example("x", "", 1), "empty-output"),
        (Example("x", " ", 1), "empty-output"),
        (Example("x" * 11, "y", 1), "long-text-input"),
        (Example("x", "y" * 6, 1), "long-output"),
        (Example("\ud800", "y", 1), "not-unicode"),
        (Example("x", "\udc00", 1), "not-unicode"),
    ],
)
def test_a_bad_row_is_an_error(row, rule):
    problems = check([row, Example("other", "y", 2)], "x.csv", Limits(10, 5, None))

    assert [(p.where, p.rule, p.severity) for p in problems] == [("x.csv:1", rule, "error")]
    assert problems[0].fix


@pytest.mark.parametrize("text", ["NA", "0", "None", "false", "\u200b", "🙂"])
def test_what_looks_empty_to_other_tools_is_text(text):
    assert found(Example(text, text, 1)) == []


def test_a_limit_counts_the_instruction():
    row = Example("12345678", "y", 1)

    assert found(row, limits=Limits(10, None, None), instruction="") == []
    assert found(row, limits=Limits(10, None, None), instruction="x")[0] == (
        1, "long-text-input", "error",
    )  # fmt: skip


def test_a_row_twice_is_a_warning_and_another_answer_is_another():
    rows = [Example("x", "y", 1), Example("x", "y", 2), Example("x", "z", 3)]

    assert found(*rows) == [(2, "duplicate", "warning"), (3, "conflict", "warning")]


def test_few_rows_are_a_warning_and_none_an_error():
    (few,) = check(GOOD[:5], "x.csv", NONE)
    (none,) = check([], "x.csv", NONE)

    assert (few.rule, few.severity) == ("few-examples", "warning")
    assert (none.rule, none.severity) == ("no-examples", "error")


def test_what_could_not_be_read_is_in_the_list_in_order():
    unread = Problem("x.csv", 5, 0, "bad", rule="bad-csv")

    assert found(unread, Example("", "y", 2)) == [
        (2, "empty-text-input", "error"), (5, "bad-csv", "error"),
    ]  # fmt: skip


def test_a_thousand_alike_are_counted():
    problems = check([Example("", f"{n}", n) for n in range(1, 1001)], "x.csv", NONE)

    errors = [problem for problem in problems if problem.rule == "empty-text-input"]
    assert len(errors) == MAX_SHOWN + 1
    assert errors[-1].what.startswith("980 more rows")
