"""Who should know is told at least once, under one id, and never what nobody should know."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.docs.blocks import ROOT
from tests.fakes.target import Crash
from tests.fakes.webhook import listening
from tests.fakes.work import WORK, job_of, with_spec
from tests.jobs.test_store import EVALUATION
from tuner.errors import TunerError
from tuner.events import notify
from tuner.events.notify import NotDelivered, Outbox, notifications
from tuner.jobs.store import Store
from tuner.jobspec.schema import Notify
from tuner.types import Example, Phase

HOOK = Notify(url="https://hooks.example.com/T0/B0?token=s3cret")
SECOND = Notify(url="https://other.example.com/")
JOB = replace(job_of(WORK), phase=Phase.DONE, handed_to="lead@example.com", evaluation=EVALUATION)
KINDS = {
    Phase.DONE: ["done", "transferred"],
    Phase.FAILED: ["failed"],
    Phase.CANCELLED: ["failed"],
    Phase.REJECTED: ["rejected"],
}


def told_of(job, work):
    return [json.loads(each.body)["event"] for each in notifications(job, work.spec.notify)]


@pytest.mark.parametrize("phase", list(Phase))
def test_every_end_that_matters_is_told_and_a_transfer_beside_it(phase):
    assert told_of(replace(JOB, phase=phase), with_spec(notify=(HOOK,))) == KINDS.get(phase, [])


def test_a_receiver_is_told_what_it_asked_for():
    work = with_spec(notify=(replace(HOOK, on=("rejected",)), replace(SECOND, on=("done",))))

    assert [
        "other.example.com" in each.receiver for each in notifications(JOB, work.spec.notify)
    ] == [True]


def test_the_body_says_what_a_person_wants_to_know_first():
    (done, moved) = notifications(JOB, (HOOK,), at=1764000000.0)

    assert json.loads(done.body) == {
        "version": 1,
        "event": "done",
        "time": "2025-11-24T16:00:00.000Z",
        "job": "capitals",
        "label": "",
        "best_of": None,
        "target": "local",
        "tuned_model": JOB.tuned_model,
        "phase": "DONE",
        "exit_code": 0,
        "forced": False,
        "scores": {
            "metric": "exact_match",
            "tuned": 0.9,
            "base": 0.0,
            "interval": {"low": 0.8, "high": 1.0},
            "rows": 1,
        },
    }
    assert json.loads(moved.body)["owner"] == "lead@example.com"


def test_the_same_end_has_the_same_id_and_a_retry_another():
    work = with_spec(notify=(HOOK, SECOND))
    ids = [each.id for each in notifications(JOB, work.spec.notify, at=1.0)]

    assert [each.id for each in notifications(JOB, work.spec.notify, at=2.0)] == ids
    again = [each.id for each in notifications(replace(JOB, attempt=2), work.spec.notify)]
    assert len({*ids, *again}) == 8


@pytest.mark.parametrize("phase", list(KINDS))
def test_no_example_no_error_and_no_address_is_told(phase):
    canary = "c4n4ry"
    rows = (replace(EVALUATION.rows[0], text_input=canary, expected=canary, tuned=canary),)
    sink = Notify(url=f"https://{canary}.example.com/{canary}", secret_env=canary)
    work = replace(
        with_spec(notify=(sink,), description=canary), examples=(Example(canary, canary),)
    )
    job = replace(
        JOB, phase=phase, error=f"the service: {canary}", evaluation=replace(EVALUATION, rows=rows)
    )

    bodies = [each.body for each in notifications(job, work.spec.notify)]
    assert canary not in str(bodies)


TELLER = """
import asyncio, sys
from pathlib import Path
from tests.events.test_notify import ends
from tuner.jobs.store import Store
from tuner.events.notify import Outbox
from tuner.jobspec.schema import Notify

async def tell(ledger):
    box = Outbox(ledger, print)
    ends(ledger, sinks=(Notify(url=sys.argv[2]),))
    box.wake()
    await box.close()

with Store(Path(sys.argv[1]), lambda: 1.0) as ledger:
    asyncio.run(tell(ledger))
"""


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_is_heard_is_heard_again_and_then_no_more(tmp_path):
    runs = []

    def kill(_body):
        runs[0].kill()  # the answer never reaches it
        runs[0].wait()

    with listening() as hook:
        hook.heard = lambda body: kill(body) if len(hook.requests) == 1 else None
        for _ in range(3):
            teller = [sys.executable, "-c", TELLER, str(tmp_path / "l.db"), hook.url]
            runs.append(subprocess.Popen(teller, cwd=ROOT))
            runs[-1].wait()

    assert [run.returncode for run in runs] == [-signal.SIGKILL, 0, 0]
    first, second = hook.requests
    assert first[0]["Tuner-Delivery"] == second[0]["Tuner-Delivery"]
    assert first[1] == second[1]


class Receivers:
    """Takes what is sent; what ``answers`` has for a receiver is raised instead, one after another."""

    def __init__(self, **answers):
        self.answers = answers
        self.got = []

    async def __call__(self, sink, notice):
        name = sink.url.split("//")[1].split(".")[0]
        left = self.answers.get(name, [])
        if left:
            raise left.pop(0)
        self.got.append((name, notice.id, json.loads(notice.body)["job"]))


class Run:
    """An outbox over a ledger, with no time passing."""

    def __init__(self, ledger, receivers):
        self.told, self.waits = [], []
        self.outbox = Outbox(ledger, self.told.append, receivers, self.sleep)

    async def sleep(self, seconds):
        self.waits.append(seconds)

    def deliver(self, *_ends):
        asyncio.run(self.outbox.deliver())


@pytest.fixture
def ledger(tmp_path):
    with Store(tmp_path / "l.db", lambda: 1.0) as opened:
        yield opened


def ends(ledger, name="capitals", sinks=(HOOK,)):
    """Save the end of a job with its notifications."""
    work = with_spec(job=name, notify=sinks)
    job = replace(job_of(work), phase=Phase.DONE)
    ledger.save(job, notifications(job, sinks))


def test_every_receiver_is_told_once_in_the_order_of_the_ends(ledger):
    works = [ends(ledger, name, (HOOK, SECOND)) for name in ("first", "second", "third")]
    receivers = Receivers()

    Run(ledger, receivers).deliver(*works)
    Run(ledger, receivers).deliver(*works)

    for name in ("hooks", "other"):
        assert [job for who, _, job in receivers.got if who == name] == ["first", "second", "third"]


def test_an_end_that_is_saved_again_is_not_told_again(ledger):
    receivers = Receivers()
    Run(ledger, receivers).deliver(ends(ledger))

    Run(ledger, receivers).deliver(ends(ledger))

    assert len(receivers.got) == 1


def test_a_receiver_that_is_away_is_asked_again_after_longer_and_longer(ledger):
    run = Run(ledger, Receivers(hooks=[NotDelivered("HTTP 503")] * 3))

    run.deliver(ends(ledger))

    assert run.waits == [pytest.approx(pause_s, rel=0.21) for pause_s in (1, 2, 4)]
    assert run.told == []
    assert ledger.pending_notifications() == []


def test_a_receiver_is_given_the_time_it_asks_for(ledger):
    run = Run(ledger, Receivers(hooks=[NotDelivered("HTTP 429", retry_after_s=70.0)]))

    run.deliver(ends(ledger))

    assert run.waits == [70.0]


def test_what_could_not_be_delivered_is_left_for_the_next_run(ledger):
    away = Run(ledger, Receivers(hooks=[NotDelivered("HTTP 503")] * 6))
    job_and_work = ends(ledger)
    away.deliver(job_and_work)
    receivers = Receivers()

    Run(ledger, receivers).deliver(job_and_work)

    assert [str(event) for event in away.told] == [
        "could not notify hooks.example.com: HTTP 503; the next run tries again"
    ]
    assert len(receivers.got) == 1


def test_one_that_is_away_holds_up_no_other(ledger):
    receivers = Receivers(hooks=[NotDelivered("HTTP 503")] * 6)

    Run(ledger, receivers).deliver(ends(ledger, "a", (HOOK, SECOND)), ends(ledger, "b", (SECOND,)))

    assert [(who, job) for who, _, job in receivers.got] == [("other", "a"), ("other", "b")]


def test_one_that_refuses_is_given_up_and_said(ledger):
    run = Run(ledger, Receivers(hooks=[NotDelivered("HTTP 410", max_tries=0)]))

    run.deliver(ends(ledger))

    assert [str(event) for event in run.told] == [
        "could not notify hooks.example.com: HTTP 410; given up"
    ]
    assert ledger.pending_notifications() == []


def test_a_dead_receiver_is_given_up_in_the_end(ledger):
    works = ends(ledger)
    for _ in range(4):
        run = Run(ledger, Receivers(hooks=[NotDelivered("gone")] * 6))
        run.deliver(works)

    assert run.told[-1]["why"] == "gone; given up"
    assert ledger.pending_notifications() == []


def test_what_waits_for_its_key_is_not_waited_for(ledger):
    run = Run(ledger, Receivers(hooks=[NotDelivered("K is not set", is_transient=False)]))

    run.deliver(ends(ledger))

    assert run.waits == []
    assert len(ledger.pending_notifications()) == 1


@pytest.mark.parametrize("crash_at", ["begin", "commit", "committed"])
def test_a_crash_between_sending_and_noting_it_tells_again_under_the_same_id(tmp_path, crash_at):
    dying = False

    def around(moment):
        if dying and moment == crash_at:
            raise Crash

    receivers = Receivers()
    with Store(tmp_path / "l.db", lambda: 1.0, around) as ledger:
        works = ends(ledger)
        dying = True
        with pytest.raises(Crash):
            Run(ledger, receivers).deliver(works)
    with Store(tmp_path / "l.db", lambda: 1.0) as ledger:
        Run(ledger, receivers).deliver(works)

    assert len(receivers.got) == (1 if crash_at == "committed" else 2)
    assert len({identity for _, identity, _ in receivers.got}) == 1


def test_the_end_of_a_run_waits_for_what_is_left_but_not_for_long(ledger, monkeypatch):
    monkeypatch.setattr(notify, "CLOSE_TIMEOUT_S", 0.0)
    told = []

    async def hangs(_sink, _notice):
        await asyncio.Event().wait()

    async def whole_run():
        box = Outbox(ledger, told.append, hangs)
        ends(ledger)
        box.wake()
        await box.close()

    asyncio.run(whole_run())

    assert [event["why"] for event in told] == ["there was no time; the next run tries again"]
    assert len(ledger.pending_notifications()) == 1


def test_of_a_receiver_that_is_away_one_line_says_why(ledger, monkeypatch):
    monkeypatch.setattr(notify, "CLOSE_TIMEOUT_S", 0.05)
    told = []

    async def forever(_seconds):
        await asyncio.Event().wait()

    async def whole_run():
        box = Outbox(ledger, told.append, Receivers(hooks=[NotDelivered("HTTP 503")]), forever)
        for name in ("first", "second"):
            ends(ledger, name)
        box.wake()
        await box.close()

    asyncio.run(whole_run())

    assert [str(event) for event in told] == [
        "could not notify hooks.example.com: HTTP 503; the next run tries again"
    ]


def test_a_ledger_that_broke_meanwhile_ends_the_delivery_without_a_traceback(tmp_path):
    def around(moment):
        if broken and moment == "begin":
            raise TunerError("the ledger cannot be used")

    broken = False

    async def whole_run(ledger):
        box = Outbox(ledger, print, Receivers())
        box.wake()
        await box.close()

    with Store(tmp_path / "l.db", lambda: 1.0, around) as ledger:
        ends(ledger)
        broken = True
        asyncio.run(whole_run(ledger))


def test_a_run_s_tries_are_a_quarter_of_all():
    assert len(notify.RETRY_PAUSES_S) + 1 == notify.MAX_WEBHOOK_TRIES / 4
