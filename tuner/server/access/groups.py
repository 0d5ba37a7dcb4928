"""Making and changing groups from the command line, while a service runs or not."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from tuner.errors import AlreadyExists, NotFound
from tuner.server.access.addresses import check_emails
from tuner.server.store import groups
from tuner.server.store.database import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tuner.server.store.database import Transaction
    from tuner.server.store.groups import GroupRow


def create(
    folder: Path, group: str, people: Sequence[str] = (), database: str | None = None
) -> None:
    """Make a group; a running service knows it within a second.

    Raises:
        InvalidInput: An address is none.
        AlreadyExists: There is such a group.
        StoreFailed: The database cannot be used.
    """
    check_emails(group, *people)
    with _explaining(group), closing(open_store(folder, database)) as store:
        store.run(_create, group, people, _now_ms())


def add(folder: Path, group: str, people: Sequence[str], database: str | None = None) -> None:
    """Put people into a group, all of them or none.

    Raises:
        InvalidInput: An address is none.
        NotFound: There is no such group.
        AlreadyExists: Somebody is a member.
        StoreFailed: The database cannot be used.
    """
    check_emails(group, *people)
    with _explaining(group), closing(open_store(folder, database)) as store:
        store.run(_add, group, people, _now_ms())


def remove(folder: Path, group: str, people: Sequence[str], database: str | None = None) -> None:
    """Take people out of a group, all of them or none.

    Raises:
        NotFound: There is no such group, or somebody is no member.
        StoreFailed: The database cannot be used.
    """
    with closing(open_store(folder, database)) as store:
        store.run(_remove, group, people)


def delete(folder: Path, group: str, database: str | None = None) -> None:
    """End a group. Permissions given to it stay, and count for nobody.

    Raises:
        NotFound: There is no such group.
        StoreFailed: The database cannot be used.
    """
    with closing(open_store(folder, database)) as store:
        if not store.run(groups.dissolve, group):
            raise _unknown(group)


def listed(folder: Path, database: str | None = None) -> list[GroupRow]:
    """Every group with its members. Raises StoreFailed."""
    with closing(open_store(folder, database)) as store:
        return store.run(groups.all_groups)


def _create(connection: Transaction, group: str, people: Sequence[str], now_ms: int) -> None:
    groups.create(connection, group, now_ms)
    _add(connection, group, people, now_ms)


def _add(connection: Transaction, group: str, people: Sequence[str], now_ms: int) -> None:
    if not groups.exists(connection, group):
        raise _unknown(group)
    groups.add(connection, group, people, now_ms)


def _remove(connection: Transaction, group: str, people: Sequence[str]) -> None:
    if not groups.exists(connection, group):
        raise _unknown(group)
    for person in people:
        if not groups.remove(connection, group, person):
            what = f"{person} is not in the group {group}"
            raise NotFound(what, "`tuner groups list` shows who is; nobody was removed")


@contextmanager
def _explaining(group: str) -> Iterator[None]:
    try:
        yield
    except groups.GroupExists as error:
        fix = f"`tuner groups add {group} EMAIL` adds members"
        raise AlreadyExists(f"there is a group {group}", fix) from error
    except groups.IsMember as error:
        fix = "leave them out; nobody was added"
        raise AlreadyExists(f"{error} is in the group {group} already", fix) from error


def _unknown(group: str) -> NotFound:
    fix = f"make it with `tuner groups create {group}`; `tuner groups list` shows all"
    return NotFound(f"there is no group {group}", fix)


def _now_ms() -> int:
    return int(time.time() * 1000)
