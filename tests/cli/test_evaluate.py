"""`tuner eval` and `tuner compare`, on a target in memory."""

from __future__ import annotations

import json

import pytest

from tests.fakes.one_target import SPEC, OneTarget, answers
from tests.fakes.target import FakeTarget
from tuner.__main__ import run as tuner
from tuner.jobs.outcome import shorten_texts
from tuner.jobspec.prepared_job import new_tuned_model, prepare_job
from tuner.types import State

pytestmark = pytest.mark.slow


def generate_calls():
    return OneTarget.target.calls.count("generate")


@pytest.fixture
def tuned(spec, capsys):
    assert tuner(["run", str(spec)]) == 0
    capsys.readouterr()
    return spec


@pytest.mark.usefixtures("tuned")
def test_a_job_is_evaluated_by_name_from_stored_answers(capsys):
    before, changes = generate_calls(), OneTarget.target.grants

    assert tuner(["eval", "capitals"]) == 0

    out = capsys.readouterr().out
    assert "base   0.000" in out
    assert "tuned  1.000" in out
    assert "difference of exact_match 1.000, 95 % between 1.000 and 1.000 (paired bootstrap" in out
    assert (generate_calls(), OneTarget.target.grants) == (before, changes)


def test_a_later_run_shows_the_rows_of_an_earlier_one(tuned, capsys):
    tuned.write_text(tuned.read_text().replace("ana@", "bob@"))
    OneTarget.target.me = "lead@example.com"  # whose the model is by now

    assert tuner(["run", str(tuned)]) == 0

    assert "held-out rows with the answers of both models" in capsys.readouterr().out


def test_again_requests_each_answer_once_more(tuned):
    before, rows = generate_calls(), len(prepare_job(tuned).holdout)

    tuner(["eval", "capitals", "--again", "--metric", "token_f1", "--metric", "contains"])

    assert generate_calls() - before == 2 * rows


def test_several_metrics_are_columns_of_one_table(tuned, capsys):
    tuner(["eval", str(tuned), "--metric", "token_f1", "--metric", "chrf"])

    header = capsys.readouterr().out.splitlines()[0].split()
    assert header == [
        *("model", "exact", "match", "normalized", "match"),
        "token",
        "f1",
        "chrf",
        "rows",
    ]


@pytest.mark.usefixtures("tuned")
def test_a_metric_can_be_set_like_any_key(capsys):
    metric = "evaluation.metric={kind: regex, pattern: 'answer .*'}"

    assert tuner(["eval", "capitals", "--set", metric, "--json"]) == 0

    record = json.loads(capsys.readouterr().out)
    assert record["evaluations"][0]["tuned"]["regex"] == 1.0


@pytest.mark.usefixtures("tuned")
def test_a_metric_with_parameters_is_refused_with_a_fix(capsys):
    assert tuner(["eval", "capitals", "--metric", "regex"]) == 2
    assert "--set evaluation.metric='{kind: ...}'" in capsys.readouterr().err


def test_a_missing_custom_metric_is_reported_before_any_request(tuned, capsys):
    OneTarget.target.calls.clear()
    tuned.with_name("grading.py").write_text("def grade(a, b): return len(b) / 100")

    assert tuner(["eval", "capitals", "--again", "--metric", "grading:missing"]) == 2
    assert "module grading has no function missing" in capsys.readouterr().err
    assert "generate" not in OneTarget.target.calls
    assert tuner(["eval", "capitals", "--metric", "grading:grade"]) == 0
    assert "grading:grade" in capsys.readouterr().out


def test_rows_are_json_lines_with_answers_and_scores(tuned, capsys):
    tuner(["eval", "capitals", "--rows", "-o", "jsonl"])

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == len(prepare_job(tuned).holdout)
    assert rows[0]["expected"] == rows[0]["tuned"]
    assert (rows[0]["tuned_score"], rows[0]["base_score"], rows[0]["base"]) == (1.0, 0.0, "")
    assert rows[0]["line"] > 1


@pytest.mark.usefixtures("tuned")
def test_a_gate_that_is_not_met_is_exit_code_3_with_gate(capsys):
    stricter = ["--set", "evaluation.require.better_by=1", "--set", "evaluation.require.at_least=1"]
    OneTarget.target.answers.clear()

    assert tuner(["eval", "capitals", "--gate", *stricter]) == 0
    assert tuner(["eval", "capitals", "--gate", "--again", *stricter]) == 3
    assert "the gate is not met: exact_match is 0.000" in capsys.readouterr().err
    assert tuner(["eval", "capitals", "--again", *stricter]) == 0
    assert tuner(["eval", "capitals", "--gate", "--metric", "chrf", *stricter]) == 3


def test_empty_answers_are_counted(tuned, capsys):
    tuner(["eval", "capitals"])

    rows = len(prepare_job(tuned).holdout)
    assert f"base: {rows} empty answers, counted as wrong" in capsys.readouterr().out


def test_any_model_can_be_evaluated_on_the_rows_of_a_spec(tuned, capsys):
    model = new_tuned_model(prepare_job(tuned)).id
    tuner(["-q", "eval", "models/tiny", "--data", str(tuned), "--json"])
    base = json.loads(capsys.readouterr().out)
    tuner(["-q", "eval", model, "--data", str(tuned), "--json"])
    its = json.loads(capsys.readouterr().out)

    assert base["evaluations"][0]["tuned"]["exact_match"] == 0.0
    assert its["evaluations"][0]["tuned"]["exact_match"] == 1.0


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (["eval", "nobody"], "for any other model add --data SPEC"),
        (["eval", "capitals", "--data", "nowhere.yaml"], "nowhere.yaml"),
        (["eval", "bare.yaml"], "no rows are held out"),
        (["compare", "nobody", "capitals"], "for any other model add --data SPEC"),
    ],
)
def test_a_missing_model_or_missing_rows_are_reported(tuned, capsys, monkeypatch, given, what):
    monkeypatch.chdir(tuned.parent)
    bare = [line for line in SPEC.splitlines() if not line.startswith("evaluation")]
    (tuned.parent / "bare.yaml").write_text("\n".join(bare))

    assert tuner(given) == 2
    assert what in capsys.readouterr().err


def test_models_are_compared_on_the_same_rows_best_first(tuned, capsys):
    before = generate_calls()

    assert tuner(["compare", "models/tiny", "capitals", "--data", str(tuned)]) == 0

    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[1].split()[:5] == ["capitals", *["1.000"] * 4]
    assert lines[2].split()[:2] == ["models/tiny", "0.000"]
    assert "held-out rows of" in shown.err
    assert generate_calls() == before


def test_rows_with_different_scores_are_listed(tuned, capsys):
    tuner(["compare", "capitals", "models/tiny", "--rows", "-o", "jsonl"])

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["text_input"]: row["capitals"] for row in rows} == answers(tuned)
    assert rows[0]["models/tiny"] == ""


def test_a_table_of_rows_is_shortened_and_omits_the_instruction():
    row = {"line": 3, "text_input": "Translate.\n\n" + "word " * 40, "expected": "x" * 99}

    assert shorten_texts(row) == {
        "line": 3,
        "text_input": "word " * 11 + "word…",
        "expected": "x" * 23 + "…",
    }


@pytest.mark.usefixtures("tuned")
def test_models_with_equal_scores_have_no_rows_to_list(capsys):
    assert tuner(["compare", "capitals", "capitals", "--rows"]) == 0
    assert "equal scores on every row" in capsys.readouterr().err


def test_a_spec_that_was_never_run_is_an_error_with_a_fix(spec, capsys):
    OneTarget.target = FakeTarget()

    assert tuner(["eval", str(spec)]) == 2

    assert f"fix: `tuner run {spec}` tunes it" in capsys.readouterr().err


@pytest.mark.parametrize(("state", "code"), [(State.CREATING, 6), (State.FAILED, 1)])
def test_a_model_that_cannot_answer_gets_no_requests(tuned, capsys, state, code):
    held = OneTarget.target.held
    [name] = held
    held[name] = held[name]._replace(state=state)
    OneTarget.target.calls.clear()

    assert tuner(["eval", str(tuned), "--again"]) == code
    assert tuner(["compare", str(tuned), "--again"]) == code

    shown = capsys.readouterr().err
    assert shown.count("is still tuning" if code == 6 else "failed") == 2
    assert "generate" not in OneTarget.target.calls
