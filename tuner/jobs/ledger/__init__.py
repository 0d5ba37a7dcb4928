"""The ledger: a bookmark for every job, in one SQLite file.

It may be deleted at any time: the service is asked what is true before anything is changed.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from tuner import home
from tuner.job import Evaluation, Interval, Job
from tuner.jobs.ledger import claims
from tuner.jobs.ledger.answers import Kept, forget_answers, keep_rows, rows_of
from tuner.jobs.ledger.commits import Commits
from tuner.jobs.ledger.notices import insert
from tuner.jobs.ledger.schema import VERSION
from tuner.jobs.ledger.store import Store, nothing
from tuner.types import Phase, TargetConfig

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from tuner.job import Judged
    from tuner.jobs.ledger.claims import Claim, Holder, Me
    from tuner.jobs.ledger.notices import Notice

__all__ = ["VERSION", "Bookmark", "Ledger", "open_ledger"]

_SAVE = """
INSERT OR REPLACE INTO job (target, tuned_model, name, phase, updated, body)
VALUES (?, ?, ?, ?, ?, ?)
"""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A job and when it was last written down, seconds since 1970."""

    job: Job
    updated: float


class Ledger:
    """An open ledger; use it as a context manager.

    Raises:
        TunerError: From every method: the file is damaged, cannot be written, or comes from a
            newer tuner.
    """

    def __init__(
        self, path: Path, clock: Callable[[], float], around: Callable[[str], None] = nothing
    ) -> None:
        """Open the file, making it when there is none; ``clock`` gives seconds since 1970.

        ``around`` is told of the moments of every transaction, as ``Store`` says.
        """
        self.store = Store(path, around)
        self._commits = Commits(self.store)
        self._clock = clock

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.store.close()

    def save(self, job: Job, *, claim: Claim | None = None, notices: Sequence[Notice] = ()) -> Job:
        """Write ``job`` down so that it survives a crash, and return it.

        The rows of a fresh evaluation, and ``notices`` of the end, are in the same transaction.

        Raises:
            Superseded: ``claim`` is another runner's by now; nothing is written.
        """
        with self.store.transaction() as db:
            self._save(db, job, claim, notices)
        return job

    async def saved(
        self, job: Job, *, claim: Claim | None = None, notices: Sequence[Notice] = ()
    ) -> None:
        """As ``save``, in one transaction with what other jobs write in the same moment."""
        await self._commits.made(lambda db: self._save(db, job, claim, notices))

    def begin(
        self, job: Job, me: Me, is_gone: Callable[[Holder], bool] | None = None
    ) -> Claim | Holder:
        """Claim ``job``, as ``claims.take``, and write it down when it was to be had.

        Nobody works on a job that has ended, whoever had it last, unless a pipeline may still have
        to delete what it beat.
        """
        with self.store.transaction() as db:
            return self._begin(db, job, me, is_gone)

    async def begun(
        self, job: Job, me: Me, is_gone: Callable[[Holder], bool] | None = None
    ) -> Claim | Holder:
        """As ``begin``, in one transaction with what other jobs write in the same moment."""
        return await self._commits.made(lambda db: self._begin(db, job, me, is_gone))

    def note(self, jobs: Iterable[tuple[Job, Claim | None]]) -> None:
        """Write down the progress of many in one transaction; losing it costs nothing.

        A job that another runner has is left as that one has it; without a claim, any other.
        """
        with self.store.transaction() as db:
            for job, claim in jobs:
                if claims.may_write(db, job.where, job.tuned_model, claim):
                    db.execute(_SAVE, self._row(job))

    def find(self, where: str, tuned_model: str) -> Job | None:
        """The bookmark of one tuned model on one target (``Job.where``)."""
        found = self._select("WHERE target = ? AND tuned_model = ?", (where, tuned_model))
        return found[0].job if found else None

    def jobs(self, *named: str) -> list[Bookmark]:
        """All bookmarks, the latest first; or those with a job's name, model id or model name."""
        if not named:
            return self._select("", ())
        marks = ", ".join("?" * len(named))
        full = tuple(f"tunedModels/{name}" for name in named)
        where = f"WHERE name IN ({marks}) OR tuned_model IN ({marks}) OR tuned_model IN ({marks})"
        return self._select(where, (*named, *named, *full))

    def forget(self, job: Job) -> None:
        """Remove a bookmark; the service keeps what it has."""
        with self.store.transaction() as db:
            db.execute(
                "DELETE FROM job WHERE target = ? AND tuned_model = ?",
                (job.where, job.tuned_model),
            )
            forget_answers(db, job)

    def rows(self, job: Job) -> tuple[Judged, ...]:
        """The held-out rows of its evaluation as both models answered them; none when not kept."""
        return rows_of(self.store, job)

    def whole(self, job: Job) -> Job:
        """``job`` with the held-out rows of its evaluation, which an earlier run may have asked."""
        if job.evaluation is None or job.evaluation.rows:
            return job
        return replace(job, evaluation=replace(job.evaluation, rows=self.rows(job)))

    def answers(self, where: str) -> Kept:
        """What the models of one target (``Job.where``) answered so far."""
        return Kept(self.store, self._commits, where)

    def _save(
        self, db: sqlite3.Connection, job: Job, claim: Claim | None, notices: Sequence[Notice]
    ) -> None:
        if claim is not None:
            claims.confirm(db, claim)
        db.execute(_SAVE, self._row(job))
        keep_rows(db, job)
        if notices:
            insert(db, notices)

    def _begin(
        self,
        db: sqlite3.Connection,
        job: Job,
        me: Me,
        is_gone: Callable[[Holder], bool] | None,
    ) -> Claim | Holder:
        is_over = _is_over(db, job)
        gone = (lambda _: True) if is_over else is_gone
        claim = claims.taken(db, job.where, job.tuned_model, me, gone)
        if isinstance(claim, claims.Claim):
            claim = claim._replace(former=None) if is_over else claim
            db.execute(_SAVE, self._row(job))
            keep_rows(db, job)
        return claim

    def _row(self, job: Job) -> tuple[str | float, ...]:
        body = json.dumps(_body(job))
        return (job.where, job.tuned_model, job.name, job.phase, self._clock(), body)

    def _select(self, where: str, values: tuple[str, ...]) -> list[Bookmark]:
        query = f"SELECT phase, updated, body FROM job {where} ORDER BY updated DESC"  # noqa: S608 -- where is one of three constants above
        found = self.store.rows(query, values)
        with self.store.explained:
            return [Bookmark(_job(phase, body), updated) for phase, updated, body in found]


def _is_over(db: sqlite3.Connection, job: Job) -> bool:
    found = db.execute(
        "SELECT phase FROM job WHERE target = ? AND tuned_model = ?", (job.where, job.tuned_model)
    ).fetchone()
    phase = Phase(found[0]) if found else job.phase
    return phase.is_end and phase is not Phase.NOT_SELECTED


def open_ledger() -> Ledger:
    """This person's own."""
    return Ledger(home.ledger_file(), time.time)


def _body(job: Job) -> dict[str, Any]:
    """What is written of a job beside the columns; asdict would copy every part of every part."""
    body = {name: getattr(job, name) for name in _JOB}
    body["target"] = _target(job.target)
    if job.evaluation is not None:
        body["evaluation"] = {name: getattr(job.evaluation, name) for name in _EVALUATION}
        if job.evaluation.interval is not None:
            body["evaluation"]["interval"] = asdict(job.evaluation.interval)
    return body


_JOB = tuple(each.name for each in fields(Job) if each.name != "phase")
_EVALUATION = tuple(each.name for each in fields(Evaluation) if each.name != "rows")


@lru_cache
def _target(config: TargetConfig) -> dict[str, Any]:
    return asdict(config)


def _job(phase: str, body: str) -> Job:
    known: dict[str, Any] = json.loads(body)
    known["phase"] = Phase(phase)
    known["overrides"] = tuple(known["overrides"])
    known["target"] = TargetConfig(**known["target"])
    known["evaluation"] = _evaluation(known["evaluation"])
    return Job(**known)


def _evaluation(known: dict[str, Any] | None) -> Evaluation | None:
    if known is None:
        return None
    interval = Interval(**known["interval"]) if known["interval"] else None
    return Evaluation(**(known | {"interval": interval}))
