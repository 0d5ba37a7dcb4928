"""The local store: the state of every job, in one SQLite file.

It may be deleted at any time: every step reads the service's state before it changes anything.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from tuner import home
from tuner.errors import TunerError
from tuner.events.notify import PENDING, Notification
from tuner.job import Evaluation, Interval, Job, ScoredRow
from tuner.jobs.lock import Holder, this_process
from tuner.types import Phase, TargetConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["VERSION", "SavedJob", "Store", "open_store"]

BUSY_S = 30.0
# every commit is synced to disk; tests with a million commits set OFF
SYNCHRONOUS = "FULL"


def no_hook(_moment: str) -> None:
    """Do nothing around a transaction; tests use hooks."""


class Database:
    """An open SQLite file; created again if it is deleted while in use.

    Attributes:
        explained: A context that turns errors of SQLite, and invalid content, into TunerError.

    Raises:
        TunerError: From every method: the file is damaged, full, not writable, or of a newer version.
    """

    def __init__(self, path: Path, around: Callable[[str], None] = no_hook) -> None:
        """Open or create the file.

        ``around`` is called with ``begin``, ``commit`` and ``committed`` around a transaction and its
        commit: the moments at which tests kill the process.
        """
        self.path = path
        self.explained = _Explained(path, (sqlite3.Error, OSError, ValueError, KeyError, TypeError))
        self._sqlite_errors = _Explained(path, (sqlite3.Error, OSError))
        self._around = around
        self._db: sqlite3.Connection
        self._open()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit at the end of the block, or roll back if it raises."""
        self._around("begin")
        with self.explained:
            self._reopen()
            self._db.execute("BEGIN IMMEDIATE")
        try:
            with self._sqlite_errors:
                yield self._db
            self._around("commit")
            with self.explained:
                self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.rollback()
            raise
        self._around("committed")

    def query(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, outside of any transaction."""
        with self.explained:
            self._reopen()
            return self._db.execute(query, tuple(values)).fetchall()

    def _open(self) -> None:
        with self.explained:
            # readable by the owner only: it has e-mail addresses and answers of models
            self.path.touch(mode=0o600)
            self._db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            self._identity = _identity(self.path)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
            if version(self._db) != VERSION:
                self._migrate()

    def _migrate(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            found = version(self._db)
            migrate(self._db)
        except BaseException:
            self._db.rollback()
            raise
        self._db.execute("COMMIT")
        if found > VERSION:
            self._db.close()
            raise TunerError(
                f"{self.path} was written by a newer tuner "
                f"(schema {found}, this one knows {VERSION})",
                "upgrade with `pip install --upgrade tuner`",
            )

    def _reopen(self) -> None:
        """Open the file again if it was deleted; SQLite would continue with the deleted one."""
        if _identity(self.path) != self._identity:
            self._db.close()
            self._open()


class _Explained:
    """A reusable context that turns errors of some types into TunerError."""

    def __init__(self, path: Path, kinds: tuple[type[Exception], ...]) -> None:
        self._path, self._kinds = path, kinds

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, self._kinds):
            raise _explain(self._path, error) from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 -- called before every query; three times as fast
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _explain(path: Path, error: Exception) -> TunerError:
    if isinstance(error, OSError) or "readonly" in str(error):
        return TunerError(
            f"the store {path} cannot be written: {error}",
            "make the file and its folder writable, or set TUNER_HOME to another folder",
        )
    return TunerError(
        f"the store {path} cannot be used: {error}",
        "free disk space if the disk is full; if the file is damaged, move it away and run again: "
        "the service knows what was tuned, nothing is done twice",
    )


VERSION = 3

_FIRST = """
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
_SECOND = (
    """CREATE TABLE judged (
        target TEXT NOT NULL,
        tuned_model TEXT NOT NULL,
        digest TEXT NOT NULL,
        position INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (target, tuned_model, digest, position)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE answer (
        target TEXT NOT NULL,
        model TEXT NOT NULL,
        prompt TEXT NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (target, model, prompt)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE pipeline (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        spec TEXT NOT NULL,
        overrides TEXT NOT NULL,
        state TEXT NOT NULL,
        updated REAL NOT NULL
    ) STRICT""",
    """CREATE TABLE stage (
        pipeline TEXT NOT NULL,
        stage TEXT NOT NULL,
        target TEXT NOT NULL,
        tuned_model TEXT NOT NULL,
        state TEXT NOT NULL,
        made INTEGER NOT NULL,
        PRIMARY KEY (pipeline, stage)
    ) STRICT""",
    """CREATE TABLE decision (
        pipeline TEXT NOT NULL,
        grouping TEXT NOT NULL,
        digest TEXT NOT NULL,
        winner TEXT NOT NULL,
        PRIMARY KEY (pipeline, grouping, digest)
    ) STRICT""",
    """CREATE TABLE notice (
        id TEXT PRIMARY KEY,
        target TEXT NOT NULL,
        tuned_model TEXT NOT NULL,
        sink TEXT NOT NULL,
        body TEXT NOT NULL,
        tries INTEGER NOT NULL,
        state TEXT NOT NULL
    ) STRICT""",
)

_THIRD = (
    "DROP TABLE IF EXISTS runner",  # version 2 had leases
    "DROP TABLE IF EXISTS claim",
    """CREATE TABLE holder (
        scope TEXT NOT NULL,
        name TEXT NOT NULL,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        since REAL NOT NULL,
        PRIMARY KEY (scope, name)
    ) STRICT, WITHOUT ROWID""",
)

_BODY = "UPDATE job SET body = ? WHERE target = ? AND tuned_model = ?"


def version(db: sqlite3.Connection) -> int:
    """Return the schema version of an open file; 0 for a new one."""
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    return found


def migrate(db: sqlite3.Connection) -> None:
    """Upgrade the tables to ``VERSION``, inside a transaction of the caller."""
    found = version(db)
    if found >= VERSION:
        return
    if found == 0:
        db.execute(_FIRST)
    if found < 2:  # noqa: PLR2004
        for table in _SECOND:
            db.execute(table)
        _upgrade_evaluations(db)
    for statement in _THIRD:
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {VERSION}")


def _upgrade_evaluations(db: sqlite3.Connection) -> None:
    for target, tuned_model, text in db.execute("SELECT target, tuned_model, body FROM job"):
        body = json.loads(text)
        if body["evaluation"] is not None:
            body["evaluation"] = _second_evaluation(db, (target, tuned_model), body["evaluation"])
            db.execute(_BODY, (json.dumps(body), target, tuned_model))


def _second_evaluation(
    db: sqlite3.Connection, key: tuple[str, str], first: dict[str, Any]
) -> dict[str, Any]:
    """Version 1 had the rows inside the evaluation, and only the metric exact_match."""
    digest, rows = first["digest"], first["rows"]
    db.executemany(
        "INSERT INTO judged (target, tuned_model, digest, position, body) VALUES (?, ?, ?, ?, ?)",
        [(*key, digest, place, json.dumps(row)) for place, row in enumerate(rows)],
    )
    return {
        "digest": digest,
        "metric": "exact_match",
        "tuned": first["tuned"],
        "base": first["base"],
        "count": len(rows),
        "interval": None,
    }


_SAVE = """
INSERT OR REPLACE INTO job (target, tuned_model, name, phase, updated, body)
VALUES (?, ?, ?, ?, ?, ?)
"""


@dataclass(frozen=True, slots=True)
class SavedJob:
    """A job and the time it was saved, in seconds since 1970."""

    job: Job
    updated: float


class Store(Database):
    """The open store; a context manager. Raises TunerError from every method, as ``Database``."""

    def __init__(
        self, path: Path, clock: Callable[[], float], around: Callable[[str], None] = no_hook
    ) -> None:
        """Open or create the file; ``clock`` gives seconds since 1970."""
        super().__init__(path, around)
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def save(self, job: Job, notifications: Sequence[Notification] = ()) -> Job:
        """Store a job, durably, and return it.

        The rows of a new evaluation and the ``notifications`` of its end are in the same transaction.
        """
        with self.transaction() as db:
            db.execute(_SAVE, self._row(job))
            keep_rows(db, job)
            db.executemany(
                "INSERT OR IGNORE INTO notice VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(*each, PENDING) for each in notifications],
            )
        return job

    def begin(self, job: Job) -> None:
        """Store a job whose lock this process has acquired."""
        with self.transaction() as db:
            self._save_holder(db, job.where, job.tuned_model)
            db.execute(_SAVE, self._row(job))
            keep_rows(db, job)

    def holder(self, scope: str, name: str) -> Holder | None:
        """Return who last acquired a lock; None if nobody is recorded."""
        query = "SELECT host, pid, since FROM holder WHERE scope = ? AND name = ?"
        found = self.query(query, (scope, name))
        return Holder(*found[0]) if found else None

    def save_holder(self, scope: str, name: str) -> None:
        """Record that this process holds a lock."""
        with self.transaction() as db:
            self._save_holder(db, scope, name)

    def find(self, where: str, tuned_model: str) -> Job | None:
        """Return the job of a tuned model on a target (``Job.where``), or None."""
        found = self._select("WHERE target = ? AND tuned_model = ?", (where, tuned_model))
        return found[0].job if found else None

    def jobs(self, *named: str) -> list[SavedJob]:
        """Return all jobs, latest first, or those with these names, model IDs or model names."""
        if not named:
            return self._select("", ())
        marks = ", ".join("?" * len(named))
        full = tuple(f"tunedModels/{name}" for name in named)
        where = f"WHERE name IN ({marks}) OR tuned_model IN ({marks}) OR tuned_model IN ({marks})"
        return self._select(where, (*named, *named, *full))

    def forget(self, job: Job) -> None:
        """Delete a job from the store; the service is not changed."""
        with self.transaction() as db:
            db.execute(
                "DELETE FROM job WHERE target = ? AND tuned_model = ?",
                (job.where, job.tuned_model),
            )
            forget_answers(db, job)

    def evaluation_rows(self, job: Job) -> tuple[ScoredRow, ...]:
        """Return the stored rows of a job's evaluation."""
        return rows_of(self, job)

    def with_rows(self, job: Job) -> Job:
        """Return ``job`` with the stored rows of its evaluation."""
        if job.evaluation is None or job.evaluation.rows:
            return job
        return replace(job, evaluation=replace(job.evaluation, rows=self.evaluation_rows(job)))

    def pending_notifications(self) -> list[Notification]:
        """Return the notifications to deliver, in the order in which their jobs ended."""
        query = "SELECT id, target, tuned_model, sink, body, tries FROM notice WHERE state = ?"
        return [Notification(*row) for row in self.query(f"{query} ORDER BY rowid", [PENDING])]

    def mark_notification(self, notification: Notification, state: str) -> None:
        """Save a notification's state and number of tries."""
        with self.transaction() as db:
            db.execute(
                "UPDATE notice SET state = ?, tries = ? WHERE id = ?",
                (state, notification.tries, notification.id),
            )

    def answers(self, where: str) -> StoredAnswers:
        """Return the stored answers of the models of a target (``Job.where``)."""
        return StoredAnswers(self, where)

    def _save_holder(self, db: sqlite3.Connection, scope: str, name: str) -> None:
        row = (scope, name, *this_process(self._clock()))
        db.execute("INSERT OR REPLACE INTO holder VALUES (?, ?, ?, ?, ?)", row)

    def _row(self, job: Job) -> tuple[str | float, ...]:
        body = json.dumps(_body(job))
        return (job.where, job.tuned_model, job.name, job.phase, self._clock(), body)

    def _select(self, where: str, values: tuple[str, ...]) -> list[SavedJob]:
        query = f"SELECT phase, updated, body FROM job {where} ORDER BY updated DESC"  # noqa: S608 -- where is one of three constants above
        found = self.query(query, values)
        with self.explained:
            return [SavedJob(_job(phase, body), updated) for phase, updated, body in found]


def open_store() -> Store:
    """Open the store in TUNER_HOME."""
    return Store(home.store_file(), time.time)


def _body(job: Job) -> dict[str, Any]:
    """The job as JSON; asdict would copy all nested values."""
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


_ROW = tuple(each.name for each in fields(ScoredRow))
_KEEP = "INSERT OR REPLACE INTO answer (target, model, prompt, text) VALUES (?, ?, ?, ?)"
_MAX_VALUES = 500  # older versions of SQLite take 999 values per statement


class StoredAnswers:
    """The stored answers of a target's models; an ``AnswerCache``."""

    def __init__(self, store: Database, where: str) -> None:
        self._store, self._where = store, where

    def find(self, model: str, prompts: Iterable[str]) -> dict[str, str]:
        """Return the known answers of ``model``, by prompt."""
        wanted = list(prompts)
        found: dict[str, str] = {}
        for start in range(0, len(wanted), _MAX_VALUES):
            some = wanted[start : start + _MAX_VALUES]
            marks = ", ".join("?" * len(some))
            query = f"SELECT prompt, text FROM answer WHERE target = ? AND model = ? AND prompt IN ({marks})"  # noqa: S608 -- marks are prompt marks
            found.update(self._store.query(query, (self._where, model, *some)))
        return found

    async def keep(self, model: str, answers: Mapping[str, str]) -> None:
        """Store answers by prompt, in one transaction."""
        rows = [(self._where, model, prompt, text) for prompt, text in answers.items()]
        with self._store.transaction() as db:
            db.executemany(_KEEP, rows)


def keep_rows(db: sqlite3.Connection, job: Job) -> None:
    """Store the rows of a new evaluation, and delete those of others."""
    evaluation, key = job.evaluation, (job.where, job.tuned_model)
    if evaluation is None:
        db.execute("DELETE FROM judged WHERE target = ? AND tuned_model = ?", key)
        return
    full_key = (*key, evaluation.digest)
    known = db.execute(
        "SELECT 1 FROM judged WHERE target = ? AND tuned_model = ? AND digest = ? LIMIT 1", full_key
    )
    if known.fetchone() or not evaluation.rows:
        return
    db.execute("DELETE FROM judged WHERE target = ? AND tuned_model = ?", key)
    db.executemany(
        "INSERT INTO judged (target, tuned_model, digest, position, body) VALUES (?, ?, ?, ?, ?)",
        [
            (*full_key, place, json.dumps({name: getattr(row, name) for name in _ROW}))
            for place, row in enumerate(evaluation.rows)
        ],
    )


def rows_of(store: Database, job: Job) -> tuple[ScoredRow, ...]:
    """Return the stored rows of a job's evaluation."""
    if job.evaluation is None:
        return ()
    found = store.query(
        "SELECT body FROM judged WHERE target = ? AND tuned_model = ? AND digest = ? "
        "ORDER BY position",
        (job.where, job.tuned_model, job.evaluation.digest),
    )
    with store.explained:
        return tuple(ScoredRow(**json.loads(body)) for (body,) in found)


def forget_answers(db: sqlite3.Connection, job: Job) -> None:
    """Delete the answers of a job's model; those of its base model serve other jobs."""
    key = (job.where, job.tuned_model)
    db.execute("DELETE FROM judged WHERE target = ? AND tuned_model = ?", key)
    db.execute("DELETE FROM answer WHERE target = ? AND model LIKE ? || '@%'", key)
