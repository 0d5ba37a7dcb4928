"""One notice sent to one receiver: a webhook, or a command of the user's own."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import signal
import time
from contextlib import suppress
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import Message
    from urllib.request import BaseHandler

    from tuner.jobs.store import Notification
    from tuner.jobspec.schema import Notify

POST_S = 10.0
COMMAND_S = 60.0
MOST_TRIES = 24  # four runs' worth: then a dead receiver delays nobody any more
COMMAND_TRIES = 2
LONGEST_RETRY_AFTER_S = 300.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PASSING = (408, 425, 429)


class NotDelivered(Exception):
    """A receiver was not told.

    Attributes:
        why: Without its address, beyond the host's name.
        tries: After so many it is given up.
        is_passing: Whether a little patience may help.
        retry_after_s: The wait that it asked for.
    """

    def __init__(
        self,
        why: str,
        *,
        tries: int = MOST_TRIES,
        is_passing: bool = True,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(why)
        self.why, self.tries = why, tries
        self.is_passing, self.retry_after_s = is_passing, retry_after_s


async def send(sink: Notify, notice: Notification) -> None:
    """Tell one receiver, once.

    Raises:
        NotDelivered: It could not be told, or would not listen.
    """
    if sink.command:
        await _run(sink, notice)
    else:
        request = headers(sink, notice, int(time.time()))
        await _beside(lambda: _post(sink.url, notice.body.encode(), request))


def headers(sink: Notify, notice: Notification, now: int) -> dict[str, str]:
    """What a POST says beside its body; ``now`` is in seconds since 1970.

    Raises:
        NotDelivered: There is no key to sign with.
    """
    said = {
        "Content-Type": "application/json",
        "User-Agent": f"tuner/{version('tuner')}",
        "Tuner-Event": str(json.loads(notice.body)["event"]),
        "Tuner-Delivery": notice.id,
        "Tuner-Timestamp": str(now),
    }
    if sink.secret_env:
        secret = os.environ.get(sink.secret_env, "")
        if not secret:
            raise NotDelivered(f"{sink.secret_env} is not set", is_passing=False)
        said["Tuner-Signature"] = signature(secret.encode(), now, notice.body.encode())
    return said


def signature(secret: bytes, timestamp: int, body: bytes) -> str:
    """``t=TIMESTAMP,v1=HEX``: the HMAC-SHA256 of the timestamp, a full stop, and the body."""
    digest = hmac.new(secret, b"%d." % timestamp + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, build_opener

    host = urlsplit(url).hostname or ""
    if urlsplit(url).scheme != "https" and host not in LOOPBACK:
        raise NotDelivered("only https leaves this machine", tries=0)
    request = Request(url, data=body, headers=headers, method="POST")  # noqa: S310 -- its scheme was just looked at
    try:
        with build_opener(*_handlers(host)).open(request, timeout=POST_S):
            return
    except HTTPError as error:
        with error:
            raise _refused(error.code, error.headers) from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        why = getattr(reason, "strerror", None) or type(reason).__name__
        raise NotDelivered(why) from None


def _handlers(host: str) -> list[BaseHandler]:
    """An answer is taken from whom was asked; this machine is reached without a proxy."""
    from urllib.request import HTTPRedirectHandler, ProxyHandler

    class Stay(HTTPRedirectHandler):
        """Redirects are refused: the next address need not be one the user trusts."""

        def redirect_request(self, *_: object) -> None:
            """None makes an error of it."""

    return [Stay(), *([ProxyHandler({})] if host in LOOPBACK else [])]


def _refused(code: int, headers: Message) -> NotDelivered:
    if code in _PASSING or code >= 500:  # noqa: PLR2004 -- HTTP's own
        asked = str(headers.get("Retry-After", ""))
        wait_s = float(asked) if asked.isascii() and asked.isdigit() else 0.0
        return NotDelivered(f"HTTP {code}", retry_after_s=min(wait_s, LONGEST_RETRY_AFTER_S))
    return NotDelivered(f"HTTP {code}", tries=0)


async def _run(sink: Notify, notice: Notification) -> None:
    """The user's own line, with the body on its standard input; what it prints goes nowhere."""
    try:
        process = await asyncio.create_subprocess_shell(
            sink.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=_environment(notice),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # nothing to run it with, or a name that is no text
        why = getattr(error, "strerror", None) or type(error).__name__
        raise NotDelivered(f"it cannot be started: {why}", tries=COMMAND_TRIES) from None
    try:
        async with asyncio.timeout(COMMAND_S):
            await process.communicate(notice.body.encode() + b"\n")
    except TimeoutError:
        raise NotDelivered(f"it took longer than {COMMAND_S:.0f} s", tries=COMMAND_TRIES) from None
    finally:
        with suppress(ProcessLookupError):  # what it left running goes with it
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode:
        raise NotDelivered(f"it ended with {process.returncode}", tries=COMMAND_TRIES)


def _environment(notice: Notification) -> dict[str, str]:
    """Ours without the keys, and what the notice is about."""
    told = json.loads(notice.body)
    kept = {name: value for name, value in os.environ.items() if not _is_secret(name)}
    about = {"EVENT": "event", "JOB": "job", "MODEL": "tuned_model", "PHASE": "phase"}
    return kept | {f"TUNER_{name}": str(told[key]) for name, key in about.items()}


def _is_secret(name: str) -> bool:
    return name.upper().endswith(("_API_KEY", "_SECRET", "_TOKEN", "_PASSWORD"))


async def _beside(work: Callable[[], None]) -> None:
    """``work`` in a thread that does not hold the process up when its time is over."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end(error: BaseException | None) -> None:
        if ended.done():  # nobody waits any more
            return
        if error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    def run() -> None:
        error = None
        try:
            work()
        except BaseException as raised:  # noqa: BLE001 -- it is raised again where it is awaited
            error = raised
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(end, error)

    Thread(target=run, name="tuner-notify", daemon=True).start()
    await ended
