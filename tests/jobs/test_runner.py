"""A run drives many jobs; of two runs that want the same job, one works on it."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from dataclasses import replace

import pytest

from tests.fakes.clock import now, run_timeless
from tests.fakes.one_target import OneTarget
from tests.fakes.target import FakeTarget
from tests.fakes.work import WORK, job_of, right_answers, with_spec
from tuner import targets
from tuner.errors import NotFinished, TunerError, Unavailable
from tuner.events.events import EventKind
from tuner.jobs.lock import JobLocks
from tuner.jobs.runner import Runner, Timing, find_or_create_job
from tuner.jobs.store import Store
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.jobspec.schema import GateSpec, Notify
from tuner.types import Grant, Phase, Role, TargetConfig

pytestmark = pytest.mark.slow

JOB = replace(job_of(WORK), spec="")
WHOSE = (JOB.where, JOB.tuned_model)
CHANGES = ("create", "update", "delete", "cancel", "grant", "change_role", "revoke", "transfer")


@pytest.fixture(autouse=True)
def in_memory(monkeypatch):
    local = targets.TARGETS["local"]._replace(opener="tests.fakes.one_target:open_fake")
    monkeypatch.setitem(targets.TARGETS, "local", local)


def fresh(kind=FakeTarget, **changes):
    OneTarget.target = kind(answers=right_answers(JOB.tuned_model), **changes)
    return OneTarget.target


def many(count):
    """So many jobs on one target that knows all their answers."""
    jobs = [replace(JOB, tuned_model=f"tunedModels/m{number}") for number in range(count)]
    target = fresh()
    for job in jobs:
        target.answers.update(right_answers(job.tuned_model))
    return jobs, target


def within(path, work, told=None, around=lambda _: None, wall=float, **given):
    """What ``work`` makes of a session, in a time that passes by itself."""
    tell = (told if told is not None else []).append

    async def run():
        deadline = given.pop("deadline", None)
        with Store(path / "l.db", wall, around) as ledger:
            async with Runner(ledger, tell, Timing(now=now, deadline=deadline), **given) as session:
                return await work(session)

    return run_timeless(run())


def follow(path, job=JOB, work=WORK, until=None, **given):
    return within(path, lambda session: session.follow(job, work, until=until), **given)


def begin_again(path, work):
    with Store(path / "l.db", float) as ledger:
        return find_or_create_job(work, ledger)


def locked_by_another_run(path):
    """The job's lock, held by another run."""
    other = JobLocks(path)
    assert other.acquire(*WHOSE)
    return other


def assert_once(target):
    assert (target.creates, target.grants, target.transfers) == (1, 2, 1)
    held = target.shared[JOB.tuned_model].values()
    assert Counter(p.grant.grantee for p in held).most_common(1)[0][1] == 1
    assert [p.grant.email_address for p in held if p.grant.role is Role.OWNER] == [
        "lead@example.com"
    ]


def kinds(told):
    return [event.kind for event in told]


def test_a_job_is_followed_to_its_end(tmp_path):
    target = fresh()

    outcome = follow(tmp_path)

    assert outcome.job.phase is Phase.DONE
    assert outcome.failure is None
    assert "lead@example.com" in {p.grant.email_address for p in outcome.permissions}
    assert_once(target)


def test_a_run_frees_its_locks_at_its_end(tmp_path):
    fresh()
    follow(tmp_path)

    assert JobLocks(tmp_path).acquire(*WHOSE)


def test_until_a_phase_means_not_a_step_beyond_it(tmp_path):
    target = fresh()

    assert follow(tmp_path, until=Phase.SHARE).job.phase is Phase.SHARE
    job = replace(JOB, phase=Phase.TRANSFER, allowed="yes")
    assert follow(tmp_path, job=job, until=Phase.SHARE).job.phase is Phase.TRANSFER

    assert (target.grants, target.transfers) == (0, 0)


def test_one_job_asked_for_twice_is_followed_once(tmp_path):
    target = fresh()

    async def twice(session):
        return await asyncio.gather(
            session.follow(JOB, WORK, until=Phase.EVALUATE), session.follow(JOB, WORK)
        )

    first, second = within(tmp_path, twice)

    assert (first.job.phase, second.job.phase) == (Phase.EVALUATE, Phase.DONE)
    assert_once(target)


def test_two_specs_of_one_content_each_get_what_they_ask_for(tmp_path):
    target = FakeTarget(answers={JOB.tuned_model: {"question 10": "answer 10"}})  # half of them
    OneTarget.target = target
    strict = with_spec(evaluation=replace(WORK.spec.evaluation, require=GateSpec(at_least=0.9)))
    more = with_spec(grants=(Grant(Role.READER, email_address="ana@example.com"),))
    works = [with_spec(transfer_ownership=""), strict, more]
    jobs = [replace(JOB, spec=name) for name in ("/a.yaml", "/b.yaml", "/c.yaml")]

    async def all_at_once(session):
        pairs = zip(jobs, works, strict=True)
        return await asyncio.gather(*(session.follow(job, work) for job, work in pairs))

    outcomes = within(tmp_path, all_at_once)

    assert [each.job.phase for each in outcomes] == [Phase.DONE, Phase.REJECTED, Phase.DONE]
    assert (target.creates, target.grants, target.transfers) == (1, 3, 1)


def test_a_run_that_watched_another_specs_job_applies_its_own_gate(tmp_path):
    fresh()
    strict = with_spec(evaluation=replace(WORK.spec.evaluation, require=GateSpec(at_least=0.9)))
    OneTarget.target.answers = {JOB.tuned_model: {"question 10": "answer 10"}}

    async def other_ends_it(runner):
        locks = locked_by_another_run(tmp_path)
        theirs = replace(JOB, spec="/theirs.yaml")
        mine = asyncio.create_task(runner.follow(replace(JOB, spec="/mine.yaml"), strict))
        await asyncio.sleep(3)
        tuned = await OneTarget.target.create(new_tuned_model(WORK))
        OneTarget.target.grants = 0
        runner.store.save(replace(theirs, phase=Phase.DONE, operation=tuned.name))
        await asyncio.sleep(30)
        assert not mine.done()  # it waits for the lock before it does anything
        locks.close()
        return await mine

    assert within(tmp_path, other_ends_it).job.phase is Phase.REJECTED
    assert OneTarget.target.grants == 0


def test_the_lock_of_an_ended_job_is_free_while_the_run_continues(tmp_path):
    fresh()

    async def beside(runner):
        await runner.follow(JOB, WORK)
        return JobLocks(tmp_path).acquire(*WHOSE)

    assert within(tmp_path, beside)


def test_a_grant_added_while_another_run_has_the_lock_is_made_afterwards(tmp_path):
    target = fresh()
    follow(tmp_path, work=with_spec(grants=(), transfer_ownership=""))
    locks = locked_by_another_run(tmp_path)

    async def beside(runner):
        job = find_or_create_job(WORK, runner.store)
        following = asyncio.create_task(runner.follow(replace(job, spec=""), WORK))
        await asyncio.sleep(10)
        locks.close()
        return await following

    assert within(tmp_path, beside).job.phase is Phase.DONE
    assert target.grants == 2


def test_a_job_is_taken_over_within_seconds_after_its_lock_is_free(tmp_path):
    target, told = fresh(), []
    locks = locked_by_another_run(tmp_path)
    with Store(tmp_path / "l.db", float) as store:
        store.begin(JOB)

    async def timed(runner):
        following = asyncio.create_task(runner.follow(JOB, WORK))
        await asyncio.sleep(30)
        assert not set(target.calls) & set(CHANGES)
        locks.close()
        freed_at = now()
        return await following, now() - freed_at

    outcome, seconds = within(tmp_path, timed, told)

    assert outcome.job.phase is Phase.DONE
    assert kinds(told)[:2] == [EventKind.WATCHING, EventKind.TAKEN_OVER]
    assert f"process {os.getpid()} on" in str(told[0])
    assert seconds < 5
    assert_once(target)


def test_a_job_whose_lock_is_held_is_watched_to_its_end(tmp_path):
    target, told = fresh(), []
    locks = locked_by_another_run(tmp_path)

    async def beside(runner):
        watching = asyncio.create_task(runner.follow(JOB, WORK))
        await asyncio.sleep(60)
        runner.store.save(replace(JOB, phase=Phase.REJECTED, error="not good"))
        return await watching

    outcome = within(tmp_path, beside, told)
    locks.close()

    assert outcome.job.phase is Phase.REJECTED
    assert kinds(told) == [EventKind.WATCHING, EventKind.ENDED]
    assert not set(target.calls) & set(CHANGES)


def test_the_progress_of_a_watched_tuning_is_shown(tmp_path):
    target, told = fresh(looks_until_done=1000), []
    locks = locked_by_another_run(tmp_path)

    async def beside(runner):
        operation = await target.create(new_tuned_model(WORK))
        job = replace(JOB, phase=Phase.TUNE, operation=operation.name)
        runner.store.save(job)
        watching = asyncio.create_task(runner.follow(job, WORK))
        await asyncio.sleep(5)
        runner.store.save(replace(JOB, phase=Phase.CANCELLED))
        return await watching

    within(tmp_path, beside, told)
    locks.close()

    assert kinds(told)[1:-1] == [EventKind.PROGRESS] * (len(told) - 2)
    assert len(told) > 4


@pytest.mark.parametrize("moment", ["begin", "commit", "committed"])
@pytest.mark.parametrize("number", range(1, 10))
def test_the_ledger_may_be_deleted_at_any_moment(tmp_path, moment, number):
    target = fresh()
    seen = Counter()

    def delete(at):
        seen[at] += 1
        if at == moment and seen[at] == number:
            for each in tmp_path.glob("l.db*"):
                each.unlink()

    outcome = follow(tmp_path, around=delete)

    assert outcome.job.phase is Phase.DONE
    assert_once(target)


@pytest.mark.parametrize("jump", [-31_536_000.0, 31_536_000.0])
def test_a_wall_clock_that_jumps_changes_nothing(tmp_path, jump):
    calm, jumpy = tmp_path / "calm", tmp_path / "jumpy"
    calm.mkdir(), jumpy.mkdir()
    target = fresh()
    follow(calm)
    expected = target.calls
    target = fresh()
    dice = random.Random(1)

    follow(jumpy, wall=lambda: 1e9 + dice.choice([0.0, jump]))

    assert target.calls == expected


def test_watching_does_not_overwrite_what_the_holder_of_the_lock_saved(tmp_path):
    fresh(looks_until_done=2)
    locks = locked_by_another_run(tmp_path)

    async def beside(runner):
        operation = await OneTarget.target.create(new_tuned_model(WORK))
        tuning = replace(JOB, phase=Phase.TUNE, operation=operation.name)
        runner.store.save(replace(tuning, phase=Phase.SHARE))
        await runner.watch(tuning)
        return runner.store.find(*WHOSE)

    assert within(tmp_path, beside).phase is Phase.SHARE
    locks.close()


def test_a_cancel_reaches_a_job_that_another_follows_and_is_audited(tmp_path):
    target = fresh(looks_until_done=1000)

    async def beside(session):
        operation = await target.create(new_tuned_model(WORK))
        tuning = replace(JOB, phase=Phase.TUNE, operation=operation.name)
        locked_by_another_run(tmp_path)
        return await session.watch(tuning, cancel=True)

    assert within(tmp_path, beside).job.phase is Phase.CANCELLED
    lines = (tmp_path / "logs" / "audit.jsonl").read_text().splitlines()
    said = [(each["action"], each["state"]) for each in map(json.loads, lines)]
    assert said == [("cancel", "intended"), ("cancel", "done")]


def test_what_is_shared_is_in_the_audit_before_it_is_done(tmp_path):
    fresh()
    follow(tmp_path)

    text = (tmp_path / "logs" / "audit.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    said = [(each["action"], each["state"]) for each in lines]
    assert said == [
        *[("create", "intended"), ("create", "done")],
        *[("grant", "intended"), ("grant", "done")] * 2,
        *[("transfer", "intended"), ("transfer", "done")],
    ]
    assert (
        lines[-2]["why"]
        == "exact_match is 1.000, at_least: 0.5, better than the base model's 0.000"
    )


def test_without_a_place_for_the_audit_nothing_is_changed(tmp_path):
    target = fresh()
    (tmp_path / "logs").write_text("a file, where a folder is needed")

    outcome = follow(tmp_path)

    assert "audit" in outcome.error.what
    assert not set(target.calls) & set(CHANGES)


def test_out_of_quota_is_waited_for_as_long_as_it_takes(tmp_path):
    faults = {n: Unavailable("busy", retry_after_s=60, is_quota=True) for n in range(2, 22)}
    target = fresh(faults=faults)

    assert follow(tmp_path).job.phase is Phase.DONE
    assert_once(target)


def test_out_of_quota_ends_with_the_time_of_the_run(tmp_path):
    faults = {n: Unavailable("busy", retry_after_s=60, is_quota=True) for n in range(2, 22)}
    fresh(faults=faults)

    outcome = follow(tmp_path, deadline=120.0)

    assert isinstance(outcome.error, NotFinished)


class Counting(FakeTarget):
    """Remembers how many were tuning at most."""

    most = 0

    def _strike(self):
        super()._strike()
        running = sum(not operation.done for operation in self.running.values())
        self.most = max(self.most, running)


def test_max_jobs_of_a_target_is_never_exceeded(tmp_path):
    target = fresh(Counting)
    work = with_spec(target=TargetConfig(max_jobs=3))
    jobs = [
        replace(JOB, target=work.spec.target, tuned_model=f"tunedModels/m{n}") for n in range(12)
    ]
    for job in jobs:
        target.answers.update(right_answers(job.tuned_model))

    async def all_of(session):
        return await asyncio.gather(*(session.follow(job, work) for job in jobs))

    outcomes = within(tmp_path, all_of)

    assert {each.job.phase for each in outcomes} == {Phase.DONE}
    assert target.most == 3


def test_whoever_should_know_of_the_end_is_told_once(tmp_path):
    fresh()
    work = with_spec(notify=(Notify(command="true", on=("done",)),))
    sent = []

    async def send(_sink, notice):
        sent.append(json.loads(notice.body)["event"])

    follow(tmp_path, work=work, send=send)
    follow(tmp_path, work=work, send=send)

    assert sent == ["done"]


def test_what_is_tuned_anew_after_its_model_was_deleted_is_told_again(tmp_path):
    work, heard = with_spec(transfer_ownership="", notify=(Notify(command="true"),)), []
    target = fresh()

    async def send(_sink, notice):
        heard.append(notice.id)

    follow(tmp_path, work=work, send=send)
    asyncio.run(target.delete(JOB.tuned_model))
    job = replace(begin_again(tmp_path, work), tuned_model=JOB.tuned_model)
    assert follow(tmp_path, job, work, send=send).job.phase is Phase.DONE

    assert target.creates == 2
    assert len(set(heard)) == 2
    follow(tmp_path, begin_again(tmp_path, work), work, send=send)
    assert len(heard) == 2


def test_a_ledger_that_breaks_on_the_way_stops_the_run_there(tmp_path):
    target = fresh()
    commits = Counter()

    def full(moment):
        commits[moment] += 1
        if commits["commit"] >= 4:
            raise TunerError("the disk is full")

    outcome = follow(tmp_path, around=full)

    assert outcome.error.what == "the disk is full"
    assert target.creates == 1
    assert (target.grants, target.transfers) == (0, 0)


def test_without_a_committed_intent_nothing_is_sent(tmp_path):
    target = fresh()

    def full(moment):
        if moment == "commit":
            raise TunerError("the disk is full")

    assert follow(tmp_path, around=full).error is not None
    assert target.calls == []


def test_an_ended_job_begins_again_but_one_that_was_beaten_stays_so(tmp_path):
    with Store(tmp_path / "l.db", float) as ledger:
        ledger.save(replace(JOB, phase=Phase.DONE, force=True))
        assert (find_or_create_job(WORK, ledger).phase, find_or_create_job(WORK, ledger).force) == (
            Phase.SUBMIT,
            False,
        )

        ledger.save(replace(JOB, phase=Phase.TUNE, force=True))
        assert (find_or_create_job(WORK, ledger).phase, find_or_create_job(WORK, ledger).force) == (
            Phase.TUNE,
            True,
        )

        ledger.save(replace(JOB, phase=Phase.NOT_SELECTED))
        assert find_or_create_job(WORK, ledger).phase is Phase.NOT_SELECTED


@pytest.mark.parametrize("phase", [Phase.SHARE, Phase.TRANSFER])
def test_a_gate_that_was_raised_while_a_job_waited_to_be_shared_is_held(tmp_path, phase):
    raised = with_spec(evaluation=replace(WORK.spec.evaluation, require=GateSpec(at_least=0.9)))
    target = FakeTarget(answers={JOB.tuned_model: {"question 10": "answer 10"}})
    OneTarget.target = target
    assert follow(tmp_path, until=phase).job.phase is phase
    shared = target.grants

    outcome = follow(tmp_path, begin_again(tmp_path, raised), raised)

    assert outcome.job.phase is Phase.REJECTED
    assert (target.grants, target.transfers) == (shared, 0)


def test_force_does_not_go_over_to_other_examples_under_the_same_id(tmp_path):
    mine = with_spec(tuned_model_id="mine")
    other = replace(mine, examples=mine.examples[:5])
    job = replace(job_of(mine), tuned_model="tunedModels/mine", force=True)
    with Store(tmp_path / "l.db", float) as ledger:
        ledger.save(replace(job, phase=Phase.TUNE))

    assert begin_again(tmp_path, mine).force
    assert not begin_again(tmp_path, other).force


def test_what_another_session_handed_over_meanwhile_is_known(tmp_path):
    target = fresh()
    stale = JOB
    follow(tmp_path)
    target.shared[JOB.tuned_model] = {}  # nobody may see it any more

    outcome = follow(tmp_path, job=stale)

    assert "was transferred to lead@example.com" in outcome.error.what
    assert target.creates == 1


def test_events_are_told_in_the_log_beside_the_ledger(tmp_path):
    told = []
    fresh()
    follow(tmp_path, told=told)

    lines = (tmp_path / "logs" / "events.jsonl").read_text().splitlines()
    assert {json.loads(line)["event"] for line in lines} == {event.kind.value for event in told}
    assert told[-1].kind is EventKind.ENDED


class Mortal:
    """A service's process: what it holds outlives it, and another may be started in its place."""

    dies_after = 60
    started = 0

    def __init__(self, target):
        Mortal.started += 1
        self.target, self.left = target, self.dies_after if Mortal.started == 1 else 10_000

    def __getattr__(self, name):
        found = getattr(self.target, name)
        if name == "close" or not asyncio.iscoroutinefunction(found):
            return found

        async def call(*given):
            self.left -= 1
            if self.left < 0:
                raise Unavailable("nothing answers there")
            return await found(*given)

        return call


async def open_mortal(_config):
    return Mortal(OneTarget.target)


@pytest.mark.parametrize("dies_after", range(5, 60, 18))
def test_a_local_service_that_dies_is_started_once_for_all_jobs(tmp_path, monkeypatch, dies_after):
    jobs, target = many(12)
    target.looks_until_done = 30
    monkeypatch.setattr(Mortal, "started", 0)
    monkeypatch.setattr(Mortal, "dies_after", dies_after)
    mortal = targets.TARGETS["local"]._replace(opener=f"{__name__}:open_mortal")
    monkeypatch.setitem(targets.TARGETS, "local", mortal)

    async def all_of(session):
        return await asyncio.gather(*(session.follow(job, WORK) for job in jobs))

    outcomes = within(tmp_path, all_of)

    assert {each.job.phase for each in outcomes} == {Phase.DONE}
    assert (Mortal.started, target.creates, target.transfers) == (2, 12, 12)
