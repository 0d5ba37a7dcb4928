"""plan, and run of a folder, on a target in memory."""

from __future__ import annotations

import json

import pytest

from tests.fakes import one_target
from tests.fakes.one_target import SPEC, OneTarget, answers
from tests.fakes.target import FakeTarget
from tuner import targets
from tuner.__main__ import run as tuner
from tuner.errors import NotAllowed, Unavailable
from tuner.jobspec.prepared_job import new_tuned_model, prepare_job
from tuner.types import Feature

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(spec):
    """Three specs; the right answers to all of them."""
    for name in ("birds", "cities"):
        spec.with_name(f"{name}.yaml").write_text(SPEC.replace("capitals", name))
    learn(spec.parent)
    return spec.parent


def learn(folder):
    paths = list(folder.glob("*.yaml"))
    known = {new_tuned_model(prepare_job(path)).name: answers(path) for path in paths}
    OneTarget.target = FakeTarget(answers=known)


def planned(capsys, *arguments):
    """The exit code, and the items by job."""
    capsys.readouterr()
    code = tuner(["plan", *map(str, arguments), "--json"])
    return code, {item["job"]: item for item in json.loads(capsys.readouterr().out)}


def changes():
    target = OneTarget.target
    return target.creates, target.grants, target.transfers


def test_a_plan_is_a_table_with_a_line_that_says_what_to_type(folder, capsys):
    assert tuner(["run", str(folder / "birds.yaml")]) == 0
    capsys.readouterr()

    assert tuner(["plan", str(folder)]) == 0

    said = capsys.readouterr()
    header, birds, capitals, cities = said.out.splitlines()
    assert header.split("  ")[0] == "job"
    assert birds.split()[:2] == ["birds", "unchanged"]
    assert capitals.split()[:2] == ["capitals", "create"]
    assert "tune, evaluate, grant ana@example.com (reader), transfer to lead" in cities
    assert said.err == f"2 to create, 1 unchanged; `tuner run {folder}` applies this\n"


def test_programs_get_every_field_of_a_plan(folder, capsys):
    code, items = planned(capsys, folder / "birds.yaml")

    assert code == 0
    assert items["birds"] == {
        "job": "birds",
        "action": "create",
        "reasons": ["no such model yet"],
        "changes": [
            "tune",
            "evaluate",
            "grant ana@example.com (reader)",
            "transfer to lead@example.com",
        ],
        "fix": "",
        "examples": 28,
        "tokens": None,
        "steps": 35,
        "tuned_model": new_tuned_model(prepare_job(folder / "birds.yaml")).name,
        "target": "local",
        "spec": str(folder / "birds.yaml"),
    }


def test_detailed_exit_codes_tell_something_to_do_from_nothing(spec, capsys):
    assert tuner(["plan", str(spec), "--detailed-exitcode"]) == 6
    assert tuner(["run", str(spec)]) == 0
    assert tuner(["plan", str(spec), "--detailed-exitcode"]) == 0
    assert capsys.readouterr().err.endswith("1 unchanged\n")


def test_what_cannot_be_done_is_exit_code_2_with_a_way_out(spec, capsys):
    OneTarget.target.lacks = {Feature.TRANSFER: "a key is no person"}

    assert tuner(["plan", str(spec)]) == 2

    said = capsys.readouterr()
    assert (
        "transfer_ownership is not possible: a key is no person (remove it from the spec)"
        in said.out
    )
    assert said.err == "1 that cannot run; nothing is sent until that is fixed\n"


@pytest.mark.parametrize(
    ("error", "code"), [(NotAllowed("no key", "get one"), 4), (Unavailable("gone"), 5)]
)
def test_a_target_that_cannot_be_asked_is_named_once_and_decides_the_exit_code(
    folder, capsys, error, code
):
    OneTarget.bug = error
    try:
        assert tuner(["plan", str(folder)]) == code
    finally:
        OneTarget.bug = None

    said = capsys.readouterr()
    assert said.out.count("its target cannot be read") == 3
    assert said.err.count(f"error: {error.what}") == 1


def test_another_target_is_planned_for_with_its_limits(spec, capsys, monkeypatch):
    gemini = targets.TARGETS["gemini"]._replace(opener=f"{one_target.__name__}:open_fake")
    monkeypatch.setitem(targets.TARGETS, "gemini", gemini)
    code, items = planned(capsys, spec, "--target", "gemini")
    assert (code, items["capitals"]["target"], items["capitals"]["action"]) == (
        0,
        "gemini",
        "create",
    )

    rows = spec.with_name("rows.csv")
    rows.write_text(f"{rows.read_text()}\n{'x' * 40_001},y\n")

    assert tuner(["plan", str(spec)]) == 0
    assert tuner(["plan", str(spec), "--target", "gemini"]) == 2
    assert "rows.csv:42:1: text_input has 40,001 characters" in capsys.readouterr().err


def test_a_pipeline_is_planned_for_another_target_with_its_limits_too(spec, capsys, monkeypatch):
    gemini = targets.TARGETS["gemini"]._replace(opener=f"{one_target.__name__}:open_fake")
    monkeypatch.setitem(targets.TARGETS, "gemini", gemini)
    path = pipeline(spec)
    assert planned(capsys, path, "--target", "gemini")[1]["capitals"]["target"] == "gemini"

    rows = spec.with_name("rows.csv")
    rows.write_text(f"{rows.read_text()}\n{'x' * 40_001},y\n")

    assert tuner(["plan", str(path), "--target", "gemini"]) == 2
    assert "rows.csv:42:1: text_input has 40,001 characters, the target" in capsys.readouterr().err


# -- run ----------------------------------------------------------------------------------------


def test_a_run_of_a_folder_leaves_alone_what_is_unchanged(folder, capsys):
    assert tuner(["run", str(folder / "birds.yaml")]) == 0
    OneTarget.target.calls.clear()
    capsys.readouterr()

    assert tuner(["run", str(folder)]) == 0

    said = capsys.readouterr()
    assert changes() == (3, 3, 3)
    assert "birds: unchanged\n" in said.err
    assert "birds" not in said.out
    assert OneTarget.target.calls.count("create") == 2
    assert tuner(["run", str(folder)]) == 0
    assert changes() == (3, 3, 3)


def test_programs_get_the_unchanged_jobs_of_a_run_too(folder, capsys):
    assert tuner(["run", str(folder / "birds.yaml")]) == 0
    capsys.readouterr()

    assert tuner(["run", str(folder), "--json"]) == 0

    results = json.loads(capsys.readouterr().out)
    assert {each["job"]: each["phase"] for each in results} == dict.fromkeys(
        ("birds", "capitals", "cities"), "DONE"
    )


def test_a_run_of_a_folder_with_broken_specs_sends_nothing_and_names_all_that_is_wrong(
    folder, capsys
):
    (folder / "birds.yaml").write_text(SPEC.replace("models/tiny", "tiny"))
    (folder / "cities.yaml").write_text("job: [\n")

    assert tuner(["run", str(folder)]) == 2

    assert OneTarget.target.calls == []
    said = capsys.readouterr().err
    assert "birds.yaml:2:" in said
    assert "cities.yaml:2:1" in said


def test_a_run_of_a_folder_begins_nothing_when_one_of_it_cannot_be_done(folder, capsys):
    path = folder / "birds.yaml"
    path.write_text(path.read_text().replace("models/tiny", "models/fixed"))

    assert tuner(["run", str(folder)]) == 2

    assert changes() == (0, 0, 0)
    said = capsys.readouterr().err
    assert f"error: {path}: birds: fake (in memory) cannot tune models/fixed" in said
    assert "fix: set base_model to one it can tune: models/tiny" in said


def test_one_spec_alone_goes_its_way_without_a_plan(spec):
    assert tuner(["run", str(spec)]) == 0

    assert "tuned_models" not in OneTarget.target.calls


def test_a_job_with_another_owner_is_told_and_nothing_is_shared(folder, capsys):
    assert tuner(["run", str(folder)]) == 0
    path = folder / "birds.yaml"
    path.write_text(
        path.read_text()
        .replace("lead@example.com", "other@example.com")
        .replace("ana@example.com", "bo@example.com")
    )
    capsys.readouterr()

    assert tuner(["run", str(folder)]) == 4

    assert changes() == (3, 3, 3)
    said = capsys.readouterr().err
    assert "birds: owner is lead@example.com, the spec says other@example.com" in said
    assert "cities: unchanged" in said


def test_a_gate_that_was_missed_is_missed_again_without_asking_and_then_overruled(folder, capsys):
    OneTarget.target.answers = {}
    assert tuner(["run", str(folder)]) == 3
    asked = OneTarget.target.calls.count("generate")
    capsys.readouterr()

    assert tuner(["run", str(folder)]) == 3
    said = capsys.readouterr().err
    assert said.count("nothing was shared or transferred") == 3
    assert "unchanged" not in said
    assert tuner(["run", str(folder), "--force-share"]) == 0
    assert OneTarget.target.calls.count("generate") == asked
    assert changes() == (3, 3, 3)


def test_a_model_that_is_gone_is_begun_anew_though_the_ledger_says_it_is_tuning(folder, capsys):
    assert tuner(["submit", str(folder)]) == 0
    OneTarget.target.held.clear()
    OneTarget.target.shared.clear()
    capsys.readouterr()

    assert planned(capsys, folder)[1]["birds"]["reasons"] == ["is gone from the service"]
    assert tuner(["run", str(folder)]) == 0

    assert OneTarget.target.creates == 6


def test_a_new_one_of_each_is_tuned_where_that_is_asked_for(folder):
    assert tuner(["run", str(folder)]) == 0
    assert tuner(["submit", str(folder), "--new"]) == 0

    assert OneTarget.target.creates == 6


# -- pipelines ----------------------------------------------------------------------------------


def pipeline(spec):
    path = spec.with_name("pipeline.yaml")
    path.write_text("pipeline: two\njobs:\n  - capitals.yaml\n")
    return path


def test_a_folder_with_a_pipeline_is_validated_planned_and_run(folder, capsys):
    path = pipeline(folder / "capitals.yaml")
    (folder / "capitals.yaml").rename(folder / "capitals.spec")
    path.write_text("pipeline: two\njobs:\n  - capitals.spec\n")

    assert tuner(["validate", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["job"] for row in rows] == ["birds", "cities", "capitals"]
    _, items = planned(capsys, folder)
    assert {item["action"] for item in items.values()} == {"create"}

    assert tuner(["run", str(folder)]) == 0
    assert changes() == (3, 3, 3)
    assert tuner(["run", str(folder)]) == 0
    assert changes() == (3, 3, 3)


def test_a_pipeline_is_resumed_as_a_whole(folder, capsys):
    path = pipeline(folder / "capitals.yaml")
    OneTarget.target.faults = {n: Unavailable("gone") for n in range(12, 99)}
    assert tuner(["run", str(path)]) == 5
    OneTarget.target.faults = {}
    capsys.readouterr()

    assert tuner(["resume"]) == 0

    assert changes() == (1, 1, 1)
    assert "two: stages" in capsys.readouterr().out


def test_a_gate_that_is_raised_later_rejects_by_the_scores_kept_whoever_asks(folder, capsys):
    for known in OneTarget.target.answers.values():
        known.popitem()
    assert tuner(["run", str(folder)]) == 0
    asked, shared = OneTarget.target.calls.count("generate"), changes()
    path = folder / "birds.yaml"
    path.write_text(path.read_text().replace("better_than_base: true", "at_least: 1.0"))

    code, items = planned(capsys, folder, "--detailed-exitcode")
    assert (code, items["birds"]["action"]) == (3, "rejected")
    assert "at_least: 1 is required; what was granted before stays" in items["birds"]["reasons"][0]
    for again in (folder, path, folder):
        capsys.readouterr()
        assert tuner(["run", str(again)]) == 3
        assert "existing permissions are unchanged" in capsys.readouterr().err
        assert planned(capsys, folder, "--detailed-exitcode") == (code, items)

    path.write_text(path.read_text().replace("at_least: 1.0", "at_least: 0.5"))
    assert planned(capsys, folder, "--detailed-exitcode")[1]["birds"]["action"] == "resume"
    assert tuner(["run", str(folder)]) == 0
    assert planned(capsys, folder, "--detailed-exitcode")[0] == 0
    assert (OneTarget.target.calls.count("generate"), changes()) == (asked, shared)


@pytest.mark.parametrize("gives", [True, False])
def test_a_gate_that_is_lowered_later_shares_without_tuning_or_evaluating_again(
    folder, capsys, gives
):
    for known in OneTarget.target.answers.values():
        known.popitem()
    path = folder / "birds.yaml"
    text = path.read_text() if gives else path.read_text().partition("permissions")[0]
    path.write_text(text.replace("better_than_base: true", "at_least: 1.0"))
    assert tuner(["run", str(folder)]) == 3
    asked, before = OneTarget.target.calls.count("generate"), changes()

    path.write_text(text.replace("better_than_base: true", "at_least: 0.5"))

    code, items = planned(capsys, folder, "--detailed-exitcode")
    assert (code, items["birds"]["action"]) == (6, "resume")
    assert items["birds"]["reasons"] == ["was rejected, but passes the gate now"]
    assert len(items["birds"]["changes"]) == (2 if gives else 0)
    assert tuner(["run", str(folder)]) == 0
    assert (OneTarget.target.calls.count("generate"), before[0]) == (asked, changes()[0])
    assert changes()[1:] == ((3, 3) if gives else (2, 2))
    assert planned(capsys, folder, "--detailed-exitcode")[0] == 0
