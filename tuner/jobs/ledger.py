"""The ledger: a bookmark for every job, in one SQLite file.

It may be deleted at any time: the service is asked what is true before anything is changed.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from tuner import home
from tuner.errors import TunerError
from tuner.jobs.job import Evaluation, Job, Judged, Scores
from tuner.types import Phase, TargetConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VERSION = 1
_SCHEMA = """
CREATE TABLE job (
    target TEXT NOT NULL,
    tuned_model TEXT NOT NULL,
    name TEXT NOT NULL,
    phase TEXT NOT NULL,
    updated REAL NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (target, tuned_model)
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A job and when it was last written down, seconds since 1970."""

    job: Job
    updated: float


class Ledger:
    """An open ledger; use it as a context manager.

    Raises:
        TunerError: The file is damaged, cannot be written, or comes from a newer tuner.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Open the file, making it when there is none; ``clock`` gives seconds since 1970."""
        self._path = path
        self._clock = clock
        with self._explained():
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._migrate()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._db.close()

    def save(self, job: Job) -> Job:
        """Write ``job`` down so that it survives a crash, and return it."""
        body = asdict(replace(job, phase=Phase.SUBMIT))
        row = (job.where, job.tuned_model, job.name, job.phase, self._clock(), json.dumps(body))
        with self._explained():
            self._db.execute("INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?, ?, ?)", row)
        return job

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
        with self._explained():
            self._db.execute(
                "DELETE FROM job WHERE target = ? AND tuned_model = ?",
                (job.where, job.tuned_model),
            )

    def _select(self, where: str, values: tuple[str, ...]) -> list[Bookmark]:
        query = f"SELECT phase, updated, body FROM job {where} ORDER BY updated DESC"  # noqa: S608 -- where is one of three constants above
        with self._explained():
            return [
                Bookmark(_job(phase, body), updated)
                for phase, updated, body in self._db.execute(query, values)
            ]

    def _migrate(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {VERSION}")
        self._db.execute("COMMIT")
        if version > VERSION:
            raise TunerError(
                f"{self._path} was written by a newer tuner (schema {version}, this one knows {VERSION})",
                "upgrade with `pip install --upgrade tuner`",
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, json.JSONDecodeError, KeyError, TypeError) as error:
            raise TunerError(
                f"the ledger {self._path} cannot be used: {error}",
                "free some disk space if it is full; if it is damaged move it away and run again: "
                "the service knows what was tuned, nothing happens twice",
            ) from error


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
    return Evaluation(
        digest=fields["digest"],
        tuned=Scores(**fields["tuned"]),
        base=Scores(**fields["base"]),
        rows=tuple(Judged(**row) for row in fields["rows"]),
    )
