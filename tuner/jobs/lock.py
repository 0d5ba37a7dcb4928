"""Who works on what: leases in the ledger, so that of two runners one acts and the other watches.

A runner raises its counter, its beat, as long as it lives. Nobody compares clocks: a watcher sees a
beat stand still while its own monotonic clock goes on, so that a wall clock may jump as it likes.
Every taking over raises the claim's epoch, and a runner that slept meanwhile finds out before it acts.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from tuner.errors import Superseded, TunerError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from tuner.jobs.store import Store

    # runner, epoch; then host, pid, started and beat, as far as the runner is known
    Found = tuple[str, int, str | None, int | None, str | None, int | None]

    from tuner.job import Job

BEAT_S = 2.0
LEASE_S = 10.0
PIPELINE = "pipeline"

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NUMBERS = Path("/proc/self/ns/pid")
_BEAT = """
INSERT INTO runner (id, host, pid, started, beat) VALUES (?, ?, ?, ?, 1)
ON CONFLICT (id) DO UPDATE SET beat = beat + 1
"""
_HOLDER = """
SELECT claim.runner, claim.epoch, runner.host, runner.pid, runner.started, runner.beat
FROM claim LEFT JOIN runner ON runner.id = claim.runner WHERE scope = ? AND name = ?
"""
_TAKE = "INSERT OR REPLACE INTO claim (scope, name, runner, epoch) VALUES (?, ?, ?, ?)"


class Me(NamedTuple):
    """One runner: a session of a process. ``host`` names the machine and its boot."""

    id: str
    host: str
    pid: int
    started: str


class Holder(NamedTuple):
    """Another runner that has it; ``beat`` is the last seen of it, -1 for none."""

    runner: str
    host: str
    pid: int
    started: str
    beat: int

    def __str__(self) -> str:
        """Where it runs, for people."""
        return f"process {self.pid} on {self.host.partition(' ')[0]}" if self.pid else "another run"


class Claim(NamedTuple):
    """What a runner has taken: a tuned model of a target (``Job.where``), or a pipeline.

    ``former`` is from whom it was taken over, None when it was free.
    """

    scope: str
    name: str
    epoch: int
    me: Me
    former: Holder | None = None


def register(store: Store) -> Me:
    """A new runner, known to the ledger from now on."""
    me = Me(secrets.token_hex(8), _host(), os.getpid(), _started(os.getpid()))
    with store.transaction() as db:
        # those that were killed, and whose jobs others have by now
        db.execute("DELETE FROM runner WHERE id NOT IN (SELECT runner FROM claim)")
        db.execute(_BEAT, me)
    return me


def beat(store: Store, me: Me) -> None:
    """Say that this runner lives."""
    with store.transaction() as db:
        db.execute(_BEAT, me)


def take(
    store: Store,
    scope: str,
    name: str,
    me: Me,
    *,
    is_gone: Callable[[Holder], bool] | None = None,
) -> Claim | Holder:
    """Claim it, or tell who has it.

    It is free when nobody has it, when its holder is this runner, when its holder's process is
    gone from this machine, or when ``is_gone`` says so.
    """
    with store.transaction() as db:
        return taken(db, scope, name, me, is_gone)


def taken(
    db: sqlite3.Connection,
    scope: str,
    name: str,
    me: Me,
    is_gone: Callable[[Holder], bool] | None = None,
) -> Claim | Holder:
    """As ``take``, inside a transaction."""
    found = db.execute(_HOLDER, (scope, name)).fetchone()
    other = _holder(found)
    if other is not None and other.runner == me.id:
        other = None
    if other is not None and is_alive(other) and not (is_gone is not None and is_gone(other)):
        return other
    epoch = found[1] + 1 if found else 1
    db.execute("INSERT OR IGNORE INTO runner VALUES (?, ?, ?, ?, 1)", me)
    db.execute(_TAKE, (scope, name, me.id, epoch))
    return Claim(scope, name, epoch, me, other)


def take_pipeline(
    store: Store, pipeline: str, me: Me, *, is_gone: Callable[[Holder], bool] | None = None
) -> Claim | Holder:
    """Claim a pipeline by its id, as ``take``."""
    return take(store, PIPELINE, pipeline, me, is_gone=is_gone)


def holder(store: Store, scope: str, name: str) -> Holder | None:
    """Who has it, alive or not; None when it is free."""
    found = store.query(_HOLDER, (scope, name))
    return _holder(cast("Found", found[0]) if found else None)


def check(store: Store, claim: Claim) -> None:
    """Make sure that the claim still holds.

    Raises:
        Superseded: Another runner took it over.
    """
    found = store.query(_HOLDER, (claim.scope, claim.name))
    if found:
        _compare(claim, cast("Found", found[0]))
    else:
        with store.transaction() as db:
            confirm(db, claim)


def confirm(db: sqlite3.Connection, claim: Claim) -> None:
    """As ``check``, inside a transaction; in a ledger begun anew the claim is made again.

    Raises:
        Superseded: Another runner took it over.
    """
    found = db.execute(_HOLDER, (claim.scope, claim.name)).fetchone()
    if found:
        _compare(claim, found)
    else:
        db.execute(_BEAT, claim.me)
        db.execute(_TAKE, (claim.scope, claim.name, claim.me.id, claim.epoch))


def may_write(db: sqlite3.Connection, scope: str, name: str, claim: Claim | None) -> bool:
    """Whether it is free, or held by ``claim``; inside a transaction."""
    found = db.execute(_HOLDER, (scope, name)).fetchone()
    if claim is not None and found:
        return (found[0], found[1]) == (claim.me.id, claim.epoch)
    return claim is not None or _holder(found) is None


def release(store: Store, me: Me) -> None:
    """Give back all that this runner has; one that was killed leaves it to be taken over."""
    with store.transaction() as db:
        db.execute("UPDATE claim SET runner = '' WHERE runner = ?", (me.id,))
        db.execute("DELETE FROM runner WHERE id = ?", (me.id,))


def is_alive(holder: Holder) -> bool:
    """Whether its process may live: only one of this machine and boot can be seen to be gone."""
    if holder.host != _host() or not holder.started:
        return True
    return _started(holder.pid) == holder.started


class Watch:
    """Sees whether a holder's beat stands still, on this watcher's own clock."""

    def __init__(self, now: Callable[[], float], lease_s: float = LEASE_S) -> None:
        """``now`` counts seconds and never goes back."""
        self._now, self._lease_s = now, lease_s
        self._seen: Holder | None = None
        self._since = now()

    def is_gone(self, holder: Holder) -> bool:
        """Whether the holder's process is gone, or it has not moved for a whole lease."""
        if holder != self._seen:
            self._seen, self._since = holder, self._now()
        return not is_alive(holder) or self._now() - self._since >= self._lease_s


def _compare(claim: Claim, found: Found) -> None:
    if (found[0], found[1]) != (claim.me.id, claim.epoch):
        now = _holder(found)
        raise Superseded(
            f"{now or 'another run'} took {claim.name} over, and goes on with it",
            "`tuner status` shows how far it is",
        )


def _holder(found: Found | None) -> Holder | None:
    if not found or not found[0]:
        return None
    runner, _, host, pid, started, beat = found
    return Holder(runner, host or "", pid or 0, started or "", beat=-1 if beat is None else beat)


@cache
def _host() -> str:
    """Where a process's number means anything: the machine since its boot, and the container."""
    boot = _BOOT.read_text(encoding="ascii").strip() if _BOOT.exists() else ""
    numbers = _NUMBERS.readlink() if _NUMBERS.exists() else ""
    return f"{socket.gethostname()} {boot} {numbers}"


def _started(pid: int) -> str:
    """When a process started, as the kernel counts; empty when it is gone or cannot be told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name in brackets may hold anything
    return "" if fields[0] == "Z" else fields[19]


class Times(NamedTuple):
    """How often a runner says that it lives, is looked after, and is given up."""

    beat_s: float = BEAT_S
    look_s: float = 1.0
    lease_s: float = LEASE_S


class Leases:
    """The claims of one session; a runner for the ledger from the first of them on."""

    def __init__(
        self, ledger: Store, now: Callable[[], float], on_beat: Callable[[], None], times: Times
    ) -> None:
        """``now`` counts seconds and never goes back; ``on_beat`` is called before every beat."""
        self._ledger, self._now, self._on_beat, self.times = ledger, now, on_beat, times
        self._me: Me | None = None
        self._beats: asyncio.Task[None] | None = None
        self._held: dict[tuple[str, str], tuple[Claim, Job]] = {}

    @property
    def me(self) -> Me:
        """This session as a runner."""
        if self._me is None:
            self._me = register(self._ledger)
            self._beats = asyncio.create_task(self._beat())
        return self._me

    async def begin(self, job: Job, watch: Watch | None = None) -> Claim | Holder:
        """Claim ``job`` and write it down, or tell who has it."""
        key = (job.where, job.tuned_model)
        held = self._held.get(key)
        if held is not None and held[1] == job:
            return held[0]
        claim = await self._ledger.begun(job, self.me, watch.is_gone if watch else None)
        if isinstance(claim, Claim):
            self.wrote(job, claim)
        return claim

    def wrote(self, job: Job, claim: Claim) -> None:
        """``job`` is in the ledger, as ours."""
        self._held[job.where, job.tuned_model] = (claim, job)

    def known(self, job: Job) -> Job | None:
        """As we wrote it last; None when it is not ours."""
        held = self._held.get((job.where, job.tuned_model))
        return held[1] if held else None

    def lost(self, job: Job) -> None:
        """Another runner has it."""
        self._held.pop((job.where, job.tuned_model), None)

    def watch(self) -> Watch:
        """To see whether another runner is gone."""
        return Watch(self._now, self.times.lease_s)

    async def close(self) -> None:
        """Give back what was taken."""
        if self._beats is not None and self._me is not None:
            self._beats.cancel()
            await asyncio.gather(self._beats, return_exceptions=True)
            with suppress(TunerError):  # then it looks like a crash, and is succeeded as one
                release(self._ledger, self._me)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.times.beat_s)
            with suppress(TunerError):  # whoever writes next hears of it
                self._on_beat()
                beat(self._ledger, self.me)
