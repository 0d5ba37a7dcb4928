"""eval and compare, on a target in memory."""

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


def generated():
    return OneTarget.target.calls.count("generate")


@pytest.fixture
def tuned(spec, capsys):
    assert tuner(["run", str(spec)]) == 0
    capsys.readouterr()
    return spec


@pytest.mark.usefixtures("tuned")
def test_a_job_is_evaluated_by_name_from_the_answers_that_were_kept(capsys):
    before, changes = generated(), OneTarget.target.grants

    assert tuner(["eval", "capitals"]) == 0

    out = capsys.readouterr().out
    assert "base   0.000" in out
    assert "tuned  1.000" in out
    assert "difference of exact_match 1.000, 95 % between 1.000 and 1.000 (paired bootstrap" in out
    assert (generated(), OneTarget.target.grants) == (before, changes)


def test_a_later_run_shows_the_rows_that_an_earlier_one_asked(tuned, capsys):
    tuned.write_text(tuned.read_text().replace("ana@", "bob@"))
    OneTarget.target.me = "lead@example.com"  # whose the model is by now

    assert tuner(["run", str(tuned)]) == 0

    assert "held-out rows with the answers of both models" in capsys.readouterr().out


def test_again_asks_every_row_of_both_models_once_more(tuned):
    before, rows = generated(), len(prepare_job(tuned).holdout)

    tuner(["eval", "capitals", "--again", "--metric", "token_f1", "--metric", "contains"])

    assert generated() - before == 2 * rows


def test_several_metrics_stand_in_one_table(tuned, capsys):
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
def test_a_metric_may_be_set_like_any_key_of_the_spec(capsys):
    metric = "evaluation.metric={kind: regex, pattern: 'answer .*'}"

    assert tuner(["eval", "capitals", "--set", metric, "--json"]) == 0

    record = json.loads(capsys.readouterr().out)
    assert record["evaluations"][0]["tuned"]["regex"] == 1.0


@pytest.mark.usefixtures("tuned")
def test_a_metric_that_needs_more_than_a_word_says_how_to_write_it(capsys):
    assert tuner(["eval", "capitals", "--metric", "regex"]) == 2
    assert "--set evaluation.metric='{kind: ...}'" in capsys.readouterr().err


def test_a_metric_of_ones_own_that_is_not_there_is_said_before_anybody_is_asked(tuned, capsys):
    OneTarget.target.calls.clear()
    tuned.with_name("grading.py").write_text("def grade(a, b): return len(b) / 100")

    assert tuner(["eval", "capitals", "--again", "--metric", "grading:missing"]) == 2
    assert "module grading has no function missing" in capsys.readouterr().err
    assert "generate" not in OneTarget.target.calls
    assert tuner(["eval", "capitals", "--metric", "grading:grade"]) == 0
    assert "grading:grade" in capsys.readouterr().out


def test_the_rows_come_one_by_one_for_programs(tuned, capsys):
    tuner(["eval", "capitals", "--rows", "-o", "jsonl"])

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == len(prepare_job(tuned).holdout)
    assert rows[0]["expected"] == rows[0]["tuned"]
    assert (rows[0]["tuned_score"], rows[0]["base_score"], rows[0]["base"]) == (1.0, 0.0, "")
    assert rows[0]["line"] > 1


@pytest.mark.usefixtures("tuned")
def test_a_missed_gate_is_code_3_where_it_is_asked_for(capsys):
    stricter = ["--set", "evaluation.require.better_by=1", "--set", "evaluation.require.at_least=1"]
    OneTarget.target.answers.clear()

    assert tuner(["eval", "capitals", "--gate", *stricter]) == 0
    assert tuner(["eval", "capitals", "--gate", "--again", *stricter]) == 3
    assert "the gate is not met: exact_match is 0.000" in capsys.readouterr().err
    assert tuner(["eval", "capitals", "--again", *stricter]) == 0
    assert tuner(["eval", "capitals", "--gate", "--metric", "chrf", *stricter]) == 3


def test_answers_without_text_are_counted(tuned, capsys):
    tuner(["eval", "capitals"])

    rows = len(prepare_job(tuned).holdout)
    assert f"base: {rows} empty answers, counted as wrong" in capsys.readouterr().out


def test_any_model_can_be_asked_the_rows_of_a_spec(tuned, capsys):
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
def test_whom_or_what_to_ask_is_said_where_it_is_missing(tuned, capsys, monkeypatch, given, what):
    monkeypatch.chdir(tuned.parent)
    bare = [line for line in SPEC.splitlines() if not line.startswith("evaluation")]
    (tuned.parent / "bare.yaml").write_text("\n".join(bare))

    assert tuner(given) == 2
    assert what in capsys.readouterr().err


def test_models_are_compared_on_the_same_rows_the_best_first(tuned, capsys):
    before = generated()

    assert tuner(["compare", "models/tiny", "capitals", "--data", str(tuned)]) == 0

    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[1].split()[:5] == ["capitals", *["1.000"] * 4]
    assert lines[2].split()[:2] == ["models/tiny", "0.000"]
    assert "held-out rows of" in shown.err
    assert generated() == before


def test_rows_that_models_differ_on_are_listed(tuned, capsys):
    tuner(["compare", "capitals", "models/tiny", "--rows", "-o", "jsonl"])

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["text_input"]: row["capitals"] for row in rows} == answers(tuned)
    assert rows[0]["models/tiny"] == ""


def test_a_table_of_rows_keeps_to_the_row_and_leaves_the_instruction_out():
    row = {"line": 3, "text_input": "Translate.\n\n" + "word " * 40, "expected": "x" * 99}

    assert shorten_texts(row) == {
        "line": 3,
        "text_input": "word " * 11 + "word…",
        "expected": "x" * 23 + "…",
    }


@pytest.mark.usefixtures("tuned")
def test_models_that_score_alike_leave_nothing_to_list(capsys):
    assert tuner(["compare", "capitals", "capitals", "--rows"]) == 0
    assert "equal scores on every row" in capsys.readouterr().err


def test_a_spec_that_was_never_run_is_said_to_be_so(spec, capsys):
    OneTarget.target = FakeTarget()

    assert tuner(["eval", str(spec)]) == 2

    assert f"fix: `tuner run {spec}` tunes it" in capsys.readouterr().err


@pytest.mark.parametrize(("state", "code"), [(State.CREATING, 6), (State.FAILED, 1)])
def test_a_model_that_cannot_answer_is_not_asked(tuned, capsys, state, code):
    held = OneTarget.target.held
    [name] = held
    held[name] = held[name]._replace(state=state)
    OneTarget.target.calls.clear()

    assert tuner(["eval", str(tuned), "--again"]) == code
    assert tuner(["compare", str(tuned), "--again"]) == code

    said = capsys.readouterr().err
    assert said.count("is still tuning" if code == 6 else "failed") == 2
    assert "generate" not in OneTarget.target.calls
