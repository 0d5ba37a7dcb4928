"""What models answered, and held-out rows one by one: kept beside the bookmarks."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING

from tuner.job import Judged

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from tuner.job import Job
    from tuner.jobs.ledger.commits import Commits
    from tuner.jobs.ledger.store import Store

_ROW = tuple(each.name for each in fields(Judged))
_KEEP = "INSERT OR REPLACE INTO answer (target, model, prompt, text) VALUES (?, ?, ?, ?)"
_AT_ONCE = 500  # SQLite takes 32,766 values in a statement, older ones 999


class Kept:
    """The answers of one target's models, as ``tuner.evaluation.answers.Answers`` wants them.

    Both methods raise TunerError as ``Store`` does.
    """

    def __init__(self, store: Store, commits: Commits, where: str) -> None:
        """``where`` is the target, as ``Job.where`` says it."""
        self._store, self._commits, self._where = store, commits, where

    def find(self, model: str, questions: Iterable[str]) -> dict[str, str]:
        """Those of these questions that ``model`` has answered, with the answers."""
        wanted = list(questions)
        found: dict[str, str] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            query = f"SELECT prompt, text FROM answer WHERE target = ? AND model = ? AND prompt IN ({marks})"  # noqa: S608 -- marks are question marks
            found.update(self._store.rows(query, (self._where, model, *some)))
        return found

    async def keep(self, model: str, answers: Mapping[str, str]) -> None:
        """Write answers down, by question, in one transaction."""
        rows = [(self._where, model, question, text) for question, text in answers.items()]
        await self._commits.made(lambda db: db.executemany(_KEEP, rows))


def keep_rows(db: sqlite3.Connection, job: Job) -> None:
    """Keep the rows of a fresh evaluation, and of no other; part of the save of ``job``."""
    evaluation, whose = job.evaluation, (job.where, job.tuned_model)
    if evaluation is None:
        db.execute("DELETE FROM judged WHERE target = ? AND tuned_model = ?", whose)
        return
    its = (*whose, evaluation.digest)
    known = db.execute(
        "SELECT 1 FROM judged WHERE target = ? AND tuned_model = ? AND digest = ? LIMIT 1", its
    )
    if known.fetchone() or not evaluation.rows:
        return
    db.execute("DELETE FROM judged WHERE target = ? AND tuned_model = ?", whose)
    db.executemany(
        "INSERT INTO judged (target, tuned_model, digest, position, body) VALUES (?, ?, ?, ?, ?)",
        [
            (*its, place, json.dumps({name: getattr(row, name) for name in _ROW}))
            for place, row in enumerate(evaluation.rows)
        ],
    )


def rows_of(store: Store, job: Job) -> tuple[Judged, ...]:
    """The held-out rows of a job's evaluation as both models answered them; none when not kept."""
    if job.evaluation is None:
        return ()
    found = store.rows(
        "SELECT body FROM judged WHERE target = ? AND tuned_model = ? AND digest = ? "
        "ORDER BY position",
        (job.where, job.tuned_model, job.evaluation.digest),
    )
    with store.explained:
        return tuple(Judged(**json.loads(body)) for (body,) in found)


def forget_answers(db: sqlite3.Connection, job: Job) -> None:
    """Remove what a job's model answered; what its base answered serves other jobs."""
    whose = (job.where, job.tuned_model)
    db.execute("DELETE FROM judged WHERE target = ? AND tuned_model = ?", whose)
    db.execute("DELETE FROM answer WHERE target = ? AND model LIKE ? || '@%'", whose)
