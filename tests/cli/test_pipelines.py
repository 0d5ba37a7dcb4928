"""Pipelines on the command line: run, status, retry, resume, cancel."""

from __future__ import annotations

import json

import pytest

from tests.fakes.one_target import OneTarget
from tests.fakes.pipelines import PipelineTarget
from tuner.__main__ import run as tuner
from tuner.errors import Unavailable
from tuner.jobs import lockfile
from tuner.jobs.store import open_store

pytestmark = pytest.mark.slow

PIPE = """\
pipeline: pipe
jobs:
  - name: grid
    spec: capitals.yaml
    set: {evaluation: null, permissions: []}
    matrix: {hyperparameters.learning_rate: [1e-3, 2e-3]}
  - name: after
    after: [grid]
    spec: capitals.yaml
    set: {evaluation: null, job: after}
"""


@pytest.fixture
def pipe(spec):
    OneTarget.target = PipelineTarget(failing=[0.002])
    path = spec.parent / "pipe.yaml"
    path.write_text(PIPE)
    return path


def leave_tuning(pipe):
    """Submitted, and then the service is gone for a while."""

    async def away(_name):
        raise Unavailable("nothing answers", is_passing=False)

    OneTarget.target.operation = away
    assert tuner(["run", str(pipe)]) == 5
    del OneTarget.target.operation


def phases(capsys, name="pipe"):
    capsys.readouterr()
    assert tuner(["status", str(name), "-o", "json"]) == 0
    return {row["stage"]: row["phase"] for row in json.loads(capsys.readouterr().out)}


def test_status_of_a_pipeline_shows_every_stage(pipe, capsys):
    assert tuner(["run", str(pipe)]) == 1
    states = {"grid[learning_rate=0.001]": "DONE", "grid[learning_rate=0.002]": "FAILED"}

    assert phases(capsys) == phases(capsys, pipe) == {**states, "after": "SKIPPED"}


def test_a_stage_has_one_name_wherever_it_is_told_of(pipe, capsys):
    stages = {"grid[learning_rate=0.001]", "grid[learning_rate=0.002]", "after"}
    tuner(["-q", "run", str(pipe)])
    told = [list(phases(capsys))]
    for command in ("plan", str(pipe)), ("status",):
        assert tuner([*command, "-o", "json"]) in (0, 1)
        told.append([row["job"] for row in json.loads(capsys.readouterr().out)])
    assert tuner(["logs", "-o", "table"]) == 0
    told.append(
        [line.split(None, 1)[1].partition(": ")[0] for line in capsys.readouterr().out.splitlines()]
    )
    told.append([key.partition("#")[2] for key in lockfile.entries(pipe.parent / lockfile.NAME)])

    assert [set(each) - stages for each in told] == [set()] * len(told)
    assert tuner(["logs", "grid[learning_rate=0.001]"]) == 0
    named = {json.loads(line)["job"] for line in capsys.readouterr().out.splitlines()}
    assert named == {"grid"}


def test_status_of_a_stage_by_its_name_is_of_it_alone(pipe, capsys):
    tuner(["-q", "run", str(pipe)])
    capsys.readouterr()

    assert tuner(["status", "grid[learning_rate=0.002]", "-o", "json"]) == 0

    assert [row["phase"] for row in json.loads(capsys.readouterr().out)] == ["FAILED"]


def test_a_stage_that_is_run_as_a_job_of_its_own_has_the_name_of_its_spec(pipe, spec):
    tuner(["-q", "run", str(pipe)])
    alone = ["--set", "hyperparameters.learning_rate=1e-3", "--set", "evaluation=null"]

    assert tuner(["-q", "run", str(spec), *alone, "--set", "permissions=[]"]) == 0

    with open_store() as ledger:
        titles = {each.job.title for each in ledger.jobs()}
    assert titles == {"capitals", "grid[learning_rate=0.002]"}


def test_status_of_all_counts_each_pipeline_in_a_line(pipe, capsys):
    tuner(["run", str(pipe)])
    capsys.readouterr()

    assert tuner(["status"]) == 0

    told = capsys.readouterr()
    assert told.err == "pipe: 1 done, 1 failed, 1 skipped of 3\n"
    assert "grid[learning_rate=0.002]" in told.out


@pytest.mark.parametrize("named", ["pipe", "pipe.yaml", "", "grid[learning_rate=0.002]"])
def test_retry_tunes_the_failed_again_and_goes_on_from_there(pipe, capsys, monkeypatch, named):
    monkeypatch.chdir(pipe.parent)
    tuner(["run", "pipe.yaml"])
    OneTarget.target.failing = []
    creates = OneTarget.target.creates

    assert tuner(["retry", *filter(None, [named])]) == 0

    assert OneTarget.target.creates == creates + 2
    assert set(phases(capsys).values()) == {"DONE"}


def test_retry_has_nothing_to_do_when_nothing_failed(spec, capsys):
    assert tuner(["run", str(spec)]) == 0
    capsys.readouterr()

    assert tuner(["retry"]) == 0
    assert capsys.readouterr().err == "nothing to retry: no job failed or was cancelled\n"
    assert tuner(["retry", "capitals"]) == 2
    assert "capitals has not failed: its state is done" in capsys.readouterr().err


def test_retry_of_a_rejected_job_is_refused(spec, capsys):
    OneTarget.target.answers = {}
    assert tuner(["run", str(spec)]) == 3
    capsys.readouterr()

    assert tuner(["retry", "capitals"]) == 2

    told = capsys.readouterr().err
    assert "capitals did not meet its gate; a retry would give the same answers" in told
    assert "--force-share" in told


def test_retry_of_a_job_alone_deletes_what_failed_first(spec):
    OneTarget.target.tuning_error = "the loss is not a number"
    assert tuner(["run", str(spec)]) == 1
    OneTarget.target.tuning_error = ""

    assert tuner(["retry", "capitals"]) == 0

    assert OneTarget.target.creates == 2
    with open_store() as ledger:
        assert [(each.job.attempt, each.job.retry) for each in ledger.jobs()] == [(2, False)]


def test_resume_goes_on_with_the_whole_pipeline(pipe, capsys):
    leave_tuning(pipe)
    assert set(phases(capsys).values()) == {"TUNE", "WAITING"}
    OneTarget.target.failing = []

    assert tuner(["resume"]) == 0

    assert OneTarget.target.creates == 3
    assert set(phases(capsys).values()) == {"DONE"}


def test_a_name_that_stands_for_a_matrix_is_refused_where_one_is_meant(pipe, capsys):
    tuner(["run", str(pipe)])
    capsys.readouterr()

    assert tuner(["watch", "grid"]) == 2

    told = capsys.readouterr().err
    assert "2 jobs have the name 'grid'" in told
    assert "'grid[learning_rate=0.001]'" in told


def test_cancel_of_a_pipeline_cancels_what_is_tuning(pipe, capsys):
    leave_tuning(pipe)

    assert tuner(["cancel", "pipe"]) == 0

    assert sorted(phases(capsys).values()) == ["CANCELLED", "CANCELLED", "WAITING"]


def test_a_pipeline_that_is_unchanged_is_one_table(spec, capsys):
    OneTarget.target = PipelineTarget()
    path = spec.parent / "chain.yaml"
    path.write_text(CHAIN)
    assert tuner(["run", str(path)]) == 0
    capsys.readouterr()

    assert tuner(["run", str(path)]) == 0

    told = capsys.readouterr()
    phases_of = [line.split()[1] for line in told.out.splitlines()[3:]]
    assert told.err == ""
    assert told.out.startswith("\nchain: unchanged\n")
    assert phases_of == ["SELECTED", "NOT", "DONE", "DONE"]


def test_of_a_pipeline_with_a_change_only_the_changed_is_told(spec, capsys):
    OneTarget.target = PipelineTarget()
    path = spec.parent / "chain.yaml"
    path.write_text(CHAIN)
    assert tuner(["run", str(path)]) == 0
    [gone] = [name for name in OneTarget.target.held if "furthest" in name]
    del OneTarget.target.held[gone], OneTarget.target.shared[gone]
    capsys.readouterr()

    assert tuner(["run", str(path)]) == 0

    told = capsys.readouterr()
    assert {line.partition(":")[0] for line in told.err.splitlines()} == {"furthest"}
    assert told.out.startswith("\nchain: stages\n")
    assert "held-out" not in told.out


@pytest.fixture
def noted(spec):
    """A pipeline that tells a file of its ends."""
    OneTarget.target = PipelineTarget()
    told = spec.parent / "told.jsonl"
    spec.write_text(f"{spec.read_text()}notify: [{{command: 'cat >> {told}'}}]\n")
    path = spec.parent / "chain.yaml"
    path.write_text(CHAIN)
    assert tuner(["-q", "run", str(path)]) == 0
    return told


def told_in(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_of_a_matrix_the_end_of_the_best_is_told_and_of_how_many_it_is(noted):
    told = told_in(noted)

    assert [(each["job"], each["event"], each["best_of"]) for each in told] == [
        ("grid", "done", 2),
        ("further", "done", None),
        ("furthest", "done", None),
    ]
    assert told[0]["label"] == "learning_rate=0.001"


def test_what_a_pipeline_has_still_to_tell_is_told_by_any_run_after_it(noted, capsys):
    noted.unlink()
    with open_store() as ledger, ledger.transaction() as db:
        db.execute("UPDATE notice SET state = 'due'")
    capsys.readouterr()

    assert tuner(["status"]) == 0
    assert (
        "3 notifications are not delivered yet; `tuner resume` tries again"
        in capsys.readouterr().err
    )
    assert tuner(["resume"]) == 0

    assert [each["job"] for each in told_in(noted)] == ["grid", "further", "furthest"]
    assert tuner(["status"]) == 0
    assert "to be told" not in capsys.readouterr().err


def test_a_pipeline_cannot_be_left_to_itself(pipe, capsys):
    assert tuner(["submit", str(pipe)]) == 2

    assert "a pipeline cannot be detached" in capsys.readouterr().err
    assert OneTarget.target.creates == 0


def test_the_outcome_of_a_pipeline_is_one_document(pipe, capsys):
    assert tuner(["-q", "run", str(pipe), "-o", "json"]) == 1

    (told,) = json.loads(capsys.readouterr().out)
    assert told["pipeline"] == "pipe"
    assert [stage["phase"] for stage in told["stages"]] == ["DONE", "FAILED", "SKIPPED"]
    assert "the loss is not a number" in told["error"]


CHAIN = """\
pipeline: chain
jobs:
  - name: grid
    spec: capitals.yaml
    set: {permissions: [], transfer_ownership: null, evaluation.require: null}
    matrix: {hyperparameters.learning_rate: [1e-3, 2e-3]}
    keep: best
  - name: further
    after: grid
    spec: capitals.yaml
    set: {base_model: null, job: further, evaluation: null, permissions: [], transfer_ownership: null}
  - name: furthest
    after: further
    spec: capitals.yaml
    set: {base_model: null, job: furthest, evaluation: null, permissions: [], transfer_ownership: null}
"""


def test_the_plan_of_a_chain_that_is_done_has_nothing_to_do(spec, capsys):
    OneTarget.target = PipelineTarget()
    path = spec.parent / "chain.yaml"
    path.write_text(CHAIN)
    detailed = ["plan", "--detailed-exitcode", "-o", "json", str(path)]

    def actions():
        return [row["action"] for row in json.loads(capsys.readouterr().out)]

    assert tuner(detailed) == 6
    assert actions() == ["create", "create", "after", "after"]
    assert tuner(["run", "-o", "jsonl", str(path)]) == 0
    capsys.readouterr()

    assert tuner(detailed) == 0
    assert actions() == ["unchanged"] * 4

    [gone] = [name for name in OneTarget.target.held if "furthest" in name]
    del OneTarget.target.held[gone], OneTarget.target.shared[gone]
    assert tuner(detailed) == 6
    assert actions() == ["unchanged"] * 3 + ["create"]


def test_what_hangs_on_a_winner_that_misses_a_new_gate_comes_after_again(spec, capsys):
    OneTarget.target = PipelineTarget()
    path = spec.parent / "chain.yaml"
    path.write_text(CHAIN)
    assert tuner(["run", str(path)]) == 0
    path.write_text(CHAIN.replace("require: null", "require: {at_least: 1.0}"))
    capsys.readouterr()

    assert tuner(["plan", "-o", "json", str(path)]) == 0
    actions = [row["action"] for row in json.loads(capsys.readouterr().out)]
    assert actions == ["rejected", "unchanged", "after", "after"]
    assert tuner(["plan", "--detailed-exitcode", str(path)]) == 3
    assert tuner(["run", str(path)]) == 3
