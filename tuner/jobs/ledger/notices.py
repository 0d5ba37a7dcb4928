"""The outbox: who is still to be told that a job ended, written down with the end itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from tuner.jobs.ledger.store import Store

DUE, TOLD, REFUSED = "due", "told", "refused"


class Notice(NamedTuple):
    """What one of those who want to know is told of a job.

    Attributes:
        id: The same whenever the same is told, so that a receiver can tell repeats.
        target: Where the job runs, as ``Job.where``.
        tuned_model: Its model.
        sink: Which entry of the spec's ``notify`` is told, as ``notify.sink_id`` names it.
        body: JSON, as it is sent.
        tries: How often it could not be delivered.
    """

    id: str
    target: str
    tuned_model: str
    sink: str
    body: str
    tries: int = 0


def insert(db: sqlite3.Connection, notices: Iterable[Notice]) -> None:
    """Put notices into the outbox, inside a transaction; one that is known stays as it is."""
    query = "INSERT OR IGNORE INTO notice VALUES (?, ?, ?, ?, ?, ?, ?)"
    db.executemany(query, [(*each, DUE) for each in notices])


def due(store: Store) -> list[Notice]:
    """Those not delivered yet, in the order of their ends."""
    query = "SELECT id, target, tuned_model, sink, body, tries FROM notice WHERE state = ?"
    return [Notice(*row) for row in store.rows(f"{query} ORDER BY rowid", [DUE])]


def mark(store: Store, notice: Notice, state: str) -> None:
    """Write down what became of a notice, and how often it was tried."""
    with store.transaction() as db:
        db.execute(
            "UPDATE notice SET state = ?, tries = ? WHERE id = ?", (state, notice.tries, notice.id)
        )
