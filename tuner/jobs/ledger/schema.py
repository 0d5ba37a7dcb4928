"""The tables of the ledger, and how an older file becomes a present one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

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

_BODY = "UPDATE job SET body = ? WHERE target = ? AND tuned_model = ?"


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
    bookmarks = db.execute("SELECT target, tuned_model, body FROM job").fetchall()
    for target, tuned_model, text in bookmarks:
        body = json.loads(text)
        if body["evaluation"] is not None:
            body["evaluation"] = _second_evaluation(db, (target, tuned_model), body["evaluation"])
            db.execute(_BODY, (json.dumps(body), target, tuned_model))
    db.execute(f"PRAGMA user_version = {VERSION}")


def _second_evaluation(
    db: sqlite3.Connection, whose: tuple[str, str], first: dict[str, Any]
) -> dict[str, Any]:
    """Version 1 had the rows inside the evaluation, and no other metric than the exact match."""
    digest, rows = first["digest"], first["rows"]
    db.executemany(
        "INSERT INTO judged (target, tuned_model, digest, position, body) VALUES (?, ?, ?, ?, ?)",
        [(*whose, digest, place, json.dumps(row)) for place, row in enumerate(rows)],
    )
    return {
        "digest": digest,
        "metric": "exact_match",
        "tuned": first["tuned"],
        "base": first["base"],
        "count": len(rows),
        "interval": None,
    }
