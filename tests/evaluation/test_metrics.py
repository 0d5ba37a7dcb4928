"""The scores that each metric gives."""

from __future__ import annotations

import random
import sys
import time
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tuner
from tuner.errors import InvalidInput
from tuner.evaluation import custom_metric
from tuner.evaluation.custom_metric import NoScoreError
from tuner.evaluation.metrics import METRICS, scorer
from tuner.jobspec.rules import METRICS as NAMES
from tuner.jobspec.schema import MetricSpec

HERE = Path()


LEXICON = [f"word{n}" for n in range(2000)]


PAIRS = (
    ("the cat sat on the mat", "the cat is on the mat"),
    ("a b c d e f", "f e d c b a"),
    ("Lima", "Lima is the capital of Peru."),
    ("one two", "two one two"),
    ("x", "y"),
    ("3 apples and 4 pears", "4 pears"),
    ("hello, world!", "Hello world"),
    ("same", "same"),
    ("repeat repeat repeat", "repeat"),
    ("a_b c", "a b c"),
)


def score(kind, expected, answer, **more):
    return scorer(MetricSpec(kind, **more), HERE)(expected, answer)


def test_each_kind_in_a_spec_has_its_function():
    assert {*METRICS, "judge"} == set(NAMES)


@pytest.mark.parametrize(
    ("kind", "expected", "answer", "given"),
    [
        ("exact_match", "b", "b", 1),
        ("exact_match", "b", "b.", 0),
        ("normalized_match", "New York", "new  york!", 1),
        ("normalized_match", "Lima", "«LIMA»_ \n", 1),
        ("normalized_match", "Lima", "Li ma", 0),
        ("normalized_match", "Lima", "The Lima", 0),
        ("normalized_match", "Lima", "", 0),
        ("contains", "Lima", "It is Lima.", 1),
        ("contains", "Lima", "Climate", 0),
        ("contains", "New York", "new, york", 1),
        ("contains", "東京", "答えは東京です", 1),
        ("contains", "京東", "東京", 0),
        ("contains", "", "anything", 0),
        ("json", '{"a": [1, 2.50], "b": null}', '{"b": null, "a": [1.0, 2.5]}', 1),
        ("json", '{"a": [1, 2]}', '{"a": [2, 1]}', 0),
        ("json", '{"a": {"b": {"c": 1}}}', '{"a": {"b": {"c": 2}}}', 0),
        ("json", "[1]", "```json\n[1]\n```", 1),
        ("json", "[1]", "```\n[1]```", 1),
        ("json", "true", "1", 0),
        ("json", "0.1", "0.10000000000000000001", 0),
        ("json", "Infinity", "Infinity", 0),
        ("json", "[1]", "[1", 0),
        ("json", "not json", "not json", 0),
        ("json", "[" * 100_000, "[" * 100_000, 0),
        ("json", "1e99999999999999999999", "1e99999999999999999999", 0),
        ("json", "[1, 2]", "[1]", 0),
        ("token_f1", "the cat sat", "the cat", 0.8),
        ("token_f1", "the the", "the", 2 / 3),
        ("token_f1", "東京都", "東京", 0.8),
        ("token_f1", "", "", 1),
        ("token_f1", "a", "", 0),
        ("token_f1", "!", "a", 0),
        ("rouge_l", "a b c d", "a c", 2 / 3),
        ("rouge_l", "東京", "東京", 1),
        ("rouge_l", "", "a", 0),
        ("chrf", "abc", "abc", 1),
        ("chrf", "abc", "xyz", 0),
        ("chrf", " ", "", 1),
        ("numeric", "42", "The answer is 6 x 7 = 42.", 1),
        ("numeric", "1000.5", "It costs 1,000.50 euros", 1),
        ("numeric", "50 %", "0.5", 1),
        ("numeric", "-3", "minus 3, that is \u22123", 1),
        ("numeric", "3", "-3", 0),
        ("numeric", "20", "10-20", 1),
        ("numeric", "1e3", "1000", 1),
        ("numeric", "7", "seven", 0),
        ("numeric", "none", "none", 0),
        ("numeric", "0", "0.0", 1),
        ("numeric", "1e999999999999", "1e999999999999", 0),
        ("numeric", "1", "1e-9999999999999999999999", 0),
    ],
)
def test_scores_equal_values_computed_by_hand(kind, expected, answer, given):
    assert score(kind, expected, answer) == pytest.approx(given)


@pytest.mark.parametrize(
    ("answer", "tolerance", "is_near"),
    [("101", 0.01, 1), ("101.1", 0.01, 0), ("99", 0.01, 1), ("-100", 0.01, 0), ("100", 0.0, 1)],
)
def test_a_number_may_differ_by_its_tolerance(answer, tolerance, is_near):
    assert score("numeric", "100", answer, tolerance=tolerance) == is_near


@pytest.mark.parametrize(
    ("pattern", "expected", "answer", "matches"),
    [
        ("{expected}[.!]?", "a+b", " a+b! ", 1),
        ("{expected}[.!]?", "a+b", "aab", 0),
        ("{expected}", "Lima", "It is Lima", 0),
        (r"\d{4}-\d\d", "ignored", "2026-11", 1),
        ("a.b", "", "a\nb", 1),
    ],
)
def test_a_pattern_must_match_the_answer_as_a_whole(pattern, expected, answer, matches):
    assert score("regex", expected, answer, pattern=pattern) == matches


@pytest.mark.slow
def test_an_endless_pattern_is_killed(monkeypatch):
    monkeypatch.setattr(custom_metric, "MAX_MATCH_S", 0.3)
    judge = scorer(MetricSpec("regex", pattern="(a+)+b|{expected}"), HERE)

    with pytest.raises(NoScoreError, match="regex did not finish within"):
        judge("x", "a" * 60)
    assert judge("x", "x") == 1


def test_an_invalid_pattern_is_reported():
    with pytest.raises(NoScoreError, match="regex has an invalid pattern: min repeat greater"):
        score("regex", "3,1", "a", pattern="a{{expected}}")


def test_an_unclosed_code_fence_is_parsed_quickly():
    assert score("json", "{}", "```\n" + "\n" * 300_000 + "x") == 0


@pytest.mark.slow
def test_rouge_and_chrf_equal_the_libraries_on_ascii():
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import CHRF

    rouge, chrf = RougeScorer(["rougeL"]), CHRF()
    for pair in (*PAIRS, *(pair[::-1] for pair in PAIRS)):
        theirs = rouge.score(*pair)["rougeL"].fmeasure
        assert score("rouge_l", *pair) == theirs
        theirs = chrf.sentence_score(pair[1], [pair[0]]).score / 100
        assert score("chrf", *pair) == pytest.approx(theirs)


WORDS = st.lists(st.sampled_from("abcdefg"), max_size=80).map(" ".join)


@pytest.mark.slow
@given(WORDS, WORDS)
def test_rouge_equals_the_library_exactly(expected, answer):
    if expected or answer:
        assert (
            score("rouge_l", expected, answer)
            == rouge_scorer().score(expected, answer)["rougeL"].fmeasure
        )


@cache
def rouge_scorer():
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"])


def test_rouge_of_long_texts_is_fast():
    one, other = (" ".join(random.Random(seed).choices(LEXICON, k=6000)) for seed in (1, 2))
    began = time.process_time()

    found = score("rouge_l", one, other)

    assert time.process_time() - began < 1  # the table that it stands for takes 20 s
    assert 0 < found < 1


SYMMETRIC = ("exact_match", "normalized_match", "token_f1", "rouge_l", "json")


@cache
def all_scorers():
    return {kind: scorer(MetricSpec(kind, pattern="{expected}"), HERE) for kind in METRICS}


@pytest.mark.slow
@given(st.text(max_size=20), st.text(max_size=20))
@example("1.", "1.")
@example("東 京", "京")
def test_scores_are_from_0_to_1_and_some_are_symmetric(one, other):
    for kind, compare in all_scorers().items():
        assert 0 <= compare(one, other) <= 1
        if kind in SYMMETRIC:
            assert compare(one, other) == compare(other, one)


@pytest.mark.slow
@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20))
def test_the_expected_output_has_the_best_score(text):
    for kind, compare in all_scorers().items():
        if kind not in ("json", "numeric"):
            assert compare(text, text) == pytest.approx(1)


@pytest.mark.parametrize(
    ("metric", "what"),
    [
        ("nowhere_at_all:grade", "module nowhere_at_all cannot be imported"),
        ("{kind: chrf}", "needs sacrebleu, which is not installed"),
    ],
)
def test_an_unavailable_metric_is_reported_at_its_line_before_anything_is_sent(
    spec, monkeypatch, metric, what
):
    for library in ("sacrebleu", "sacrebleu.metrics"):
        monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr("tuner.evaluation.metrics.find_spec", lambda _: None)
    text = spec.read_text().replace("holdout: 0.3,", f"holdout: 0.3, metric: {metric},")
    spec.write_text(text)

    with pytest.raises(InvalidInput) as caught:
        tuner.validate(spec)

    (problem,) = caught.value.problems
    assert what in problem.what
    assert problem.line == 4
