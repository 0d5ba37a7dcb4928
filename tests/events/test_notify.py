"""Notifications: each receiver gets each at least once, signed, under one ID, without examples or keys."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import signal
import ssl
import subprocess
import sys
from dataclasses import replace
from subprocess import run

import pytest

from tests.docs.blocks import ROOT
from tests.fakes.certificates import authority_and_pairs
from tests.fakes.target import Crash
from tests.fakes.webhook import listening
from tests.fakes.work import WORK, job_of, with_spec
from tests.jobs.test_store import EVALUATION
from tuner.errors import TunerError
from tuner.events import notify
from tuner.events.notify import NotDelivered, Notification, Outbox, notifications, send
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


def events_of(job, work):
    return [json.loads(each.body)["event"] for each in notifications(job, work.spec.notify)]


@pytest.mark.parametrize("phase", list(Phase))
def test_each_end_phase_and_each_transfer_has_its_notification(phase):
    assert events_of(replace(JOB, phase=phase), with_spec(notify=(HOOK,))) == KINDS.get(phase, [])


def test_a_receiver_gets_the_events_in_its_list():
    work = with_spec(notify=(replace(HOOK, on=("rejected",)), replace(SECOND, on=("done",))))

    assert [
        "other.example.com" in each.receiver for each in notifications(JOB, work.spec.notify)
    ] == [True]


def test_the_body_has_the_job_its_state_and_its_scores():
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


def test_the_same_end_has_the_same_id_and_a_retry_another_id():
    work = with_spec(notify=(HOOK, SECOND))
    ids = [each.id for each in notifications(JOB, work.spec.notify, at=1.0)]

    assert [each.id for each in notifications(JOB, work.spec.notify, at=2.0)] == ids
    again = [each.id for each in notifications(replace(JOB, attempt=2), work.spec.notify)]
    assert len({*ids, *again}) == 8


@pytest.mark.parametrize("phase", list(KINDS))
def test_no_example_error_or_address_is_in_a_body(phase):
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


SENDER = """
import asyncio, sys
from pathlib import Path
from tests.events.test_notify import save_end
from tuner.jobs.store import Store
from tuner.events.notify import Outbox
from tuner.jobspec.schema import Notify

async def send_all(store):
    box = Outbox(store, print)
    save_end(store, sinks=(Notify(url=sys.argv[2]),))
    box.wake()
    await box.close()

with Store(Path(sys.argv[1]), lambda: 1.0) as store:
    asyncio.run(send_all(store))
"""


@pytest.mark.slow
def test_a_run_killed_while_sending_sends_once_more_and_not_again(tmp_path):
    runs = []

    def kill(_body):
        runs[0].kill()  # the answer never reaches it
        runs[0].wait()

    with listening() as webhook:
        webhook.heard = lambda body: kill(body) if len(webhook.requests) == 1 else None
        for _ in range(3):
            sender = [sys.executable, "-c", SENDER, str(tmp_path / "l.db"), webhook.url]
            runs.append(subprocess.Popen(sender, cwd=ROOT))
            runs[-1].wait()

    assert [run.returncode for run in runs] == [-signal.SIGKILL, 0, 0]
    first, second = webhook.requests
    assert first[0]["Tuner-Delivery"] == second[0]["Tuner-Delivery"]
    assert first[1] == second[1]


class Receivers:
    """Takes what is send_notice; what ``answers`` has for a receiver is raised instead, one after another."""

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
    """An outbox over a store, with no time passing."""

    def __init__(self, store, receivers):
        self.events, self.waits = [], []
        self.outbox = Outbox(store, self.events.append, receivers, self.sleep)

    async def sleep(self, seconds):
        self.waits.append(seconds)

    def deliver(self, *_ends):
        asyncio.run(self.outbox.deliver())


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "l.db", lambda: 1.0) as opened:
        yield opened


def save_end(store, name="capitals", sinks=(HOOK,)):
    """Save the end of a job with its notifications."""
    work = with_spec(job=name, notify=sinks)
    job = replace(job_of(work), phase=Phase.DONE)
    store.save(job, notifications(job, sinks))


def test_every_receiver_gets_each_notification_once_in_order(store):
    works = [save_end(store, name, (HOOK, SECOND)) for name in ("first", "second", "third")]
    receivers = Receivers()

    Run(store, receivers).deliver(*works)
    Run(store, receivers).deliver(*works)

    for name in ("hooks", "other"):
        assert [job for who, _, job in receivers.got if who == name] == ["first", "second", "third"]


def test_an_unavailable_receiver_is_retried_with_growing_pauses(store):
    run = Run(store, Receivers(hooks=[NotDelivered("HTTP 503")] * 3))

    run.deliver(save_end(store))

    assert run.waits == [pytest.approx(pause_s, rel=0.21) for pause_s in (1, 2, 4)]
    assert run.events == []
    assert store.pending_notifications() == []


def test_retry_after_is_obeyed(store):
    run = Run(store, Receivers(hooks=[NotDelivered("HTTP 429", retry_after_s=70.0)]))

    run.deliver(save_end(store))

    assert run.waits == [70.0]


def test_the_next_run_sends_what_could_not_be_delivered(store):
    away = Run(store, Receivers(hooks=[NotDelivered("HTTP 503")] * 6))
    job_and_work = save_end(store)
    away.deliver(job_and_work)
    receivers = Receivers()

    Run(store, receivers).deliver(job_and_work)

    assert [str(event) for event in away.events] == [
        "could not notify hooks.example.com: HTTP 503; the next run tries again"
    ]
    assert len(receivers.got) == 1


def test_an_unavailable_receiver_does_not_delay_others(store):
    receivers = Receivers(hooks=[NotDelivered("HTTP 503")] * 6)

    Run(store, receivers).deliver(
        save_end(store, "a", (HOOK, SECOND)), save_end(store, "b", (SECOND,))
    )

    assert [(who, job) for who, _, job in receivers.got] == [("other", "a"), ("other", "b")]


def test_a_refused_notification_is_given_up_with_a_warning(store):
    run = Run(store, Receivers(hooks=[NotDelivered("HTTP 410", max_tries=0)]))

    run.deliver(save_end(store))

    assert [str(event) for event in run.events] == [
        "could not notify hooks.example.com: HTTP 410; given up"
    ]
    assert store.pending_notifications() == []


def test_a_dead_receiver_is_given_up_after_several_runs(store):
    works = save_end(store)
    for _ in range(4):
        run = Run(store, Receivers(hooks=[NotDelivered("gone")] * 6))
        run.deliver(works)

    assert run.events[-1]["why"] == "gone; given up"
    assert store.pending_notifications() == []


def test_a_missing_key_is_not_retried_in_this_run(store):
    run = Run(store, Receivers(hooks=[NotDelivered("K is not set", is_transient=False)]))

    run.deliver(save_end(store))

    assert run.waits == []
    assert len(store.pending_notifications()) == 1


@pytest.mark.parametrize("crash_at", ["begin", "commit", "committed"])
def test_a_crash_after_sending_sends_again_under_the_same_id(tmp_path, crash_at):
    dying = False

    def around(moment):
        if dying and moment == crash_at:
            raise Crash

    receivers = Receivers()
    with Store(tmp_path / "l.db", lambda: 1.0, around) as store:
        works = save_end(store)
        dying = True
        with pytest.raises(Crash):
            Run(store, receivers).deliver(works)
    with Store(tmp_path / "l.db", lambda: 1.0) as store:
        Run(store, receivers).deliver(works)

    assert len(receivers.got) == (1 if crash_at == "committed" else 2)
    assert len({identity for _, identity, _ in receivers.got}) == 1


def test_the_end_of_a_run_waits_a_short_time_for_deliveries(store, monkeypatch):
    monkeypatch.setattr(notify, "CLOSE_TIMEOUT_S", 0.0)
    events = []

    async def hangs(_sink, _notice):
        await asyncio.Event().wait()

    async def whole_run():
        box = Outbox(store, events.append, hangs)
        save_end(store)
        box.wake()
        await box.close()

    asyncio.run(whole_run())

    assert [event["why"] for event in events] == ["there was no time; the next run tries again"]
    assert len(store.pending_notifications()) == 1


def test_a_failing_store_ends_the_delivery_without_a_traceback(tmp_path):
    def around(moment):
        if broken and moment == "begin":
            raise TunerError("the store cannot be used")

    broken = False

    async def whole_run(store):
        box = Outbox(store, print, Receivers())
        box.wake()
        await box.close()

    with Store(tmp_path / "l.db", lambda: 1.0, around) as store:
        save_end(store)
        broken = True
        asyncio.run(whole_run(store))


DONE = replace(job_of(WORK), phase=Phase.DONE)


@pytest.fixture
def webhook():
    with listening() as webhook:
        yield webhook


def send_notice(sink):
    """Send the notice of a job that is done."""
    (notice,) = notifications(DONE, (sink,), at=1764000000.0)
    asyncio.run(send(sink, notice))
    return notice


def error_of(sink):
    with pytest.raises(NotDelivered) as raised:
        send_notice(sink)
    return raised.value


def test_a_webhook_gets_json_with_event_and_delivery_headers(webhook):
    notice = send_notice(Notify(url=webhook.url))

    ((headers, body),) = webhook.requests
    assert body.decode() == notice.body
    assert headers["Content-Type"] == "application/json"
    assert headers["Tuner-Event"] == "done"
    assert headers["Tuner-Delivery"] == notice.id
    assert re.fullmatch(r"tuner/\S+", headers["User-Agent"])
    assert "Tuner-Signature" not in headers


def test_a_receiver_can_check_the_signature_with_the_standard_library(webhook, monkeypatch):
    monkeypatch.setenv("HOOK_KEY", "s3cret")

    send_notice(Notify(url=webhook.url, secret_env="HOOK_KEY"))

    ((headers, body),) = webhook.requests
    parts = dict(each.split("=") for each in headers["Tuner-Signature"].split(","))
    assert parts["t"] == headers["Tuner-Timestamp"]
    expected = hmac.new(b"s3cret", f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(parts["v1"], expected)


def test_nothing_is_sent_unsigned_if_the_key_is_missing(webhook, monkeypatch):
    monkeypatch.delenv("HOOK_KEY", raising=False)

    error = error_of(Notify(url=webhook.url, secret_env="HOOK_KEY"))

    assert (error.why, error.is_transient) == ("HOOK_KEY is not set", False)
    assert webhook.requests == []


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(webhook, code):
    with listening() as other:
        webhook.answers = [(code, {"Location": other.url})]

        assert error_of(Notify(url=webhook.url)).max_tries == 0

        assert other.requests == []


@pytest.mark.parametrize(
    ("answer", "tries", "wait_s"),
    [
        (400, 0, 0),
        (410, 0, 0),
        (408, notify.MAX_WEBHOOK_TRIES, 0),
        ((429, {"Retry-After": "7"}), notify.MAX_WEBHOOK_TRIES, 7),
        ((503, {"Retry-After": "9999999"}), notify.MAX_WEBHOOK_TRIES, 300),
        ((503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), notify.MAX_WEBHOOK_TRIES, 0),
    ],
)
def test_the_status_code_decides_whether_a_notification_is_retried(webhook, answer, tries, wait_s):
    webhook.answers = [answer]

    error = error_of(Notify(url=webhook.url))

    assert (error.max_tries, error.retry_after_s) == (tries, wait_s)


def test_a_refused_connection_is_retried_and_its_address_is_not_shown():
    with listening() as gone:
        url = gone.url

    error = error_of(Notify(url=f"{url}?token=s3cret"))

    assert error.why == "Connection refused"
    assert error.max_tries == notify.MAX_WEBHOOK_TRIES


def test_loopback_is_reached_without_the_proxy(webhook, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    send_notice(Notify(url=webhook.url))

    assert len(webhook.requests) == 1


def test_plain_http_is_refused_except_on_loopback():
    assert error_of(Notify(url="http://example.com/webhook")).max_tries == 0


def test_a_command_gets_the_body_and_variables_but_no_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "s3cret")
    monkeypatch.setenv("TUNER_API_KEY", "s3cret")
    monkeypatch.setenv("KEPT", "yes")

    notice = send_notice(Notify(command=f"cat > {tmp_path}/body; env > {tmp_path}/env; exit 0"))

    assert (tmp_path / "body").read_text() == f"{notice.body}\n"
    environment = (tmp_path / "env").read_text()
    assert "s3cret" not in environment
    assert {
        "KEPT=yes",
        "TUNER_EVENT=done",
        "TUNER_JOB=capitals",
        f"TUNER_MODEL={JOB.tuned_model}",
        "TUNER_PHASE=DONE",
    } <= set(environment.splitlines())


def test_a_failed_command_is_retried_once():
    error = error_of(Notify(command="exit 3"))

    assert (error.why, error.max_tries) == ("it ended with 3", 2)


def test_a_command_that_exceeds_its_timeout_is_killed_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(notify, "COMMAND_TIMEOUT_S", 0.2)
    late = tmp_path / "late"

    error = error_of(Notify(command=f"(sleep 1; touch {late}) & echo $! > {tmp_path}/pid; wait"))

    assert "took longer" in error.why
    pid = (tmp_path / "pid").read_text().strip()
    assert run(["ps", "-o", "stat=", "-p", pid], capture_output=True, check=False).stdout[:1] in (
        b"",
        b"Z",
    )


@pytest.mark.slow
def test_an_untrusted_certificate_gets_nothing(tmp_path):
    _, (pair,) = authority_and_pairs("localhost")
    (tmp_path / "both.pem").write_bytes(pair.key + pair.certificate)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "both.pem")

    with listening(tls) as webhook:
        error = error_of(Notify(url=webhook.url.replace("http://127.0.0.1", "https://localhost")))

    assert "CERTIFICATE_VERIFY_FAILED" in error.why
    assert webhook.requests == []


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "a" * 3_000_000])
def test_a_command_that_cannot_start_is_not_delivered(name):
    body = json.dumps(
        {"event": "done", "job": name, "tuned_model": "tunedModels/x", "phase": "DONE"}
    )
    notice = Notification("id", "local", "tunedModels/x", "sink", body)

    with pytest.raises(NotDelivered, match="it cannot be started"):
        asyncio.run(notify.send(Notify(command="true"), notice))
