"""A notice on its way to a webhook or a command: signed, not led astray, and without our keys."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import ssl
from dataclasses import replace
from subprocess import run

import pytest

from tests.fakes.certificates import authority_and_pairs
from tests.fakes.webhook import listening
from tests.fakes.work import WORK, job_of
from tuner.events import notify
from tuner.events.notify import NotDelivered, Notification, notifications, send
from tuner.jobspec.schema import Notify
from tuner.types import Phase

JOB = replace(job_of(WORK), phase=Phase.DONE)


@pytest.fixture
def hook():
    with listening() as webhook:
        yield webhook


def sent(sink):
    """Send the notice of a job that is done."""
    (notice,) = notifications(JOB, (sink,), at=1764000000.0)
    asyncio.run(send(sink, notice))
    return notice


def refused(sink):
    with pytest.raises(NotDelivered) as raised:
        sent(sink)
    return raised.value


def test_a_webhook_gets_a_post_of_json_that_says_what_it_is(hook):
    notice = sent(Notify(url=hook.url))

    ((headers, body),) = hook.requests
    assert body.decode() == notice.body
    assert headers["Content-Type"] == "application/json"
    assert headers["Tuner-Event"] == "done"
    assert headers["Tuner-Delivery"] == notice.id
    assert re.fullmatch(r"tuner/\S+", headers["User-Agent"])
    assert "Tuner-Signature" not in headers


def test_a_receiver_can_check_the_signature_with_the_standard_library(hook, monkeypatch):
    monkeypatch.setenv("HOOK_KEY", "s3cret")

    sent(Notify(url=hook.url, secret_env="HOOK_KEY"))

    ((headers, body),) = hook.requests
    parts = dict(each.split("=") for each in headers["Tuner-Signature"].split(","))
    assert parts["t"] == headers["Tuner-Timestamp"]
    expected = hmac.new(b"s3cret", f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(parts["v1"], expected)


def test_the_signature_is_what_openssl_makes_of_it(tmp_path):
    body = tmp_path / "signed"
    body.write_bytes(b'1764000000.{"version": 1}')

    theirs = run(
        ["openssl", "dgst", "-sha256", "-hmac", "key", body],
        capture_output=True,
        text=True,
        check=True,
    )

    ours = notify.signature(b"key", 1764000000, b'{"version": 1}')
    assert ours == f"t=1764000000,v1={theirs.stdout.split()[-1]}"


def test_without_its_key_nothing_is_sent_unsigned(hook, monkeypatch):
    monkeypatch.delenv("HOOK_KEY", raising=False)

    error = refused(Notify(url=hook.url, secret_env="HOOK_KEY"))

    assert (error.why, error.is_transient) == ("HOOK_KEY is not set", False)
    assert hook.requests == []


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(hook, code):
    with listening() as other:
        hook.answers = [(code, {"Location": other.url})]

        assert refused(Notify(url=hook.url)).max_tries == 0

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
def test_what_a_receiver_answers_decides_whether_it_is_asked_again(hook, answer, tries, wait_s):
    hook.answers = [answer]

    error = refused(Notify(url=hook.url))

    assert (error.max_tries, error.retry_after_s) == (tries, wait_s)


def test_nobody_there_is_asked_again_and_the_address_is_not_told():
    with listening() as gone:
        url = gone.url

    error = refused(Notify(url=f"{url}?token=s3cret"))

    assert error.why == "Connection refused"
    assert error.max_tries == notify.MAX_WEBHOOK_TRIES


def test_this_machine_is_reached_without_the_proxy(hook, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    sent(Notify(url=hook.url))

    assert len(hook.requests) == 1


def test_nothing_leaves_this_machine_in_the_clear():
    assert refused(Notify(url="http://example.com/hook")).max_tries == 0


def test_a_command_gets_the_body_and_the_facts_but_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "s3cret")
    monkeypatch.setenv("TUNER_API_KEY", "s3cret")
    monkeypatch.setenv("KEPT", "yes")

    notice = sent(Notify(command=f"cat > {tmp_path}/body; env > {tmp_path}/env; exit 0"))

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


def test_a_command_may_leave_the_body_unread():
    sent(Notify(command="true"))


def test_a_command_that_fails_is_tried_once_more():
    error = refused(Notify(command="exit 3"))

    assert (error.why, error.max_tries) == ("it ended with 3", 2)


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(notify, "COMMAND_TIMEOUT_S", 0.2)
    late = tmp_path / "late"

    error = refused(Notify(command=f"(sleep 1; touch {late}) & echo $! > {tmp_path}/pid; wait"))

    assert "took longer" in error.why
    pid = (tmp_path / "pid").read_text().strip()
    assert run(["ps", "-o", "stat=", "-p", pid], capture_output=True, check=False).stdout[:1] in (
        b"",
        b"Z",
    )


def test_the_body_is_json_with_a_version(hook):
    sent(Notify(url=hook.url))

    assert json.loads(hook.requests[0][1])["version"] == 1


@pytest.mark.slow
def test_a_certificate_that_nobody_vouches_for_gets_nothing(tmp_path):
    _, (pair,) = authority_and_pairs("localhost")
    (tmp_path / "both.pem").write_bytes(pair.key + pair.certificate)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "both.pem")

    with listening(tls) as hook:
        error = refused(Notify(url=hook.url.replace("http://127.0.0.1", "https://localhost")))

    assert "CERTIFICATE_VERIFY_FAILED" in error.why
    assert hook.requests == []


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "a" * 3_000_000])
def test_a_command_that_cannot_be_started_is_a_notice_that_was_not_delivered(name):
    body = json.dumps(
        {"event": "done", "job": name, "tuned_model": "tunedModels/x", "phase": "DONE"}
    )
    notice = Notification("id", "local", "tunedModels/x", "sink", body)

    with pytest.raises(NotDelivered, match="it cannot be started"):
        asyncio.run(notify.send(Notify(command="true"), notice))
