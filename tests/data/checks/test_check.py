"""The checks without which a tuning dies later."""

import pytest

from tests.fakes.batches import batch_of
from tuner.data import Batch, Source, read
from tuner.data.checks.check import MAX_SHOWN, Checks, capped
from tuner.data.formats import csv
from tuner.errors import Problem
from tuner.types import Example, Limits

NONE = Limits(None, None, None)


def check(rows, path, limits, instruction=""):
    checks = Checks(limits, instruction)
    found = list(checks.train(batch_of(rows, path)))
    return capped([*found, *checks.finish(path)])


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
    assert errors[-1].what.startswith("980 more like the 20 above")


def place(row, field, offset=0):
    """Every text of row n stands in line n + 2, the output 100 columns on."""
    return row + 2, offset + 1 + 100 * (field == "output")


def batch(rows, path="x.csv", start=2):
    inputs, outputs = zip(*rows, strict=True)
    return Batch(path, inputs, outputs, range(start, start + len(rows)), (), place)


def looked(train, held=(), ignore=frozenset(), **limits):
    """Place, rule and message of all that is found, but that there are few."""
    checks = Checks(Limits(None, None, None), "", {*ignore, "few-examples"}, **limits)
    found = [each for rows in train for each in checks.train(rows)]
    found += [each for rows in held for each in checks.held(rows)]
    return [(each.where, each.rule, each.what) for each in (*found, *checks.finish())]


def test_what_differs_by_case_and_space_is_told_apart_from_what_is_the_same():
    rows = [("A b", "y"), ("a  B ", "y"), ("A b", "y"), ("a b", "z"), ("a  B ", "q")]

    assert looked([batch(rows)]) == [
        ("x.csv:3", "similar-case", "is the same as line 2 but for case and space"),
        ("x.csv:4", "duplicate", "is the same as line 2"),
        ("x.csv:5:101", "conflict", "the text_input of line 2 again but for case and space, with another output"),
        ("x.csv:6:101", "conflict", "the text_input of line 3 again, with another output"),
    ]  # fmt: skip


def test_without_similar_case_only_what_is_the_same_to_the_letter_counts():
    rows = [("A b", "y"), ("a b", "y"), ("a b", "z"), ("A b", "y")]

    assert [rule for _, rule, _ in looked([batch(rows)], ignore={"similar-case"})] == [
        "conflict", "duplicate", "near-duplicate",
    ]  # fmt: skip


def test_empty_inputs_are_not_compared_as_well():
    assert [rule for _, rule, _ in looked([batch([("", "y"), (" ", "z"), ("", "y")])])] == [
        "empty-text-input"
    ] * 3


def test_what_is_found_in_a_batch_comes_in_the_order_of_the_file():
    unread = Problem("x.csv", 3, 5, "bad", rule="bad-csv")
    rows = [("a", "\x01"), ("\x01", "b"), ("a", "z")]
    found = looked([batch(rows)._replace(lines=[2, 4, 5], problems=[unread])])

    assert [where for where, _, _ in found] == [
        "x.csv:2:101",
        "x.csv:3:1",
        "x.csv:3:5",
        "x.csv:4:101",
    ]


def test_a_row_is_compared_with_those_of_other_batches_and_files():
    found = looked(
        [batch([("a", "y")]), batch([("b", "y")], start=3), batch([("a", "y")], "z.csv")]
    )

    assert found == [("z.csv:2", "duplicate", "is the same as x.csv:2")]


LONG = "The delivery man left my parcel with the neighbours again although I was at home all day"


def test_leaks_are_named_by_line_pair():
    train = [batch([(LONG, "y"), ("B", "y"), ("c", "y")])]
    held = [batch([("b ", "z"), ("c", "z"), (LONG[:-4], "y"), ("d", "y"), ("d", "y")], "h.csv", 7)]

    assert [(where, rule, what.partition(": ")[0]) for where, rule, what in looked(train, held)] == [
        ("h.csv:7", "leak", "this text_input is also tuned on but for case and space, x.csv:3"),
        ("h.csv:8", "leak", "this text_input is also tuned on, x.csv:4"),
        ("h.csv:11", "duplicate", "is the same as line 10"),
        ("h.csv:9", "near-leak", "this text_input is nearly tuned on, x.csv:2"),
    ]  # fmt: skip


def test_rows_that_are_nearly_the_same_are_told_once_all_were_seen():
    rows = [(LONG, "y"), ("a", "y"), (LONG.replace("although", "though"), "y"), (LONG.upper(), "y")]

    assert [(where, rule) for where, rule, _ in looked([batch(rows)])] == [
        ("x.csv:5", "similar-case"), ("x.csv:4", "near-duplicate"),
    ]  # fmt: skip
    assert len(looked([batch(rows)], ignore={"near-duplicate"})) == 1


def test_rows_of_the_same_few_words_are_told_without_a_share_of_them():
    [(where, rule, what)] = looked([batch([("Where is it?", "y"), ("where is it", "y")])])

    assert (where, rule) == ("x.csv:3", "near-duplicate")
    assert what.endswith(": they differ in case, punctuation or what they repeat, if at all")


def test_an_input_that_holds_its_output_is_told_unless_that_is_the_task():
    said = ("Say that we are open on Sunday", "we are open on Sunday")
    others = [(f"question {n}", f"answer {n}") for n in range(30)]

    assert looked([batch([*others, said])])[0][:2] == ("x.csv:32:10", "output-in-input")
    quoted = [
        (f"{n}, where? We met in the town of Oslo, I say", "in the town of Oslo") for n in range(30)
    ]
    assert looked([batch(quoted)], ignore={"near-duplicate"}) == []
    told = looked([batch([(f"{n} Sentiment: yes", "yes") for n in range(30)])])
    assert [(where, what) for where, rule, what in told if rule == "output-in-input"] == [
        ("x.csv", "30 of 30 inputs end with their output")
    ]


@pytest.mark.parametrize("unchanged", [10, 70])
@pytest.mark.parametrize("task", ["", "Correct this: "])
def test_a_row_that_needs_no_correction_holds_its_output_and_that_is_not_told(unchanged, task):
    right = [f"On day {n} we walked home and were very tired by then." for n in range(100)]
    wrong = [text.replace("were", "was") for text in right]
    inputs = right[:unchanged] + wrong[unchanged:]
    rows = [(task + text, output) for text, output in zip(inputs, right, strict=True)]
    unrelated = [(f"{text} {rows[-1][1]}", rows[-1][1]) for text, _ in rows[:5]]

    assert looked([batch(rows)], ignore={"near-duplicate", "similar-case"}) == []
    answers = [(f"question {n}", f"an answer of some {n} words") for n in range(40)]
    told = looked([batch([*answers, *unrelated])], ignore={"near-duplicate"})
    assert [rule for _, rule, _ in told] == ["output-in-input"] * 5


def test_a_request_is_known_to_be_too_large_without_making_it():
    checks = Checks(Limits(None, None, 4_000), ignore={"imbalance"})
    rows = [(f"{n}" + "x" * 20, "y") for n in range(150)]

    assert list(checks.train(batch(rows))) == []
    (problem,) = checks.finish()
    assert (problem.rule, problem.fix) == ("request-too-large", "keep about 127 of the 150 rows")


@pytest.mark.parametrize("rows", [3, 50])
def test_what_is_shown_is_capped_and_told_file_by_file(rows):
    problems = [
        Problem(path, line, 1, "bad", rule=path) for path in ("b", "a") for line in range(1, 30)
    ]

    shown = capped(problems * rows)

    assert [each.path for each in shown[:40]] == ["b"] * 20 + ["a"] * 20
    assert [each.what for each in shown[40:]] == [
        f"{29 * rows - 20:,} more like the 20 above ({path})" for path in "ba"
    ]


def test_a_key_that_every_row_lacks_is_shown_twice_and_counted():
    lacking = [
        Problem("x.jsonl", line, 1, "there is no key 'q'", "", "no-key") for line in range(1, 9)
    ]
    other = Problem("x.jsonl", 9, 1, "there is no key 'a'", "", "no-key")

    shown = capped([*lacking, other])

    assert [each.line for each in shown] == [1, 2, 9, 0]
    assert shown[-1].what == "6 more like the 3 above (no-key)"


def test_texts_in_bytes_are_judged_as_texts(tmp_path, monkeypatch):
    pieces = [
        "a b", "A  B", " a b", "caf\u00e9 ana@example.com", "CAF\u00c9 ana@example.com", "\u3000", "",
        "x" * 41, "\u6771\u4eac\u3000\u5927\u962a", "\u6771\u4eac \u5927\u962a", "caf\u00c3\u00a9", "a\x01b", "\0", "4111 1111 1111 1111",
        "sk-abcdefghijklmnopqrstuvwx1234", "x\ufeff", "one two three four", "say: one two three four",
    ]  # fmt: skip
    rows = [f'"{one}","{other}"\n' for one in pieces for other in (*pieces[::3], one)]
    path = tmp_path / "x.csv"
    path.write_text("text_input,output\n" + "".join(rows), encoding="utf-8")

    def problems(many):
        monkeypatch.setattr(csv, "_FEW", many)
        checks = Checks(Limits(40, 40, None))
        found = [each for batch in read(Source((path,))) for each in checks.train(batch)]
        return [*found, *checks.finish()]

    assert problems(0) == problems(10**9)
    assert len({each.rule for each in problems(0)}) > 10
