"""Notifications: a signed webhook or a command is informed that a job ended, at least once."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import signal
import ssl
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

from tuner.errors import Cancelled, GateNotMet, TunerError, TuningFailed
from tuner.events.events import Event, EventKind
from tuner.formatting import format_time
from tuner.targets.retry import jittered
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import httpx

    from tuner.events.events import EventHandler
    from tuner.job import Evaluation, Job
    from tuner.jobspec.schema import Notify

PENDING, DELIVERED, ABANDONED = "due", "told", "refused"
"""States of a notification, as the store writes them."""
RETRY_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
CLOSE_TIMEOUT_S = 10.0
WEBHOOK_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0
MAX_WEBHOOK_TRIES = 24  # about four runs, so that an unreachable receiver does not delay every run
MAX_COMMAND_TRIES = 2
MAX_RETRY_AFTER_S = 300.0
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
_RETRIED_STATUS = (408, 425, 429)
_EVENTS = {
    Phase.DONE: "done",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "failed",
    Phase.REJECTED: "rejected",
}
_EXIT_CODES = {
    Phase.FAILED: TuningFailed.exit_code,
    Phase.CANCELLED: Cancelled.exit_code,
    Phase.REJECTED: GateNotMet.exit_code,
}


class Notification(NamedTuple):
    """A message about a job to one receiver.

    Attributes:
        id: The same for every delivery of the same message, so that a receiver can drop repeats.
        target: Where the job runs, as ``Job.where``.
        tuned_model: The job's model.
        receiver: Where to send it, as JSON; names the variable of the secret, not the secret.
        body: JSON, as it is sent.
        tries: How often delivery failed.
    """

    id: str
    target: str
    tuned_model: str
    receiver: str
    body: str
    tries: int = 0


class NotificationStore(Protocol):
    """Keeps notifications until they are delivered."""

    def pending_notifications(self) -> list[Notification]:
        """Return those to deliver, in the order in which their jobs ended."""

    def mark_notification(self, notification: Notification, state: str) -> None:
        """Save a notification's state and number of tries."""

    def find(self, where: str, tuned_model: str) -> Job | None:
        """Return the job of a tuned model on a target."""


class Send(Protocol):
    """Delivers one notification once; raises NotDelivered."""

    async def __call__(self, receiver: Notify, notification: Notification) -> None:
        """Send it."""


class NotDelivered(Exception):
    """A receiver could not be notified.

    Attributes:
        why: The reason, without the receiver's address beyond its host name.
        max_tries: After so many tries the notification is abandoned.
        is_transient: Whether a retry in this run may help.
        retry_after_s: The pause that the receiver requested.
    """

    def __init__(
        self,
        why: str,
        *,
        max_tries: int = MAX_WEBHOOK_TRIES,
        is_transient: bool = True,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(why)
        self.why, self.max_tries = why, max_tries
        self.is_transient, self.retry_after_s = is_transient, retry_after_s


def notifications(
    job: Job, receivers: Sequence[Notify], at: float | None = None
) -> list[Notification]:
    """Return the notifications for the end of ``job``, to be saved with that end.

    The same end gives the same IDs; a retry is another attempt and gives new ones. The body has no
    text of an example, no error of a service, and no address of a receiver.

    Args:
        job: In an end phase; other phases give nothing.
        receivers: The spec's ``notify``.
        at: When it ended, seconds since 1970; by default now.
    """
    names = [_EVENTS[job.phase]] if job.phase in _EVENTS else []
    if job.phase is Phase.DONE and job.handed_to:
        names.append("transferred")
    when = time.time() if at is None else at
    return [
        Notification(
            _id(job, name, receiver),
            job.where,
            job.tuned_model,
            json.dumps([receiver.url, receiver.command, receiver.secret_env]),
            json.dumps({"version": 1, "event": name, **_body(job, name, when)}),
        )
        for name in names
        for receiver in receivers
        if name in receiver.on
    ]


def _id(job: Job, name: str, receiver: Notify) -> str:
    """Hash the end and the receiver; a new token in the URL's query is the same receiver."""
    url = receiver.url.partition("?")[0]
    whom = hashlib.sha256(json.dumps([url, receiver.command]).encode()).hexdigest()[:16]
    owner = job.handed_to if name == "transferred" else ""
    end = [job.where, job.tuned_model, name, job.attempt, owner, whom]
    return hashlib.sha256(json.dumps(end).encode()).hexdigest()[:32]


def _body(job: Job, name: str, when: float) -> dict[str, object]:
    body: dict[str, object] = {
        "time": format_time(when),
        "job": job.name,
        "label": job.label,
        "best_of": job.best_of or None,
        "target": job.where,
        "tuned_model": job.tuned_model,
        "phase": job.phase.value,
        "exit_code": _EXIT_CODES.get(job.phase, 0),
        "forced": job.is_forced,
        "scores": _scores(job.evaluation) if job.evaluation else None,
    }
    return body | ({"owner": job.handed_to} if name == "transferred" else {})


def _scores(evaluation: Evaluation) -> dict[str, object]:
    metric = evaluation.metric
    return {
        "metric": metric,
        "tuned": evaluation.tuned.get(metric),
        "base": evaluation.base.get(metric),
        "interval": asdict(evaluation.interval) if evaluation.interval else None,
        "rows": evaluation.count,
    }


async def send(receiver: Notify, notification: Notification) -> None:
    """Deliver a notification to its receiver, once.

    Raises:
        NotDelivered: The receiver cannot be reached, or refuses.
    """
    if receiver.command:
        await _run(receiver.command, notification)
    else:
        headers = _headers(receiver, notification, int(time.time()))
        await _post(receiver.url, notification.body.encode(), headers)


def _headers(receiver: Notify, notification: Notification, now: int) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"tuner/{sys.modules['tuner'].__version__}",
        "Tuner-Event": str(json.loads(notification.body)["event"]),
        "Tuner-Delivery": notification.id,
        "Tuner-Timestamp": str(now),
    }
    if receiver.secret_env:
        secret = os.environ.get(receiver.secret_env, "")
        if not secret:
            raise NotDelivered(f"{receiver.secret_env} is not set", is_transient=False)
        headers["Tuner-Signature"] = signature(secret.encode(), now, notification.body.encode())
    return headers


def signature(secret: bytes, timestamp: int, body: bytes) -> str:
    """Return ``t=TIMESTAMP,v1=HEX``: the HMAC-SHA256 of the timestamp, a full stop, and the body."""
    digest = hmac.new(secret, b"%d." % timestamp + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


async def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    """POST once. Redirects are not followed: the user may not trust their address."""
    import httpx

    host = urlsplit(url).hostname or ""
    if urlsplit(url).scheme != "https" and host not in LOOPBACK_HOSTS:
        raise NotDelivered("plain http is for this machine only", max_tries=0)
    try:
        async with (
            asyncio.timeout(WEBHOOK_TIMEOUT_S),
            httpx.AsyncClient(
                verify=ssl.create_default_context(),  # this machine's certificates
                trust_env=host not in LOOPBACK_HOSTS,  # no proxy for this machine
                timeout=WEBHOOK_TIMEOUT_S,
            ) as client,
        ):
            response = await client.post(url, content=body, headers=headers)
    except TimeoutError:
        raise NotDelivered("timed out") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise NotDelivered(_reason(error)) from None
    if not response.is_success:
        raise _refusal(response)


def _reason(error: BaseException) -> str:
    """Return the operating system's words for an error, which do not contain the URL."""
    found, cause = type(error).__name__, error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            is_of_the_system = (cause.errno or 0) > 0 and not isinstance(cause, ssl.SSLError)
            found = os.strerror(cause.errno or 0) if is_of_the_system else cause.strerror
        groups = getattr(cause, "exceptions", ())
        cause = groups[0] if groups else cause.__cause__ or cause.__context__  # type: ignore[assignment]
    return found


def _refusal(response: httpx.Response) -> NotDelivered:
    why = f"HTTP {response.status_code}"
    if response.status_code not in _RETRIED_STATUS and not response.is_server_error:
        return NotDelivered(why, max_tries=0)
    pause = response.headers.get("Retry-After", "")
    pause_s = float(pause) if pause.isascii() and pause.isdigit() else 0.0
    return NotDelivered(why, retry_after_s=min(pause_s, MAX_RETRY_AFTER_S))


async def _run(command: str, notification: Notification) -> None:
    """Run a shell command with the body on its standard input; its output is discarded."""
    try:
        process = await asyncio.create_subprocess_shell(
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=_environment(notification),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # no shell, or a value that the environment cannot hold
        why = getattr(error, "strerror", None) or type(error).__name__
        raise NotDelivered(f"it cannot be started: {why}", max_tries=MAX_COMMAND_TRIES) from None
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            await process.communicate(notification.body.encode() + b"\n")
    except TimeoutError:
        why = f"it took longer than {COMMAND_TIMEOUT_S:.0f} s"
        raise NotDelivered(why, max_tries=MAX_COMMAND_TRIES) from None
    finally:
        with suppress(ProcessLookupError):  # with all processes that it started
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode:
        why = f"it ended with {process.returncode}"
        raise NotDelivered(why, max_tries=MAX_COMMAND_TRIES)


def _environment(notification: Notification) -> dict[str, str]:
    """Return our environment without secrets, and with the facts of the notification."""
    secrets = ("_API_KEY", "_SECRET", "_TOKEN", "_PASSWORD")
    kept = {key: text for key, text in os.environ.items() if not key.upper().endswith(secrets)}
    body = json.loads(notification.body)
    facts = {"EVENT": "event", "JOB": "job", "MODEL": "tuned_model", "PHASE": "phase"}
    return kept | {f"TUNER_{name}": str(body[key]) for name, key in facts.items()}


class Outbox:
    """Delivers pending notifications in the background, while the jobs of a run go on.

    A delivery that is interrupted before it is marked is repeated, under the same ID. Each receiver
    gets its notifications in the order of the ends. A failure here does not fail a job.
    """

    def __init__(
        self,
        store: NotificationStore,
        emit: EventHandler,
        send: Send = send,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Deliver what ``store`` has; report failures to ``emit``."""
        self._store, self._emit = store, emit
        self._send, self._sleep = send, sleep
        self._failures: dict[str, str] = {}  # by receiver, the reason of its last failure
        self._postponed: set[str] = set()  # receivers that this run tries no more
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Start delivering in the background; call it when a job has ended."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self.deliver())

    async def close(self) -> None:
        """Deliver what is left, for at most ``CLOSE_TIMEOUT_S``; the rest is for the next run."""
        with suppress(TunerError):  # an unusable store has stopped the jobs already
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    if self._task:
                        await self._task
                    await self.deliver()
            except TimeoutError:
                self._report_rest()
            finally:
                if self._task:
                    self._task.cancel()

    async def deliver(self) -> None:
        """Deliver all pending notifications, to all receivers at once."""
        async with self._lock:
            while pending := self._deliverable():
                by_receiver: dict[str, list[Notification]] = {}
                for each in pending:
                    by_receiver.setdefault(each.receiver, []).append(each)
                await asyncio.gather(*map(self._deliver_in_order, by_receiver.values()))

    def _deliverable(self) -> list[Notification]:
        pending = self._store.pending_notifications()
        return [each for each in pending if each.receiver not in self._postponed]

    def _report_rest(self) -> None:
        """Report one line for each receiver that has notifications left."""
        for each in {each.receiver: each for each in reversed(self._deliverable())}.values():
            why = self._failures.get(each.receiver, "there was no time")
            self._report(each, f"{why}; the next run tries again")

    async def _deliver_in_order(self, queue: list[Notification]) -> None:
        for each in queue:
            if not await self._deliver(each):
                self._postponed.add(each.receiver)
                return

    async def _deliver(self, notification: Notification) -> bool:
        """Try until it is delivered or abandoned; False to leave it for the next run."""
        receiver = _receiver(notification)
        if receiver is None:
            self._abandon(notification, "another version of tuner recorded it")
            return True
        for pause_s in (*RETRY_PAUSES_S, None):
            try:
                await self._send(receiver, notification)
            except NotDelivered as error:
                notification = notification._replace(tries=notification.tries + 1)
                self._failures[notification.receiver] = error.why
                if notification.tries >= error.max_tries:
                    self._abandon(notification, error.why)
                    return True
                self._store.mark_notification(notification, PENDING)
                if pause_s is None or not error.is_transient:
                    self._report(notification, f"{error.why}; the next run tries again")
                    return False
                await self._sleep(max(error.retry_after_s, jittered(pause_s)))
            else:
                self._store.mark_notification(notification, DELIVERED)
                return True
        return False

    def _abandon(self, notification: Notification, why: str) -> None:
        self._store.mark_notification(notification, ABANDONED)
        self._report(notification, f"{why}; given up")

    def _report(self, notification: Notification, why: str) -> None:
        job = self._store.find(notification.target, notification.tuned_model)
        if job:
            sink = _display_name(_receiver(notification))
            self._emit(Event(EventKind.NOTIFICATION_FAILED, job, sink=sink, why=why))


def _receiver(notification: Notification) -> Notify | None:
    try:
        url, command, secret_env = json.loads(notification.receiver)
    except ValueError:
        return None
    from tuner.jobspec.schema import Notify  # pydantic is slow to import

    return Notify(url=url, command=command, secret_env=secret_env)


def _display_name(receiver: Notify | None) -> str:
    """Return a receiver's name for messages: only the host, since a URL may contain a token."""
    if receiver is None:
        return "a receiver"
    return "a command" if receiver.command else urlsplit(receiver.url).hostname or "a webhook"
