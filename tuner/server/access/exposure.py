"""What a service must have before it listens where others can reach it: TLS, and keys."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from tuner.errors import InvalidInput, Problem
from tuner.server.access.hosts import is_loopback
from tuner.server.store import keys
from tuner.server.store.database import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.server.settings import Settings


def check(settings: Settings, folder: Path) -> None:
    """Nothing to say where only this machine can come in.

    Raises:
        InvalidInput: A door is open to others, and TLS or keys are missing.
        StoreFailed: The database cannot be used.
    """
    doors = exposed(settings)
    problems = [] if settings.tls else [_in_the_clear(door) for door in doors]
    if doors and not _has_key(settings, folder):
        what = f"{' and '.join(doors)}: others could reach the service, and it has no key in force"
        fix = "make one before: tuner keys create EMAIL"
        problems.append(Problem("", 0, 0, what, fix))
    if problems:
        raise InvalidInput(problems)


def exposed(settings: Settings) -> list[str]:
    """The doors that others can reach, as they were asked for."""
    doors = {"--grpc": settings.grpc, "--rest": settings.rest}
    return [
        f"{option} {address}"
        for option, address in doors.items()
        if address and not is_loopback(address)
    ]


def _in_the_clear(door: str) -> Problem:
    what = (
        f"{door}: others could reach the service there, and it would speak without TLS,"
        " so keys and examples could be read on the way"
    )
    fix = "add --tls CERT KEY; or listen on 127.0.0.1 and reach it through `ssh -L`"
    return Problem("", 0, 0, what, fix)


def _has_key(settings: Settings, folder: Path) -> bool:
    """A database that is not there yet holds none, and is not made to look."""
    if settings.database is None and not (folder / "service.db").exists():
        return False
    with closing(open_store(folder, settings.database)) as store:
        return store.run(keys.count_good) > 0
