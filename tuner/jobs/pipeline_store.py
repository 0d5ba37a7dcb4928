"""Stored state of pipelines: their stages, and which variants were selected."""

from __future__ import annotations

import json
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tuner.jobs.store import Store

# used for sorting only
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
    """Where a stage's model came from; decides whether the pipeline may delete it."""

    FOUND = 0
    """It existed at the service, unknown to this store."""
    MADE = 1
    """This pipeline created it."""
    OWN = 2
    """It belongs to a job or another pipeline of this store."""


class Member(NamedTuple):
    """A stage of a pipeline and its model; ``tuned_model`` is empty until its source is known.

    ``state`` is ``selected``, ``not selected``, ``deleted``, ``skipped``, or empty: the job's phase.
    """

    stage: str
    where: str
    tuned_model: str
    origin: Origin
    state: str = ""


class SavedPipeline(NamedTuple):
    """A stored pipeline."""

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
    """Store which model a stage creates, once its source is known."""
    with store.transaction() as db:
        db.execute(_STAGE, _row(pipeline, member))


def mark_members(store: Store, pipeline: str, states: Mapping[str, str]) -> None:
    """Store the states of stages."""
    rows = [(state, pipeline, stage) for stage, state in states.items()]
    with store.transaction() as db:
        db.executemany("UPDATE stage SET state = ? WHERE pipeline = ? AND stage = ?", rows)


def members(store: Store, pipeline: str) -> dict[str, Member]:
    """Return the stored stages by name, in the order of the file."""
    found = store.query(f"{_MEMBER} ORDER BY rowid", (pipeline,))
    return {row[0]: Member(row[0], row[1], row[2], Origin(row[3]), row[4]) for row in found}


def member(store: Store, pipeline: str, stage: str) -> Member:
    """Return a stored stage."""
    ((name, where, model, made, state),) = store.query(
        f"{_MEMBER} AND stage = ?", (pipeline, stage)
    )
    return Member(name, where, model, Origin(made), state)


def save_decision(store: Store, pipeline: str, grouping: str, digest: str, winner: str) -> None:
    """Store which variant was selected; the first decision about the same candidates is kept."""
    row = (pipeline, grouping, digest, winner)
    with store.transaction() as db:
        db.execute("INSERT OR IGNORE INTO decision VALUES (?, ?, ?, ?)", row)


def decisions(store: Store, pipeline: str, grouping: str) -> dict[str, str]:
    """Return the selected variants of a grouping, by digest of the candidates."""
    query = "SELECT digest, winner FROM decision WHERE pipeline = ? AND grouping = ?"
    return dict(store.query(query, (pipeline, grouping)))


def selected_models(store: Store) -> set[str]:
    """Return the models selected in any pipeline."""
    return {winner for (winner,) in store.query("SELECT DISTINCT winner FROM decision")}


def origins(store: Store, where: str, tuned_model: str) -> list[Origin]:
    """Return the origins of a model as stored by pipelines, oldest first."""
    query = "SELECT made FROM stage WHERE target = ? AND tuned_model = ? ORDER BY rowid"
    return [Origin(made) for (made,) in store.query(query, (where, tuned_model))]


def other_pipelines(store: Store, pipeline: str, member: Member) -> list[str]:
    """Return the names of pipelines in other files that have the same model."""
    query = """
        SELECT DISTINCT pipeline.name FROM stage JOIN pipeline ON pipeline.id = stage.pipeline
        WHERE stage.target = ? AND stage.tuned_model = ?
        AND pipeline.spec NOT IN (SELECT spec FROM pipeline WHERE id = ?)
    """
    values = (member.where, member.tuned_model, pipeline)
    return [name for (name,) in store.query(query, values)]


def all_pipelines(store: Store) -> list[SavedPipeline]:
    """Return all pipelines, latest first."""
    query = "SELECT id, name, spec, overrides FROM pipeline ORDER BY updated DESC"
    return [
        SavedPipeline(row[0], row[1], row[2], tuple(json.loads(row[3])), _members(store, row[0]))
        for row in store.query(query)
    ]


def find_pipeline(store: Store, name: str) -> SavedPipeline | None:
    """Return the latest pipeline with this name or ID, or None."""
    return next((each for each in all_pipelines(store) if name in (each.name, each.id)), None)


def _members(store: Store, pipeline: str) -> tuple[Member, ...]:
    return tuple(members(store, pipeline).values())


def _row(pipeline: str, member: Member) -> tuple[str | int, ...]:
    return (pipeline, member.stage, member.where, member.tuned_model, int(member.origin))
