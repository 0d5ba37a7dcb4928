"""`tuner verify` after the model, the spec or the data have changed."""

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


def differences(capsys):
    (checked,) = json.loads(capsys.readouterr().out)
    return [row["what"] for row in checked["facts"] if row["same"] is False]


def test_an_unchanged_job_has_no_differences(locked, capsys):
    spec, model = locked

    for what in (str(spec), "capitals", model, model.removeprefix("tunedModels/")):
        assert run(["verify", what]) == 0

        shown = capsys.readouterr()
        assert shown.err.endswith("no differences\n")
        assert shown.out.splitlines()[0].split() == ["what", "lock", "now", "same"]


def add_grant(model):
    OneTarget.target.me = "lead@example.com"
    made = Grant(Role.READER, email_address="eve@example.com")
    asyncio.run(OneTarget.target.grant(model, made))


def change_model(**changes):
    def change(model):
        held = OneTarget.target.held
        held[model] = held[model]._replace(**changes)

    return change


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (add_grant, ["permissions"]),
        (change_model(state=State.FAILED), ["model"]),
        (change_model(base_model="models/other"), ["base model"]),
        (change_model(hyperparameters=Hyperparameters(epoch_count=9)), ["hyperparameters"]),
        (change_model(display_name="New"), ["display name"]),
        (change_model(create_time=99.0), ["create time"]),
        (change_model(snapshots=()), ["steps", "mean loss"]),
    ],
)
def test_a_change_on_the_service_is_named(locked, capsys, change, facts):
    spec, model = locked
    change(model)

    assert run(["verify", str(spec), "--json"]) == 1

    assert differences(capsys) == facts


def add_row(spec):
    with (spec.parent / "rows.csv").open("a") as file:
        file.write("\none,more")


def change_rate(spec):
    spec.write_text(f"{spec.read_text()}hyperparameters: {{learning_rate: 0.5}}\n")


def add_comment(spec):
    spec.write_text(f"{spec.read_text()}# shown\n")


def remove_data(spec):
    (spec.parent / "rows.csv").unlink()


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (add_row, ["rows.csv sha256", "content", "examples"]),
        (change_rate, ["spec sha256", "content"]),
        (add_comment, ["spec sha256"]),
        (remove_data, ["rows.csv sha256", "content"]),
    ],
)
@pytest.mark.parametrize("offline", [[], ["--offline"]])
def test_a_change_on_disk_is_named_without_a_service_too(locked, capsys, change, facts, offline):
    spec, _ = locked
    change(spec)

    assert run(["verify", str(spec), "--json", *offline]) == 1

    assert set(facts) <= set(differences(capsys)) <= {*facts, "held-out rows"}


def test_the_name_of_a_data_file_is_shown_unchanged(tmp_path):
    locked = {"path": "my_rows.csv", "sha256": "0" * 64, "bytes": 3}

    assert verify._file_fact(locked, tmp_path / "my_rows.csv").what == "my_rows.csv sha256"


def test_the_change_of_a_file_size_is_shown(locked, capsys):
    spec, _ = locked
    add_row(spec)
    before = len(OneTarget.target.calls)

    run(["verify", str(spec), "--offline"])

    assert len(OneTarget.target.calls) == before

    assert "(9 bytes more)" in capsys.readouterr().out


def test_a_deleted_model_is_a_difference(locked, capsys):
    spec, model = locked
    entry = lockfile.entry(spec)
    lockfile.put(spec, "", entry | {"handed_to": ""})
    OneTarget.target.held.clear()

    assert run(["verify", model, "--json"]) == 1

    assert differences(capsys) == ["model"]


def test_a_model_hidden_since_its_transfer_is_no_difference(locked, capsys):
    spec, model = locked
    OneTarget.target.me = "nobody@example.com"

    assert run(["verify", str(spec)]) == 0

    assert "hidden since its transfer to lead@example.com" in capsys.readouterr().out
    assert model


@pytest.mark.usefixtures("locked")
def test_a_missing_entry_is_reported_with_a_fix(capsys):
    assert run(["verify", "nobody"]) == 2
    assert capsys.readouterr().err == (
        "error: tuner.lock has no entry for 'nobody'\n  fix: `tuner run SPEC` writes tuner.lock beside the "
        "spec when a job ends; --lock FILE names another lock\n"
    )


@pytest.mark.usefixtures("locked")
def test_a_job_in_another_folder_is_found_through_the_store(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert run(["verify", "capitals"]) == 0


def test_another_lock_file_can_be_named(locked, tmp_path):
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


def test_the_locked_target_is_used_if_the_spec_names_another(locked, capsys):
    spec, _ = locked
    spec.write_text(f"{spec.read_text()}target: gemini\n")

    assert run(["verify", str(spec), "--json"]) == 1

    assert differences(capsys) == ["spec sha256"]


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
def pipeline_file(spec, monkeypatch, capsys):
    monkeypatch.chdir(spec.parent)
    path = spec.parent / "pipe.yaml"
    path.write_text(PIPELINE)
    data = "training_data: {path: rows.csv}"
    (spec.parent / "polish.yaml").write_text(f"job: polish\n{data}\n")
    assert run(["-q", "run", str(path)]) == 0
    capsys.readouterr()
    return path


def test_all_jobs_of_a_pipeline_are_verified(pipeline_file, capsys):
    assert run(["verify", str(pipeline_file), "--json"]) == 0

    checked = json.loads(capsys.readouterr().out)
    facts = {row["what"]: row for each in checked[2:] for row in each["facts"]}
    assert len(checked) == 3
    assert facts["content"]["same"]
    assert facts["tuned model source"]["same"]


def test_a_job_removed_from_its_pipeline_is_reported(pipeline_file, capsys):
    pipeline_file.write_text(PIPELINE.replace("[1, 2]", "[1, 3]"))

    assert run(["verify", str(pipeline_file), "--offline"]) == 1

    shown = " ".join(capsys.readouterr().out.split())
    assert "the pipeline no longer has a job grid[" in shown


def test_facts_that_were_hidden_when_locked_are_no_difference(locked, capsys):
    spec, _ = locked
    hidden = {"hyperparameters": None, "tuned": None, "permissions": None, "display_name": None}
    lockfile.put(spec, "", lockfile.entry(spec) | hidden)

    assert run(["verify", str(spec), "--json"]) == 0

    (checked,) = json.loads(capsys.readouterr().out)
    assert [row["same"] for row in checked["facts"] if row["what"] == "steps"] == [None]
