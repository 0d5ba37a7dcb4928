"""The same API on this machine: the service is found, or started when it is first needed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import Unavailable
from tuner.targets.connect import connect, parse_endpoint
from tuner.targets.credentials import LOCAL_KEYS, NOBODY, find_key, named_key
from tuner.targets.generativelanguage import GenerativeLanguage
from tuner.targets.service import ensure_service, read_address

if TYPE_CHECKING:
    from tuner.targets.credentials import Identity
    from tuner.types import TargetConfig

ATTEMPTS = 3


async def open_local(config: TargetConfig) -> GenerativeLanguage:
    """Connect to the endpoint the spec names, or to this person's own service.

    Raises:
        NotAllowed: The service asks for an API key, and there is none or a wrong one.
        Unavailable: The service does not start.
        InvalidInput: Its packages are not installed.
    """
    identity = _identity(config)
    if config.endpoint:
        return _connect(config.endpoint, identity)
    gone = None
    address = read_address()
    address = address if address and _is_running(address.pid) else None
    for _ in range(ATTEMPTS):
        address = address or await ensure_service(gone, _say)
        target = _connect(address.grpc, identity, address.ca)
        if await _answers(target, is_tls=address.grpc.startswith("https:")):
            return target
        await target.close()
        gone, address = address, None
    raise Unavailable("the local tuning service starts and stops again", "see its serve.log")


def _identity(config: TargetConfig) -> Identity:
    """A key only where somebody made one: without, the service takes everybody for its owner."""
    if config.api_key_env:
        return named_key(config.api_key_env)
    return find_key(LOCAL_KEYS) or NOBODY


def _connect(endpoint: str, identity: Identity, ca: str = "") -> GenerativeLanguage:
    roots = Path(ca).read_bytes() if ca else None
    return GenerativeLanguage(connect("local", parse_endpoint(endpoint), identity, roots))


async def _answers(target: GenerativeLanguage, *, is_tls: bool) -> bool:
    """Whether the service is there and stays: an idle one may be leaving as we come.

    One that speaks TLS was started on purpose: there is no other to start in its place.
    """
    try:
        await target.knock()
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
        return True
    return True


def _say(text: str) -> None:
    """Progress goes to stderr; nothing here knows of a live view."""
    sys.stderr.write(f"{text}\n")
