"""run, submit, resume, status, watch and cancel, on a target in memory."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from tests.fakes.one_target import SPEC, OneTarget, answers
from tuner.__main__ import run as tuner
from tuner.cli import job_runs
from tuner.errors import Unavailable
from tuner.types import Role

pytestmark = pytest.mark.slow


def test_a_run_goes_all_the_way_and_a_second_one_has_nothing_to_do(spec, capsys):
    assert tuner(["run", str(spec)]) == 0
    first = capsys.readouterr()
    assert tuner(["run", str(spec)]) == 0
    second = capsys.readouterr()

    target = OneTarget.target
    assert (target.creates, target.grants, target.transfers) == (1, 1, 1)
    assert "OWNER" in first.out
    assert "lead@example.com" in first.out
    assert "tuned  1.000" in first.out
    assert "nothing to do" in second.err


def test_results_for_programs_are_one_json_document_on_stdout(spec, capsys):
    assert tuner(["run", str(spec), "--json"]) == 0

    [result] = json.loads(capsys.readouterr().out)
    assert result["phase"] == "DONE"
    assert result["evaluation"]["tuned"]["exact_match"] == 1.0
    assert {"role": "READER", "grantee_type": "USER", "email_address": "ana@example.com"} in result[
        "permissions"
    ]


def test_jsonl_is_a_line_an_event(spec, capsys):
    tuner(["run", str(spec), "-o", "jsonl"])

    kinds = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert kinds[:2] == ["Changing", "Submitted"]
    assert kinds[-1] == "Ended"
    assert "Transferred" in kinds


def test_quiet_says_only_results(spec, capsys):
    tuner(["-q", "run", str(spec)])

    assert "submitted" not in capsys.readouterr().err


def test_below_the_gate_nothing_is_shared_and_the_code_is_3(spec, capsys):
    OneTarget.target.answers.clear()

    assert tuner(["run", str(spec)]) == 3

    told = capsys.readouterr().err
    assert "nothing was shared or transferred" in told
    assert "`tuner run --force-share` overrules it" in told
    assert OneTarget.target.grants == 0


def test_a_failed_tuning_is_code_1_with_the_service_s_reason(spec, capsys):
    OneTarget.target.tuning_error = "the loss is not a number"

    assert tuner(["run", str(spec)]) == 1
    assert "the loss is not a number" in capsys.readouterr().err


def test_a_wrong_spec_is_code_2_and_nothing_is_sent(spec, capsys):
    spec.write_text(SPEC.replace("base_model", "base_modle"))

    assert tuner(["run", str(spec)]) == 2
    assert f"{spec}:2:1: " in capsys.readouterr().err
    assert OneTarget.target.calls == []


def test_a_target_that_stays_away_is_code_5_and_the_next_run_goes_on(spec):
    OneTarget.target.faults = {n: Unavailable("gone") for n in range(2, 8)}

    assert tuner(["run", str(spec)]) == 5
    OneTarget.target.faults.clear()
    assert tuner(["run", str(spec)]) == 0
    assert OneTarget.target.creates == 1


def test_what_no_wait_mends_is_told_at_once(spec, capsys):
    OneTarget.target.faults = {2: Unavailable("nobody vouches for it", "trust", is_passing=False)}

    assert tuner(["run", str(spec)]) == 5
    assert "again in" not in capsys.readouterr().err
    assert OneTarget.target.calls == ["tuned_model", "create"]


def test_what_to_type_next_names_the_same_service(spec, capsys):
    where = "target: {kind: local, endpoint: https://localhost:5, api_key_env: KEY}"
    spec.write_text(f"{SPEC}{where}\n")

    assert tuner(["run", str(spec)]) == 0
    hint = capsys.readouterr().err.splitlines()[-1]
    assert hint.endswith("--endpoint https://localhost:5 --api-key-env KEY")


def test_submit_leaves_and_resume_goes_on(spec, capsys):
    assert tuner(["submit", str(spec)]) == 0
    assert OneTarget.target.creates == 1
    assert "generate" not in OneTarget.target.calls
    assert "tuner resume capitals" in capsys.readouterr().err

    assert tuner(["resume"]) == 0
    assert OneTarget.target.transfers == 1


def test_resume_remembers_what_set_changed(spec):
    assert tuner(["submit", str(spec), "--set", "hyperparameters.epoch_count=2"]) == 0
    OneTarget.target.answers = {next(iter(OneTarget.target.held)): answers(spec)}

    assert tuner(["resume"]) == 0
    assert OneTarget.target.transfers == 1


def test_resume_refuses_other_data_than_were_submitted(spec, capsys):
    tuner(["submit", str(spec)])
    with (spec.parent / "rows.csv").open("a") as rows:
        rows.write("\nquestion 99,answer 99")

    assert tuner(["resume", "capitals"]) == 2
    assert "changed since capitals was submitted" in capsys.readouterr().err


def test_timeout_is_code_6_and_the_job_goes_on(spec, capsys):
    OneTarget.target.looks_until_done = 10**9

    assert tuner(["run", str(spec), "--timeout", "1s"]) == 6
    assert "tuner resume capitals" in capsys.readouterr().err


@pytest.mark.parametrize("time", ["soon", "0s", "-1s", "5"])
def test_a_timeout_that_is_no_time_is_refused(spec, capsys, time):
    assert tuner(["run", str(spec), "--timeout", time]) == 2
    assert "90s" in capsys.readouterr().err


def test_new_tunes_beside_the_first(spec):
    tuner(["run", str(spec)])
    OneTarget.target.answers = {}

    assert tuner(["run", "--new", str(spec)]) == 3
    assert OneTarget.target.creates == 2


def test_one_content_twice_on_the_command_line_is_refused(spec, capsys):
    other = spec.with_name("same.yaml")
    other.write_text(SPEC)

    assert tuner(["run", str(spec), str(other)]) == 2
    assert "the same tuned model" in capsys.readouterr().err
    assert OneTarget.target.creates == 0


def test_one_job_s_failure_stops_no_other(spec):
    other = spec.with_name("other.yaml")
    other.write_text(SPEC.replace("capitals", "others"))

    assert tuner(["run", str(spec), str(other)]) == 3  # the second one knows no answers
    assert OneTarget.target.creates == 2
    assert OneTarget.target.transfers == 1


def test_status_asks_no_service(spec, capsys):
    tuner(["run", str(spec)])
    OneTarget.target.calls.clear()
    capsys.readouterr()

    assert tuner(["status", "--json"]) == 0

    [row] = json.loads(capsys.readouterr().out)
    assert (row["job"], row["phase"], row["steps"]) == ("capitals", "DONE", "3/3")
    assert OneTarget.target.calls == []


@pytest.mark.usefixtures("spec")
def test_status_without_jobs_says_how_to_start_one(capsys):
    assert tuner(["status"]) == 0
    assert "tuner run SPEC" in capsys.readouterr().err


def test_status_of_what_is_not_there_is_one_error_and_code_2(spec, capsys):
    tuner(["run", str(spec)])
    capsys.readouterr()

    assert tuner(["status", "capitals", "nobody"]) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(
        "error: there is no job or pipeline 'nobody' in the local store\n  fix: "
    )


def test_watch_changes_nothing(spec):
    tuner(["submit", str(spec)])
    before = OneTarget.target.calls.count("create")

    assert tuner(["watch", "capitals"]) == 0

    assert OneTarget.target.calls.count("create") == before
    assert OneTarget.target.grants == 0


def test_cancel_ends_the_tuning_and_says_so(spec):
    OneTarget.target.looks_until_done = 10**9
    tuner(["submit", str(spec)])

    assert tuner(["cancel", "capitals"]) == 0
    assert tuner(["run", str(spec)]) == 7


def test_a_tuned_job_cannot_be_cancelled(spec, capsys):
    tuner(["run", str(spec)])

    assert tuner(["cancel", "capitals"]) == 2
    assert "nothing to cancel" in capsys.readouterr().err
    assert Role.OWNER in {p.grant.role for p in OneTarget.target.shared.popitem()[1].values()}


@pytest.mark.usefixtures("spec")
@pytest.mark.parametrize("command", ["watch", "resume", "cancel"])
def test_a_job_that_is_not_in_the_ledger_is_named(capsys, command):
    assert tuner([command, "nope"]) == 2
    assert "'nope'" in capsys.readouterr().err


def test_a_misspelt_command_names_the_nearest(capsys):
    assert tuner(["vaildate"]) == 2
    assert "tuner validate" in capsys.readouterr().err


def test_a_bug_is_one_line_and_a_file(spec, capsys, monkeypatch):
    monkeypatch.setattr(OneTarget, "bug", ZeroDivisionError("whoops"))

    assert tuner(["run", str(spec)]) == 1

    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert "whoops" in shown
    assert "Traceback" in (spec.parent / "home" / "bug.txt").read_text()


def test_a_ctrl_c_that_gets_lost_is_said_again(monkeypatch):
    monkeypatch.setattr(job_runs, "CANCEL_RETRY_S", 0.0)
    lost = []

    async def work():
        signal.raise_signal(signal.SIGINT)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            lost.append(True)
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(job_runs._until_interrupted(work()))
    assert lost == [True]
