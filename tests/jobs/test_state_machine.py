"""A job moves through its phases, and doing a step twice equals doing it once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.fakes.target import ME, FakeTarget
from tests.fakes.work import GRANTS, WORK, job_of, right_answers, with_spec
from tuner.errors import NotAllowed, RequestRefused
from tuner.events.events import EventKind
from tuner.jobs.state_machine import advance, poll
from tuner.jobspec.schema import EarlyStopping
from tuner.types import Grant, GranteeType, Hyperparameters, Phase, Role, State

JOB = job_of(WORK)


def knowing(**changes):
    return FakeTarget(answers=right_answers(JOB.tuned_model), **changes)


def drive(target, job=JOB, work=WORK, told=None):
    """To the end, as the runner would."""

    async def steps(job):
        for _ in range(50):
            if job.phase.is_end:
                return job
            job = await advance(job, work, target, (told if told is not None else []).append)
        raise AssertionError("it goes round in circles")

    return asyncio.run(steps(job))


def roles(target, model=JOB.tuned_model):
    return {
        p.grant.email_address or "everyone": p.grant.role for p in target.shared[model].values()
    }


def test_a_job_is_tuned_evaluated_shared_and_handed_over():
    target = knowing()

    job = drive(target)

    assert job.phase is Phase.DONE
    assert job.evaluation.tuned["exact_match"] == 1.0
    assert job.evaluation.base["exact_match"] == 0.0
    assert roles(target) == {
        "lead@example.com": Role.OWNER,
        ME: Role.WRITER,
        "ml@example.com": Role.WRITER,
        "everyone": Role.READER,
    }


def test_the_phases_come_in_order_and_transfer_is_last():
    target = knowing()

    drive(target)

    changes = [call for call in target.calls if call in ("create", "grant", "transfer")]
    assert changes == ["create", "grant", "grant", "transfer"]


@pytest.mark.parametrize("by_us", [True, False])
def test_a_model_that_was_deleted_and_tuned_again_is_evaluated_again(by_us):
    work = with_spec(transfer_ownership="")
    target = knowing()
    done = replace(drive(target, work=work), phase=Phase.SUBMIT)
    asyncio.run(target.delete(JOB.tuned_model))
    if not by_us:  # or the reply to our own call was lost
        asyncio.run(target.create(target.requests[JOB.tuned_model]))
    target.answers.clear()

    again = drive(target, done, work)

    assert again.phase is Phase.REJECTED
    assert again.evaluation.tuned["exact_match"] == 0.0


def test_a_second_run_changes_nothing():
    target = knowing()
    done = drive(target)
    told = []

    again = drive(target, replace(done, phase=Phase.SUBMIT), told=told)

    assert again.phase is Phase.DONE
    assert (target.creates, target.grants, target.transfers) == (1, 2, 1)
    assert not any(event.is_change for event in told)


def test_without_the_ledger_nothing_is_tuned_twice():
    target = knowing()
    drive(target)

    again = drive(target)

    assert again.phase is Phase.DONE
    assert (target.creates, target.grants, target.transfers) == (1, 2, 1)


@pytest.mark.parametrize("gone", [False, True], ids=["operation known", "operation forgotten"])
def test_a_model_that_is_still_tuning_is_adopted_and_waited_for(gone):
    target = knowing(looks_until_done=5)
    asyncio.run(advance(JOB, WORK, target, lambda _: None))
    target.operations_are_gone = gone

    job = drive(target)

    assert job.phase is Phase.DONE
    assert target.creates == 1


def test_a_job_below_its_gate_shares_nothing():
    target = FakeTarget()

    job = drive(target)

    assert job.phase is Phase.REJECTED
    assert "exact_match is 0.000, at_least: 0.5 is required" in job.error
    assert "not better than the base model" in job.error
    assert roles(target) == {ME: Role.OWNER}


def test_without_an_evaluation_nothing_is_asked_of_the_models():
    target = FakeTarget()
    work = with_spec(evaluation=None)

    assert drive(target, job_of(work), work).phase is Phase.DONE
    assert "generate" not in target.calls


def test_a_failed_tuning_ends_the_job_with_the_service_s_reason():
    target = FakeTarget(tuning_error="the loss is not a number")

    job = drive(target)

    assert job.phase is Phase.FAILED
    assert job.error == "the loss is not a number"
    assert target.grants == 0


def test_a_cancelled_tuning_ends_the_job_as_cancelled():
    target = knowing()
    job = asyncio.run(advance(JOB, WORK, target, lambda _: None))
    asyncio.run(target.cancel(job.operation))

    assert drive(target, job).phase is Phase.CANCELLED


def test_a_failed_model_whose_operation_is_forgotten_is_a_failed_job():
    target = FakeTarget(tuning_error="no")
    drive(target)
    target.operations_are_gone = True

    assert drive(target).phase is Phase.FAILED


@pytest.mark.parametrize(
    ("held", "becomes"),
    [
        (Grant(Role.READER, GranteeType.USER, "ML@example.com"), Role.WRITER),
        (Grant(Role.WRITER, GranteeType.USER, "ml@example.com"), Role.WRITER),
    ],
    ids=["another role is changed", "the same role is left"],
)
def test_a_grant_that_is_there_is_compared(held, becomes):
    target = knowing()
    job = asyncio.run(advance(JOB, WORK, target, lambda _: None))
    asyncio.run(target.grant(JOB.tuned_model, held))

    drive(target, job)

    assert roles(target)[held.email_address] is becomes
    assert target.role_changes == (held.role is not becomes)


def test_strangers_are_reported_and_left_alone():
    target = knowing()
    job = asyncio.run(advance(JOB, WORK, target, lambda _: None))
    asyncio.run(target.grant(JOB.tuned_model, Grant(Role.READER, email_address="bob@example.com")))
    told = []

    drive(target, job, told=told)

    assert [str(e["grant"]) for e in told if e.kind is EventKind.UNEXPECTED_PERMISSION] == [
        "bob@example.com (reader)"
    ]
    assert roles(target)["bob@example.com"] is Role.READER


def test_a_grant_to_the_new_owner_is_met_by_the_ownership():
    work = with_spec(grants=(*GRANTS, Grant(Role.READER, email_address="Lead@example.com")))
    target = knowing()
    drive(target, work=work)

    assert drive(target, work=work).phase is Phase.DONE
    assert roles(target)["lead@example.com"] is Role.OWNER


def test_a_model_of_the_same_id_with_other_hyperparameters_is_refused():
    work = with_spec(hyperparameters=Hyperparameters(epoch_count=3), tuned_model_id="mine")
    other = with_spec(hyperparameters=Hyperparameters(epoch_count=4), tuned_model_id="mine")
    target = knowing()
    drive(
        target,
        job_of(work),
        with_spec(
            evaluation=None, hyperparameters=Hyperparameters(epoch_count=3), tuned_model_id="mine"
        ),
    )

    with pytest.raises(RequestRefused, match="epoch_count is 3, the spec says 4"):
        drive(target, job_of(other), other)


def test_somebody_else_s_model_of_the_same_id_is_not_touched():
    target = knowing(me="other@example.com")
    asyncio.run(advance(JOB, WORK, target, lambda _: None))
    target.me = ME

    with pytest.raises(RequestRefused, match="exists"):
        drive(target)

    assert target.grants == 0


def test_a_model_handed_over_and_hidden_is_not_tuned_again():
    target = knowing()
    done = drive(target)
    model = done.tuned_model
    target.shared[model] = {
        name: p for name, p in target.shared[model].items() if p.grant.role is Role.OWNER
    }

    with pytest.raises(NotAllowed, match=r"transferred to lead@example\.com"):
        drive(target, replace(done, phase=Phase.SUBMIT))

    assert target.creates == 1


def test_an_evaluation_of_other_rows_is_not_taken_for_this_one():
    target = knowing()
    done = drive(target)
    fewer = replace(WORK, holdout=WORK.holdout[:1])
    target.calls.clear()

    drive(target, replace(done, phase=Phase.EVALUATE), fewer)

    assert target.calls.count("generate") == 2


def told_of(target, job=JOB, work=WORK):
    told = []
    return drive(target, job, work, told), told


def test_every_change_is_told_before_it_is_made_with_why_it_may():
    target, made = knowing(), []

    class Telling(list):
        def append(self, event):
            if event.kind is EventKind.CHANGING:
                made.append((event["action"], event["why"], target.calls.count(event["action"])))

    drive(target, told=Telling())

    why = "exact_match is 1.000, at_least: 0.5, better than the base model's 0.000"
    assert made == [
        ("create", "", 0),
        ("grant", why, 0),
        ("grant", why, 1),
        ("transfer", why, 0),
    ]


def test_a_job_below_its_gate_is_shared_when_that_is_forced_and_says_so():
    target = FakeTarget()

    job, told = told_of(target, replace(JOB, force=True))

    assert job.phase is Phase.DONE
    assert job.allowed.startswith("forced by --force-share by ")
    assert [
        event.kind for event in told if event.kind in (EventKind.FORCED, EventKind.ALLOWED)
    ] == [EventKind.FORCED]
    changing = [event for event in told if event.kind is EventKind.CHANGING]
    assert {event["why"] for event in changing[1:]} == {job.allowed}


@pytest.mark.parametrize("phase", [Phase.SHARE, Phase.TRANSFER])
def test_a_job_of_which_nobody_wrote_why_it_may_be_shared_passes_its_gate_first(phase):
    target = FakeTarget()
    tuned = drive(target)
    assert tuned.phase is Phase.REJECTED

    job = drive(target, replace(tuned, phase=phase, allowed="", error=""))

    assert job.phase is Phase.REJECTED
    assert (target.grants, target.transfers) == (0, 0)


def retried(job):
    return replace(job, phase=Phase.SUBMIT, retry=True, attempt=2, error="")


def failed_once():
    target = knowing(tuning_error="out of memory")
    job = drive(target)
    target.tuning_error = ""
    return target, job


def test_a_failed_model_is_deleted_and_tuned_again_when_that_is_asked():
    target, failed = failed_once()

    job, told = told_of(target, retried(failed))

    assert (job.phase, job.retry) == (Phase.DONE, False)
    assert (target.creates, target.calls.count("delete")) == (2, 1)
    actions = [event["action"] for event in told if event.kind is EventKind.CHANGING]
    assert actions[:2] == ["delete", "create"]


def test_a_failed_model_stays_failed_unless_a_retry_is_asked():
    target, failed = failed_once()

    job = drive(target, replace(failed, phase=Phase.SUBMIT, error=""))

    assert job.phase is Phase.FAILED
    assert (target.creates, target.calls.count("delete")) == (1, 0)


def test_a_retry_that_was_killed_after_its_create_is_gone_on_with():
    target, failed = failed_once()
    asyncio.run(advance(retried(failed), WORK, target, lambda _: None))

    job = drive(target, retried(failed))  # the ledger never heard of it

    assert (job.phase, job.retry) == (Phase.DONE, False)
    assert target.creates == 2


def test_a_retry_of_a_model_that_is_well_deletes_nothing():
    target = knowing()
    done = drive(target)

    drive(target, retried(done))

    assert (target.creates, target.calls.count("delete")) == (1, 0)


def standing_still():
    """A tuning whose loss rises, under a spec that gives up on it."""
    work = with_spec(early_stopping=EarlyStopping(patience_steps=2, window_steps=1))
    target = knowing(looks_until_done=50)
    progress = target._progress

    def rising(operation):
        progress(operation)
        moved = target.running[operation.name]
        rising = tuple(s._replace(mean_loss=float(s.step)) for s in moved.snapshots)
        target.running[operation.name] = moved._replace(snapshots=rising)

    target._progress = rising
    return target, work


def test_a_loss_that_stands_still_gives_the_tuning_up_once_that_is_written_down():
    target, work = standing_still()
    told, job = [], JOB
    while not job.stopping:
        job = asyncio.run(advance(job, work, target, told.append))
    assert "cancel" not in target.calls

    job = drive(target, job, work, told)

    assert job.phase is Phase.CANCELLED
    assert job.error.startswith("stopped early: the loss has not fallen below 1")
    assert target.calls.count("cancel") == 1
    assert [event["action"] for event in told if event.kind is EventKind.CHANGING] == [
        "create",
        "cancel",
    ]
    assert (target.grants, target.transfers) == (0, 0)


def test_a_cancel_is_acknowledged_also_by_a_run_after_a_crash_in_the_middle_of_it():
    target, work = standing_still()
    told, job = [], JOB
    while not job.stopping:
        job = asyncio.run(advance(job, work, target, lambda _: None))

    drive(target, job, work, told)
    drive(target, job, work, after := [])  # as the ledger has it when we were killed

    kinds = (EventKind.CHANGING, EventKind.CANCELLING, EventKind.ALREADY_CANCELLED)
    assert [event.kind for event in told if event.kind in kinds] == list(kinds)
    assert [event.kind for event in after if event.kind in kinds] == [kinds[-1]]


def test_a_spec_that_no_longer_gives_up_cancels_nothing():
    target, work = standing_still()
    job = JOB
    while not job.stopping:
        job = asyncio.run(advance(job, work, target, lambda _: None))

    for _ in range(3):
        job = asyncio.run(advance(job, with_spec(early_stopping=None), target, lambda _: None))

    assert (job.phase, job.stopping) == (Phase.TUNE, "")
    assert "cancel" not in target.calls


def test_a_tuning_that_ends_well_before_it_can_be_given_up_counts():
    target, work = standing_still()
    job = JOB
    while not job.stopping:
        job = asyncio.run(advance(job, work, target, lambda _: None))
    done = target.running[job.operation]._replace(done=True)
    target.running[job.operation] = done
    target.held[JOB.tuned_model] = target.held[JOB.tuned_model]._replace(state=State.ACTIVE)

    job = drive(target, job, work)

    assert (job.phase, job.stopping) == (Phase.DONE, "")
    assert "cancel" not in target.calls


def test_one_who_only_watches_gives_nothing_up():
    target, work = standing_still()
    job = asyncio.run(advance(JOB, work, target, lambda _: None))
    for _ in range(20):
        job = asyncio.run(poll(job, target, lambda _: None))

    assert "cancel" not in target.calls
    assert job.stopping == ""


def test_a_second_run_lists_the_permissions_once_for_the_grants():
    target = knowing()
    done = drive(target)
    target.calls.clear()

    drive(target, replace(done, phase=Phase.SHARE), WORK)

    assert target.calls == ["permissions", "permissions"]  # the grants, then the owner
