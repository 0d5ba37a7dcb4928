"""All checks together: what is found, where, and in which order."""

import pytest

from tests.fakes.batches import batch_of
from tuner.data.checks import Checks
from tuner.data.checks.report import MAX_SHOWN, capped
from tuner.data.dataset import Batch
from tuner.errors import Problem
from tuner.types import Example, Limits

NO_LIMITS = Limits(None, None, None)
GOOD = [Example(f"input {n}", "output", n) for n in range(100, 130)]
LONG = "The delivery man left my parcel with the neighbours again although I was at home all day"


def check(rows, limits=NO_LIMITS, instruction=""):
    checks = Checks(limits, instruction)
    found = list(checks.check_training(batch_of(rows, "x.csv")))
    return capped([*found, *checks.finish("x.csv")])


def found(*rows, **options):
    """Line, rule and severity of the problems of some rows among good ones."""
    return [(each.line, each.rule, each.severity) for each in check([*rows, *GOOD], **options)]


@pytest.mark.parametrize("text", ["NA", "0", "None", "false", "\u200b", "🙂"])
def test_text_that_looks_empty_to_other_tools_is_text(text):
    assert found(Example(text, text, 1)) == []


def test_a_limit_includes_the_instruction():
    row = Example("12345678", "y", 1)

    assert found(row, limits=Limits(10, None, None)) == []
    assert found(row, limits=Limits(10, None, None), instruction="x")[0] == (
        1, "long-text-input", "error",
    )  # fmt: skip


def test_few_rows_are_a_warning_and_no_rows_an_error():
    (few,) = check(GOOD[:5])
    (none,) = check([])

    assert (few.rule, few.severity) == ("few-examples", "warning")
    assert (none.rule, none.severity) == ("no-examples", "error")


def place(row, field, offset=0):
    """The text_input of row n is on line n + 2, the output 100 columns to the right."""
    return row + 2, offset + 1 + 100 * (field == "output")


def batch(rows, path="x.csv", start=2):
    inputs, outputs = zip(*rows, strict=True)
    return Batch(path, inputs, outputs, range(start, start + len(rows)), (), place)


def findings(train, held_out=(), ignore=frozenset(), **limits):
    """Place, rule and message of all problems, without few-examples."""
    checks = Checks(NO_LIMITS, "", {*ignore, "few-examples"}, **limits)
    problems = [each for rows in train for each in checks.check_training(rows)]
    problems += [each for rows in held_out for each in checks.check_held_out(rows)]
    return [(each.where, each.rule, each.what) for each in (*problems, *checks.finish())]


def test_rows_that_differ_in_case_and_spaces_are_distinguished_from_equal_rows():
    rows = [("A b", "y"), ("a  B ", "y"), ("A b", "y"), ("a b", "z"), ("a  B ", "q")]

    assert findings([batch(rows)]) == [
        ("x.csv:3", "similar-case", "is the same as line 2 except for case and spaces"),
        ("x.csv:4", "duplicate", "is the same as line 2"),
        ("x.csv:5:101", "conflict", "the same text_input as line 2 except for case and spaces, with another output"),
        ("x.csv:6:101", "conflict", "the same text_input as line 3, with another output"),
    ]  # fmt: skip


def test_without_similar_case_only_equal_texts_count():
    rows = [("A b", "y"), ("a b", "y"), ("a b", "z"), ("A b", "y")]

    assert [rule for _, rule, _ in findings([batch(rows)], ignore={"similar-case"})] == [
        "conflict", "duplicate", "near-duplicate",
    ]  # fmt: skip


def test_empty_inputs_are_not_duplicates():
    assert [rule for _, rule, _ in findings([batch([("", "y"), (" ", "z"), ("", "y")])])] == [
        "empty-text-input"
    ] * 3


def test_problems_of_a_batch_are_in_file_order():
    unread = Problem("x.csv", 3, 5, "bad", rule="bad-csv")
    rows = [("a", "\x01"), ("\x01", "b"), ("a", "z")]
    problems = findings([batch(rows)._replace(lines=[2, 4, 5], problems=[unread])])

    assert [where for where, _, _ in problems] == [
        "x.csv:2:101", "x.csv:3:1", "x.csv:3:5", "x.csv:4:101",
    ]  # fmt: skip


def test_a_row_is_compared_with_those_of_other_batches_and_files():
    problems = findings(
        [batch([("a", "y")]), batch([("b", "y")], start=3), batch([("a", "y")], "z.csv")]
    )

    assert problems == [("z.csv:2", "duplicate", "is the same as x.csv:2")]


def test_leaks_are_reported_with_both_rows():
    train = [batch([(LONG, "y"), ("B", "y"), ("c", "y")])]
    rows = [("b ", "z"), ("c", "z"), (LONG[:-4], "y"), ("d", "y"), ("d", "y")]
    held_out = [batch(rows, "h.csv", 7)]

    assert [(where, rule, what.partition(": ")[0]) for where, rule, what in findings(train, held_out)] == [
        ("h.csv:7", "leak", "this text_input is also in the training set except for case and spaces, x.csv:3"),
        ("h.csv:8", "leak", "this text_input is also in the training set, x.csv:4"),
        ("h.csv:11", "duplicate", "is the same as line 10"),
        ("h.csv:9", "near-leak", "this text_input is nearly the same as one in the training set, x.csv:2"),
    ]  # fmt: skip


def test_near_duplicates_are_reported_once_and_after_all_rows():
    rows = [(LONG, "y"), ("a", "y"), (LONG.replace("although", "though"), "y"), (LONG.upper(), "y")]

    assert [(where, rule) for where, rule, _ in findings([batch(rows)])] == [
        ("x.csv:5", "similar-case"), ("x.csv:4", "near-duplicate"),
    ]  # fmt: skip
    assert len(findings([batch(rows)], ignore={"near-duplicate"})) == 1
    [(_, _, what)] = findings([batch([("Where is it?", "y"), ("where is it", "y")])])
    assert what.endswith("they differ only in case, punctuation or repetition, if at all")


def test_an_input_that_contains_its_output_is_reported_unless_that_is_the_task():
    said = ("Say that we are open on Sunday", "we are open on Sunday")
    others = [(f"question {n}", f"answer {n}") for n in range(30)]
    quoted = [
        (f"{n}, where? We met in the town of Oslo, I say", "in the town of Oslo") for n in range(30)
    ]
    ending = findings([batch([(f"{n} Sentiment: yes", "yes") for n in range(30)])])

    assert findings([batch([*others, said])])[0][:2] == ("x.csv:32:10", "output-in-input")
    assert findings([batch(quoted)], ignore={"near-duplicate"}) == []
    assert [(where, what) for where, rule, what in ending if rule == "output-in-input"] == [
        ("x.csv", "30 of 30 inputs end with their output")
    ]


@pytest.mark.parametrize("unchanged", [10, 70])
@pytest.mark.parametrize("task", ["", "Correct this: "])
def test_where_texts_are_corrected_an_input_may_contain_its_output(unchanged, task):
    right = [f"On day {n} we walked home and were very tired by then." for n in range(100)]
    wrong = [text.replace("were", "was") for text in right]
    inputs = right[:unchanged] + wrong[unchanged:]
    rows = [(task + text, output) for text, output in zip(inputs, right, strict=True)]
    unrelated = [(f"{text} {rows[-1][1]}", rows[-1][1]) for text, _ in rows[:5]]
    answers = [(f"question {n}", f"an answer of some {n} words") for n in range(40)]

    assert findings([batch(rows)], ignore={"near-duplicate", "similar-case"}) == []
    problems = findings([batch([*answers, *unrelated])], ignore={"near-duplicate"})
    assert [rule for _, rule, _ in problems] == ["output-in-input"] * 5


def test_tokens_are_counted_where_a_model_has_a_limit():
    def count(inputs, outputs):
        return [
            len(one.split()) + len(two.split()) for one, two in zip(inputs, outputs, strict=True)
        ]

    assert findings([batch([("a b", "c"), ("a b c", "d")])], count_tokens=count, max_tokens=3) == [
        ("x.csv:3:1", "long-example", "the example has 4 tokens, the model takes 3")
    ]


def test_a_request_is_known_to_be_too_large_before_it_is_made():
    checks = Checks(Limits(None, None, 4_000), ignore={"imbalance"})
    rows = [(f"{n}" + "x" * 20, "y") for n in range(150)]

    assert list(checks.check_training(batch(rows))) == []
    (problem,) = checks.finish()
    assert (problem.rule, problem.fix) == ("request-too-large", "keep about 136 of the 150 rows")


def test_problems_are_limited_by_rule_and_sorted_by_file():
    bad = [Problem(path, line, 1, "bad", rule=path) for path in "ba" for line in range(1, 30)]

    shown = capped(bad * 3)

    assert [each.path for each in shown[:40]] == ["b"] * MAX_SHOWN + ["a"] * MAX_SHOWN
    assert [each.what for each in shown[40:]] == [f"67 more like the 20 above ({n})" for n in "ba"]


def test_a_key_that_every_row_lacks_is_shown_twice_and_counted():
    missing = [Problem("x.jsonl", line, 1, "no key 'q'", "", "no-key") for line in range(1, 9)]

    shown = capped([*missing, Problem("x.jsonl", 9, 1, "no key 'a'", "", "no-key")])

    assert [each.line for each in shown] == [1, 2, 9, 0]
    assert shown[-1].what == "6 more like the 3 above (no-key)"
