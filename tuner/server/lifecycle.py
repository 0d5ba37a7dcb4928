"""One service per folder: its lock, the file with its addresses, the start-up text, and `--stop`."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import IO, TYPE_CHECKING

from tuner.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tuner.engine import BaseModel

LOCK_TIMEOUT_S = 1.0  # another process may hold it briefly to test it
STOP_TIMEOUT_S = 60.0
POLL_S = 0.05
_CAPABILITIES = {
    "createTunedModel": "tunes",
    "generateContent": "generates",
    "embedContent": "embeds",
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of the service for this machine; ``ca`` is the CA certificate file to trust."""

    grpc: str
    rest: str | None = None
    tls: bool = False
    ca: str | None = None

    @property
    def url(self) -> str:
        """The base URL of REST."""
        return f"{'https' if self.tls else 'http'}://{self.rest}"


@contextmanager
def service_lock(folder: Path) -> Iterator[None]:
    """Lock the folder for one service. Raises Unavailable if another one has it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        if not _try_lock(file, LOCK_TIMEOUT_S):
            raise Unavailable(_holder(folder), "use that one, or stop it: tuner serve --stop")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def write_addresses(folder: Path, addresses: Addresses) -> None:
    """Write address.json atomically, for clients on this machine."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps(asdict(addresses) | {"pid": os.getpid(), "started": started})
    temporary = folder / "address.json.new"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / "address.json")


def remove_addresses(folder: Path) -> None:
    """Remove address.json, so that clients no longer find the service."""
    (folder / "address.json").unlink(missing_ok=True)


def stop(folder: Path) -> bool:
    """Stop the service of a folder and wait until it has ended; return False if none runs.

    Raises Unavailable if it does not end in time.
    """
    try:
        file = (folder / "lock").open("r+")
    except FileNotFoundError:
        return False
    with file:
        if _try_lock(file, 0):
            return False
        with suppress(ProcessLookupError):
            os.kill(_pid(folder), signal.SIGTERM)
        if not _try_lock(file, STOP_TIMEOUT_S):
            what = f"{_holder(folder)}, and it did not stop within {STOP_TIMEOUT_S:.0f} s"
            fix = f"kill -9 {_pid(folder)}: its tunings continue from their checkpoints"
            raise Unavailable(what, fix)
        remove_addresses(folder)
    return True


def startup_text(  # noqa: PLR0913  (one per line of the text)
    addresses: Addresses,
    models: Sequence[BaseModel],
    *,
    tls: str,
    has_keys: bool,
    exposed: Sequence[str],
    state: str,
    queued: int,
    home: Path,
) -> str:
    """Return the text a service prints when it is ready: models, addresses, and client code."""
    callers = (
        "those with an API key (`tuner keys list`)"
        if has_keys
        else "anyone on this machine, as owner@localhost, until `tuner keys create EMAIL`"
    )
    served = f"over gRPC on {addresses.grpc}"
    served += f" and REST on {addresses.url}" if addresses.rest else ""
    clients = [*_grpc_clients(addresses), *_rest_clients(addresses)]
    described = []
    for model in models:
        words = [word for method, word in _CAPABILITIES.items() if method in model.methods]
        described.append(f"{model.name.removeprefix('models/')} ({', '.join(words)})")
    return "\n".join(
        [
            f"tuner {version('tuner')}: google.ai.generativelanguage.v1beta {served}, {tls}",
            f"  models   {', '.join(described) or 'none'}",
            f"  callers  {callers}",
            *(f"  open     to other machines: {address}" for address in exposed),
            f"  state    {state}",
            f"  queue    {queued} tuning{'' if queued == 1 else 's'} to continue",
            *([f"  trust    export CA={addresses.ca}"] if addresses.ca else []),
            "  connect",
            *(f"    {client}\n      {line}" for client, line in clients),
            f"  stop     Ctrl-C, or tuner serve --stop --home {home}",
            "",
        ]
    )


def _grpc_clients(at: Addresses) -> list[tuple[str, str]]:
    """google-generativeai can use gRPC with TLS only."""
    if not at.tls:
        channel = f'grpc.aio.insecure_channel("{at.grpc}")'
        raw = f"ModelServiceGrpcAsyncIOTransport(channel={channel})"
        tuner = f"target: {{kind: local, endpoint: {at.grpc}}}"
        return [("tuner", tuner), ("google-ai-generativelanguage", raw)]
    trust = _export_ca("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", at)
    endpoint, key = f'"api_endpoint": "{at.grpc}"', '"api_key": "KEY"'
    raw = f"ModelServiceAsyncClient(client_options={{{endpoint}, {key}}})"
    legacy = f'genai.configure(api_key="KEY", client_options={{{endpoint}}})'
    return [
        ("tuner", f"{trust}target: {{kind: local, endpoint: https://{at.grpc}}}"),
        ("google-ai-generativelanguage", f"{trust}{raw}"),
        ("google-generativeai", f"{trust}{legacy}"),
    ]


def _rest_clients(at: Addresses) -> list[tuple[str, str]]:
    if at.rest is None:
        needs = "needs REST: start with --rest HOST:PORT"
        return [("google-generativeai, REST", needs), ("google-genai", needs)]
    curl = f"curl {'--cacert $CA ' if at.ca else ''}-H 'x-goog-api-key: KEY'"
    options = f'client_options={{"api_endpoint": "{at.url}"}}'
    legacy = f'genai.configure(api_key="KEY", transport="rest", {options})'
    genai = f'genai.Client(api_key="KEY", http_options={{"base_url": "{at.url}"}})'
    return [
        ("google-generativeai, REST", _export_ca("REQUESTS_CA_BUNDLE", at) + legacy),
        ("google-genai", _export_ca("SSL_CERT_FILE", at) + genai),
        ("curl", f"{curl} {at.url}/v1beta/models"),
    ]


def _export_ca(variable: str, at: Addresses) -> str:
    """Return a shell line that makes a client trust the service's certificate authority."""
    return f"export {variable}=$CA\n      " if at.ca else ""


def _try_lock(file: IO[str], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        else:
            return True


def _pid(folder: Path) -> int:
    text = (folder / "lock").read_text(encoding="utf-8").strip()
    if not text.isdigit():
        raise Unavailable(f"a service is starting in {folder}", "try again")
    return int(text)


def _holder(folder: Path) -> str:
    listens = ""
    with suppress(OSError, ValueError, KeyError):
        content = json.loads((folder / "address.json").read_text(encoding="utf-8"))
        listens = f" and listens on {content['grpc']}"
    return f"a service already runs in {folder}: process {_pid(folder)}{listens}"
