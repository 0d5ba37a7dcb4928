"""A job as it is asked about, alone or as the stage of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.spec import Pipeline


class Asked(NamedTuple):
    """A job to plan.

    Attributes:
        title: What people call it.
        path: The file that tells of it.
        work: What is asked for.
        source: The grouping of a pipeline whose winner it tunes further, empty once that is known.
        competes: Whether one of its grouping alone is shared and handed over.
        force: Whether ``--force-share`` overrules its gate.
        pipeline, grouping: The id of its pipeline, and what it is a variant of; empty alone.
    """

    title: str
    path: Path
    work: PreparedJob
    source: str = ""
    competes: bool = False
    force: bool = False
    pipeline: str = ""
    grouping: str = ""


def alone(work: PreparedJob, *, force: bool = False) -> Asked:
    """A job of a spec of its own, to plan."""
    return Asked(work.spec.job, work.spec.path, work, force=force)


def stages(pipeline: Pipeline, *, force: bool = False) -> list[Asked]:
    """The jobs of a pipeline, to plan, in its order."""
    best = {grouping.name for grouping in pipeline.groupings if grouping.keep == "best"}
    return [
        Asked(
            *(stage.name, pipeline.path, stage.work, stage.source),
            competes=stage.grouping in best,
            force=force,
            pipeline=pipeline.id,
            grouping=stage.grouping,
        )
        for stage in pipeline.stages
    ]
