"""The tuning service on this machine: found by its address file, or started."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import InvalidInput, Problem, Unavailable
from tuner.home import home, service_folder
from tuner.targets.auth import ANONYMOUS, LOCAL_KEYS, connect, find_key, named_key, parse_endpoint
from tuner.targets.google import GoogleTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuner.targets.auth import Identity
    from tuner.types import TargetConfig

ATTEMPTS = 3


async def open_local(config: TargetConfig) -> GoogleTarget:
    """Connect to the spec's endpoint, or to this user's local service. Raises TunerError."""
    identity = _identity(config)
    if config.endpoint:
        return _connect(config.endpoint, identity)
    stale = None
    address = read_address()
    address = address if address and _is_running(address.pid) else None
    for _ in range(ATTEMPTS):
        address = address or await ensure_service(stale, lambda text: sys.stderr.write(f"{text}\n"))
        target = _connect(address.grpc, identity, address.ca)
        if await _answers(target, is_tls=address.grpc.startswith("https:")):
            return target
        await target.close()
        stale, address = address, None
    raise Unavailable("the local tuning service stops right after it starts", f"see {_log()}")


def _identity(config: TargetConfig) -> Identity:
    """Return the API key, if set; a service without keys accepts every caller as its owner."""
    if config.api_key_env:
        return named_key(config.api_key_env)
    return find_key(LOCAL_KEYS) or ANONYMOUS


def _connect(endpoint: str, identity: Identity, ca: str = "") -> GoogleTarget:
    roots = Path(ca).read_bytes() if ca else None
    return GoogleTarget(connect("local", parse_endpoint(endpoint), identity, roots))


async def _answers(target: GoogleTarget, *, is_tls: bool) -> bool:
    """Return whether the service answers; raise the error of a service with TLS."""
    try:
        await target.check_reachable()
    except Unavailable:
        if is_tls:
            await target.close()
            raise
        return False
    except BaseException:
        await target.close()
        raise
    return True


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


LARGE_LOG_BYTES = 4_000_000
IDLE_EXIT_S = 600
START_TIMEOUT_S = 120.0
SLOW_START_S = 2.0
POLL_S = 0.05
NEEDED = (
    "alembic", "cryptography", "gguf", "grpc_health", "grpc_reflection", "httptools", "llguidance",
    "orjson", "prometheus_client", "safetensors", "sqlalchemy", "tokenizers", "torch", "uvicorn",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a service, its process, and its CA certificate file, if any."""

    grpc: str
    pid: int
    ca: str = ""


def read_address() -> Address | None:
    """Return the content of the address file, which may be outdated."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads((service_folder() / "address.json").read_text())
        endpoint, pid = str(content["grpc"]), int(content["pid"])
        scheme = "https://" if content.get("tls") else ""
        return Address(f"{scheme}{endpoint}", pid, content.get("ca") or "")
    return None


def is_live() -> bool:
    """Return whether a service runs: it holds its lock until it ends, even if it is killed."""
    try:
        with (service_folder() / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


async def ensure_service(stale: Address | None, show: Callable[[str], object]) -> Address:
    """Return the address of a live service other than ``stale``; start one if there is none.

    ``show`` is called once if the start takes long. Raises InvalidInput or Unavailable.
    """
    service_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + START_TIMEOUT_S
    with _start_lock() as locked:
        while not locked():
            _check_deadline(deadline)
            await asyncio.sleep(POLL_S)
        return await _start(stale, show, deadline)


async def _start(stale: Address | None, show: Callable[[str], object], deadline: float) -> Address:
    process: subprocess.Popen[bytes] | None = None
    log_bytes = 0
    slow = time.monotonic() + SLOW_START_S
    try:
        while True:
            # do not test the lock while our child starts: the child could fail to get it
            if (process is None or process.poll() is not None) and not is_live():
                if process:
                    raise _died(process.returncode, log_bytes)
                log_bytes = _rotate_log()
                stale, process = read_address(), _spawn()
            address = read_address()
            if address and address != stale:
                return address
            if slow and time.monotonic() > slow:
                slow = 0.0
                show(f"starting the local tuning service (it writes to {_log()})")
            _check_deadline(deadline)
            await asyncio.sleep(POLL_S)
    finally:
        if process:
            process.returncode = (
                process.returncode or 0
            )  # Popen warns about children that run longer than it exists


@contextmanager
def _start_lock() -> Iterator[Callable[[], bool]]:
    """Yield a function that tries to take the lock, which is released at the end of the block."""
    with (service_folder() / "start.lock").open("wb") as file:

        def take() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        yield take


def _spawn() -> subprocess.Popen[bytes]:
    """Start a service that Ctrl-C does not reach and that outlives this process."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        what = f"tuning on this machine needs {', '.join(missing)}, which is not installed"
        fix = "pip install 'tuner[local]', or use `target: gemini`"
        raise InvalidInput([Problem("", 0, 0, what, fix, rule="missing-extra")])
    with _log().open("ab") as log:
        return subprocess.Popen(
            _command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home(),
            env=os.environ | {"TUNER_HOME": str(home())},
            start_new_session=True,
        )


def _command() -> list[str]:
    # -P: a folder named ``tuner`` in the working directory is not imported in place of this package
    command = [sys.executable, "-P", "-m", "tuner", "serve", "--home", str(home())]
    return [
        *command,
        *("--grpc", "127.0.0.1:0", "--rest", "127.0.0.1:0", "--idle-exit", str(IDLE_EXIT_S)),
    ]


def _check_deadline(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise Unavailable(
            f"the local tuning service does not answer after {START_TIMEOUT_S:.0f} s",
            f"see {_log()}; `tuner serve --stop` stops it; then try again",
        )


def _rotate_log() -> int:
    """Rotate a large log and return its size in bytes."""
    log = _log()
    if log.exists() and log.stat().st_size > LARGE_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return log.stat().st_size if log.exists() else 0


def _died(code: int, log_bytes: int) -> Unavailable:
    lines = _log().read_bytes()[log_bytes:].decode(errors="replace").strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    last = (errors or lines or [f"it ended with code {code} and no message"])[-1]
    what = f"the local tuning service did not start: {last.removeprefix('error: ')}"
    return Unavailable(what, f"see {_log()}")


def _log() -> Path:
    return service_folder() / "serve.log"
