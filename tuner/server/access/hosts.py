"""Where a door listens, and whether others than this machine can reach it there."""

from __future__ import annotations

import ipaddress
import re

from tuner.errors import InvalidInput, Problem

MAX_PORT = 65535
_ADDRESS = re.compile(r"(?:(\[[0-9a-fA-F:]+\]|[^:\s\[\]]+):)?(\d{1,5})")
_EVERYWHERE = ("0.0.0.0", "[::]")  # noqa: S104  (named, not listened on)
_HOST = re.compile(r"\[?([^\[\]]*?)\]?(:\d*)?")


def checked(address: str, option: str) -> str:
    """``host:port``; a port alone means 127.0.0.1. Raises InvalidInput where ``option`` names none."""
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found[2]) > MAX_PORT:
        fix = "write host:port, as in 127.0.0.1:50051 or [::]:50051"
        raise InvalidInput([Problem("", 0, 0, f"{option} {address}: no address", fix)])
    return f"{found[1] or '127.0.0.1'}:{found[2]}"


def from_here(address: str) -> str:
    """What to write on this machine to reach a door: one that is open everywhere is at localhost."""
    host, _, port = address.rpartition(":")
    return f"localhost:{port}" if host in _EVERYWHERE else address


def is_loopback(address: str) -> bool:
    """Whether a host, with its port or without, is this machine to itself alone.

    Names other than localhost are not: who knows what they mean on the next start.
    """
    found = _HOST.fullmatch(address)
    host = found[1].lower() if found else ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
