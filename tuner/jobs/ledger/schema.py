"""The tables of the ledger, and how an older file becomes a present one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

VERSION = 2

_BOOKMARKS = """
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
# What came with version 2. ``claim`` says who works on what: ``scope`` is a job's target, or
# ``pipeline``, and ``name`` its tuned model, or the pipeline's id.
_SECOND = (
    """CREATE TABLE runner (
        id TEXT PRIMARY KEY,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        started TEXT NOT NULL,
        beat INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE claim (
        scope TEXT NOT NULL,
        name TEXT NOT NULL,
        runner TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        PRIMARY KEY (scope, name)
    ) STRICT, WITHOUT ROWID""",
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


def version(db: sqlite3.Connection) -> int:
    """The version of the tables of an open file; 0 for a new one."""
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    return found


def migrate(db: sqlite3.Connection) -> None:
    """Bring the tables up to ``VERSION``; to be called inside a transaction, all or nothing."""
    found = version(db)
    if found >= VERSION:
        return
    if found == 0:
        db.execute(_BOOKMARKS)
    for table in _SECOND:
        db.execute(table)
    db.execute(f"PRAGMA user_version = {VERSION}")
