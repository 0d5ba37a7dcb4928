"""The ledger: a bookmark for every job, in one SQLite file.

It may be deleted at any time: the service is asked what is true before anything is changed.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from tuner import home
from tuner.jobs.job import Evaluation, Interval, Job, Judged
from tuner.jobs.ledger.answers import Kept, forget_answers, keep_rows, rows_of
from tuner.jobs.ledger.schema import VERSION
from tuner.jobs.ledger.store import Store, nothing
from tuner.types import Phase, TargetConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

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
        self._clock = clock

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.store.close()

    def save(self, job: Job) -> Job:
        """Write ``job`` down so that it survives a crash, and return it."""
        self._write([job])
        return job

    def note(self, jobs: Iterable[Job]) -> None:
        """Write down the progress of many, in one transaction."""
        self._write(list(jobs))

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

    def answers(self, where: str) -> Kept:
        """What the models of one target (``Job.where``) answered so far."""
        return Kept(self.store, where)

    def _write(self, jobs: Sequence[Job]) -> None:
        with self.store.transaction() as db:
            db.executemany(_SAVE, [self._row(job) for job in jobs])
            for job in jobs:
                keep_rows(db, job)

    def _row(self, job: Job) -> tuple[str | float, ...]:
        evaluation = replace(job.evaluation, rows=()) if job.evaluation else None
        body = asdict(replace(job, phase=Phase.SUBMIT, evaluation=evaluation))
        return (job.where, job.tuned_model, job.name, job.phase, self._clock(), json.dumps(body))

    def _select(self, where: str, values: tuple[str, ...]) -> list[Bookmark]:
        query = f"SELECT phase, updated, body FROM job {where} ORDER BY updated DESC"  # noqa: S608 -- where is one of three constants above
        found = self.store.rows(query, values)
        with self.store.explained():
            return [Bookmark(_job(phase, body), updated) for phase, updated, body in found]


def open_ledger() -> Ledger:
    """This person's own."""
    return Ledger(home.ledger_file(), time.time)


def _job(phase: str, body: str) -> Job:
    fields: dict[str, Any] = json.loads(body)
    fields["phase"] = Phase(phase)
    fields["overrides"] = tuple(fields["overrides"])
    fields["target"] = TargetConfig(**fields["target"])
    fields["evaluation"] = _evaluation(fields["evaluation"])
    return Job(**fields)


def _evaluation(fields: dict[str, Any] | None) -> Evaluation | None:
    if fields is None:
        return None
    rows, interval = fields["rows"], fields.get("interval")
    return Evaluation(
        digest=fields["digest"],
        metric=fields.get("metric", "exact_match"),  # the only one that version 1 could mean
        tuned=fields["tuned"],
        base=fields["base"],
        count=fields.get("count", len(rows)),
        interval=Interval(**interval) if interval else None,
        rows=tuple(Judged(**row) for row in rows),
    )
