"""What the ledger knows of pipelines that their jobs cannot say: what belongs together, and who won."""

from __future__ import annotations

import json
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tuner.jobs.store import Store

# only ever sorted by, never compared with a clock
_NOW = "(julianday('now') - 2440587.5) * 86400.0"
_PIPELINE = f"""
INSERT INTO pipeline (id, name, spec, overrides, state, updated) VALUES (?, ?, ?, ?, '', {_NOW})
ON CONFLICT (id) DO UPDATE SET spec = excluded.spec, overrides = excluded.overrides,
    state = '', updated = excluded.updated
"""  # noqa: S608 -- _NOW is the constant above
_STAGE = """
INSERT INTO stage (pipeline, stage, target, tuned_model, state, made) VALUES (?, ?, ?, ?, '', ?)
ON CONFLICT (pipeline, stage) DO UPDATE SET target = excluded.target,
    tuned_model = excluded.tuned_model, state = '', made = excluded.made
WHERE stage.target != excluded.target OR stage.tuned_model != excluded.tuned_model
"""

_MEMBER = "SELECT stage, target, tuned_model, made, state FROM stage WHERE pipeline = ?"


class Origin(IntEnum):
    """Where a stage's model was when the pipeline first named it; decides what it may delete."""

    FOUND = 0
    """At the service, and nobody here knows since when."""
    MADE = 1
    """Not there: whoever has the id now has it from this pipeline."""
    OWN = 2
    """In the ledger, a job of its own or of another pipeline."""


class Member(NamedTuple):
    """A stage of a pipeline and its model; ``tuned_model`` is empty until its source is all_pipelines.

    ``state`` is ``selected``, ``not selected``, ``deleted``, ``skipped``, or empty: as its job says.
    """

    stage: str
    where: str
    tuned_model: str
    origin: Origin
    state: str = ""


class SavedPipeline(NamedTuple):
    """A pipeline of the ledger."""

    id: str
    name: str
    spec: str
    overrides: tuple[str, ...]
    members: tuple[Member, ...]


def save_pipeline(  # noqa: PLR0913, PLR0917 -- what is stored of a pipeline
    store: Store,
    pipeline: str,
    name: str,
    spec: str,
    overrides: Sequence[str],
    members: Iterable[Member],
) -> None:
    """Store a pipeline (its ID, name, absolute file and overrides) and its stages."""
    with store.transaction() as db:
        db.execute(_PIPELINE, (pipeline, name, spec, json.dumps(overrides)))
        db.executemany(_STAGE, [_row(pipeline, member) for member in members])
        skipped = "UPDATE stage SET state = '' WHERE pipeline = ? AND state = 'skipped'"
        db.execute(skipped, (pipeline,))


def save_member(store: Store, pipeline: str, member: Member) -> None:
    """Write down which model a stage makes, once its source is all_pipelines."""
    with store.transaction() as db:
        db.execute(_STAGE, _row(pipeline, member))


def mark_members(store: Store, pipeline: str, states: Mapping[str, str]) -> None:
    """Write down the states of some stages."""
    rows = [(state, pipeline, stage) for stage, state in states.items()]
    with store.transaction() as db:
        db.executemany("UPDATE stage SET state = ? WHERE pipeline = ? AND stage = ?", rows)


def members(store: Store, pipeline: str) -> dict[str, Member]:
    """The stages of a pipeline as they were written down, by name, in the order of the file."""
    found = store.query(f"{_MEMBER} ORDER BY rowid", (pipeline,))
    return {row[0]: Member(row[0], row[1], row[2], Origin(row[3]), row[4]) for row in found}


def member(store: Store, pipeline: str, stage: str) -> Member:
    """One of them, which is there."""
    ((name, where, model, made, state),) = store.query(
        f"{_MEMBER} AND stage = ?", (pipeline, stage)
    )
    return Member(name, where, model, Origin(made), state)


def save_decision(store: Store, pipeline: str, grouping: str, digest: str, winner: str) -> None:
    """Write down who won; the first decision about the same candidates stands."""
    row = (pipeline, grouping, digest, winner)
    with store.transaction() as db:
        db.execute("INSERT OR IGNORE INTO decision VALUES (?, ?, ?, ?)", row)


def decisions(store: Store, pipeline: str, grouping: str) -> dict[str, str]:
    """Who won in a grouping, by the digest of what was compared."""
    query = "SELECT digest, winner FROM decision WHERE pipeline = ? AND grouping = ?"
    return dict(store.query(query, (pipeline, grouping)))


def selected_models(store: Store) -> set[str]:
    """Whatever won in any pipeline."""
    return {winner for (winner,) in store.query("SELECT DISTINCT winner FROM decision")}


def origins(store: Store, where: str, tuned_model: str) -> list[Origin]:
    """Where a model came from, as the pipelines saw it that named it before, the first one first."""
    query = "SELECT made FROM stage WHERE target = ? AND tuned_model = ? ORDER BY rowid"
    return [Origin(made) for (made,) in store.query(query, (where, tuned_model))]


def other_pipelines(store: Store, pipeline: str, member: Member) -> list[str]:
    """The pipelines of other files that a stage's model belongs to."""
    query = """
        SELECT DISTINCT pipeline.name FROM stage JOIN pipeline ON pipeline.id = stage.pipeline
        WHERE stage.target = ? AND stage.tuned_model = ?
        AND pipeline.spec NOT IN (SELECT spec FROM pipeline WHERE id = ?)
    """
    values = (member.where, member.tuned_model, pipeline)
    return [name for (name,) in store.query(query, values)]


def all_pipelines(store: Store) -> list[SavedPipeline]:
    """All pipelines, the latest first."""
    query = "SELECT id, name, spec, overrides FROM pipeline ORDER BY updated DESC"
    return [
        SavedPipeline(row[0], row[1], row[2], tuple(json.loads(row[3])), _members(store, row[0]))
        for row in store.query(query)
    ]


def find_pipeline(store: Store, name: str) -> SavedPipeline | None:
    """The latest pipeline of this name or id; None when there is none."""
    return next((each for each in all_pipelines(store) if name in (each.name, each.id)), None)


def _members(store: Store, pipeline: str) -> tuple[Member, ...]:
    return tuple(members(store, pipeline).values())


def _row(pipeline: str, member: Member) -> tuple[str | int, ...]:
    return (pipeline, member.stage, member.where, member.tuned_model, int(member.origin))
