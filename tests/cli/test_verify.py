"""What `tuner verify` finds when the model, the spec or the data are no longer as locked."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.fakes.one_target import OneTarget
from tuner.__main__ import run
from tuner.jobs import lockfile, verify
from tuner.types import Grant, Hyperparameters, Role, State

pytestmark = pytest.mark.slow  # whole runs, one a test


@pytest.fixture
def locked(spec, monkeypatch, capsys):
    """A job that is done, as `tuner run` leaves it, and its model's name."""
    monkeypatch.chdir(spec.parent)
    assert run(["-q", "run", str(spec)]) == 0
    capsys.readouterr()
    return spec, lockfile.entry(spec)["tuned_model"]


def different(capsys):
    (checked,) = json.loads(capsys.readouterr().out)
    return [row["what"] for row in checked["facts"] if row["same"] is False]


def test_a_job_that_is_as_it_was_locked_is_said_so(locked, capsys):
    spec, model = locked

    for what in (str(spec), "capitals", model, model.removeprefix("tunedModels/")):
        assert run(["verify", what]) == 0

        said = capsys.readouterr()
        assert said.err.endswith("no differences\n")
        assert said.out.splitlines()[0].split() == ["what", "lock", "now", "same"]


def grant(model):
    OneTarget.target.me = "lead@example.com"
    made = Grant(Role.READER, email_address="eve@example.com")
    asyncio.run(OneTarget.target.grant(model, made))


def of_model(**changes):
    def change(model):
        held = OneTarget.target.held
        held[model] = held[model]._replace(**changes)

    return change


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (grant, ["permissions"]),
        (of_model(state=State.FAILED), ["model"]),
        (of_model(base_model="models/other"), ["base model"]),
        (of_model(hyperparameters=Hyperparameters(epoch_count=9)), ["hyperparameters"]),
        (of_model(display_name="New"), ["display name"]),
        (of_model(create_time=99.0), ["create time"]),
        (of_model(snapshots=()), ["steps", "mean loss"]),
    ],
)
def test_what_changed_on_the_service_is_named(locked, capsys, change, facts):
    spec, model = locked
    change(model)

    assert run(["verify", str(spec), "--json"]) == 1

    assert different(capsys) == facts


def one_more_row(spec):
    with (spec.parent / "rows.csv").open("a") as file:
        file.write("\none,more")


def another_rate(spec):
    spec.write_text(f"{spec.read_text()}hyperparameters: {{learning_rate: 0.5}}\n")


def a_comment(spec):
    spec.write_text(f"{spec.read_text()}# said\n")


def no_data(spec):
    (spec.parent / "rows.csv").unlink()


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (one_more_row, ["rows.csv sha256", "content", "examples"]),
        (another_rate, ["spec sha256", "content"]),
        (a_comment, ["spec sha256"]),
        (no_data, ["rows.csv sha256", "content"]),
    ],
)
@pytest.mark.parametrize("offline", [[], ["--offline"]])
def test_what_changed_on_the_disk_is_named(locked, capsys, change, facts, offline):
    spec, _ = locked
    change(spec)

    assert run(["verify", str(spec), "--json", *offline]) == 1

    assert set(facts) <= set(different(capsys)) <= {*facts, "held-out rows"}


def test_the_name_of_a_data_file_is_shown_unchanged(tmp_path):
    locked = {"path": "my_rows.csv", "sha256": "0" * 64, "bytes": 3}

    assert verify._file_fact(locked, tmp_path / "my_rows.csv").what == "my_rows.csv sha256"


def test_how_much_a_file_has_grown_is_said(locked, capsys):
    spec, _ = locked
    one_more_row(spec)

    run(["verify", str(spec)])

    assert "(9 bytes more)" in capsys.readouterr().out


def test_a_model_that_is_gone_differs(locked, capsys):
    spec, model = locked
    entry = lockfile.entry(spec)
    lockfile.put(spec, "", entry | {"handed_to": ""})
    OneTarget.target.held.clear()

    assert run(["verify", model, "--json"]) == 1

    assert different(capsys) == ["model"]


def test_a_model_that_is_hidden_since_its_transfer_is_no_difference(locked, capsys):
    spec, model = locked
    OneTarget.target.me = "nobody@example.com"

    assert run(["verify", str(spec)]) == 0

    assert "hidden since its transfer to lead@example.com" in capsys.readouterr().out
    assert model


def test_offline_asks_nobody(locked):
    spec, _ = locked
    before = len(OneTarget.target.calls)

    assert run(["verify", str(spec), "--offline"]) == 0

    assert len(OneTarget.target.calls) == before


@pytest.mark.usefixtures("locked")
def test_what_is_not_locked_is_said_with_the_way_to_lock_it(capsys):
    assert run(["verify", "nobody"]) == 2
    assert capsys.readouterr().err == (
        "error: tuner.lock has no entry for 'nobody'\n  fix: `tuner run SPEC` writes tuner.lock beside the "
        "spec when a job ends; --lock FILE names another lock\n"
    )


@pytest.mark.usefixtures("locked")
def test_a_job_elsewhere_is_found_by_the_ledger(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert run(["verify", "capitals"]) == 0


def test_another_lock_can_be_named(locked, tmp_path):
    spec, _ = locked
    kept = tmp_path / "kept.lock"
    (spec.parent / lockfile.NAME).rename(kept)

    assert run(["verify", str(spec), "--lock", str(kept), "--offline"]) == 0


def test_all_variants_of_a_spec_are_verified(locked, capsys):
    spec, _ = locked
    entry = lockfile.entry(spec)
    lockfile.put(spec, "rate=1", entry | {"label": "rate=1"})
    lockfile.put(spec, "grid", {"winner": "a pipeline's own"})

    assert run(["verify", str(spec), "--json"]) == 0

    assert len(json.loads(capsys.readouterr().out)) == 2


def test_a_damaged_lock_is_one_line(locked, capsys):
    spec, _ = locked
    (spec.parent / lockfile.NAME).write_text("<<<")

    assert run(["verify", str(spec)]) == 2

    assert "tuner.lock:1: this is not JSON" in capsys.readouterr().err


def test_a_target_of_another_kind_in_the_spec_by_now_is_not_asked(locked, capsys):
    spec, _ = locked
    spec.write_text(f"{spec.read_text()}target: gemini\n")

    assert run(["verify", str(spec), "--json"]) == 1

    assert different(capsys) == ["spec sha256"]


PIPELINE = """\
pipeline: pipe
jobs:
  - name: grid
    spec: capitals.yaml
    set: {evaluation.require.better_than_base: false}
    matrix: {hyperparameters.epoch_count: [1, 2]}
    keep: best
    losers: delete
  - name: polish
    spec: polish.yaml
    after: grid
"""


@pytest.fixture
def piped(spec, monkeypatch, capsys):
    monkeypatch.chdir(spec.parent)
    path = spec.parent / "pipe.yaml"
    path.write_text(PIPELINE)
    data = "training_data: {path: rows.csv}"
    (spec.parent / "polish.yaml").write_text(f"job: polish\n{data}\n")
    assert run(["-q", "run", str(path)]) == 0
    capsys.readouterr()
    return path


def test_the_jobs_of_a_pipeline_are_verified_the_one_that_is_tuned_further_too(piped, capsys):
    assert run(["verify", str(piped), "--json"]) == 0

    checked = json.loads(capsys.readouterr().out)
    facts = {row["what"]: row for each in checked[2:] for row in each["facts"]}
    assert len(checked) == 3
    assert facts["content"]["same"]
    assert facts["tuned model source"]["same"]


def test_a_job_that_the_pipeline_no_longer_has_is_said_so(piped, capsys):
    piped.write_text(PIPELINE.replace("[1, 2]", "[1, 3]"))

    assert run(["verify", str(piped), "--offline"]) == 1

    said = " ".join(capsys.readouterr().out.split())
    assert "the pipeline no longer has a job grid[" in said


def test_what_was_hidden_when_it_was_locked_is_no_difference(locked, capsys):
    spec, _ = locked
    hidden = {"hyperparameters": None, "tuned": None, "permissions": None, "display_name": None}
    lockfile.put(spec, "", lockfile.entry(spec) | hidden)

    assert run(["verify", str(spec), "--json"]) == 0

    (checked,) = json.loads(capsys.readouterr().out)
    assert [row["same"] for row in checked["facts"] if row["what"] == "steps"] == [None]
