"""The functions of ``tuner`` as coroutines, for programs that have a loop of their own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import tuner
from tuner.errors import InvalidInput
from tuner.jobs.ledger import open_ledger
from tuner.jobs.outcome import Outcome
from tuner.jobs.running.reach import Connections
from tuner.jobs.running.runner import Pace
from tuner.jobs.running.start import begin, follow_all
from tuner.jobspec.prepared_job import PreparedJob
from tuner.pipelines.load import LoadedFiles, load_files, load_pipeline
from tuner.pipelines.plan import plan as planned
from tuner.pipelines.run import RunOptions, run_all
from tuner.tokens import long_examples, token_counter
from tuner.types import Phase, TargetConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner import Spec
    from tuner.data.frame import InMemoryExamples
    from tuner.errors import Problem
    from tuner.job import Job
    from tuner.pipelines.model import Pipeline, PipelineOutcome
    from tuner.pipelines.plan import PlanItem

__all__ = ["plan", "run", "run_pipeline", "status", "submit"]


async def run(
    spec: Spec,
    overrides: Sequence[str] = (),
    examples: InMemoryExamples | None = None,
    *,
    force_share: bool = False,
) -> Outcome:
    """As ``tuner.run``."""
    return await _followed((spec, overrides, examples), Pace(), force=force_share)


async def submit(
    spec: Spec, overrides: Sequence[str] = (), examples: InMemoryExamples | None = None
) -> Job:
    """As ``tuner.submit``."""
    return (await _followed((spec, overrides, examples), Pace(until=Phase.TUNE))).job


async def status(*names: str) -> list[Job]:
    """As ``tuner.status``."""
    return await asyncio.to_thread(tuner.status, *names)


async def plan(
    *specs: str | Path | PreparedJob, target: str | TargetConfig | None = None
) -> list[PlanItem]:
    """As ``tuner.plan``."""
    config = TargetConfig(target) if isinstance(target, str) else target
    loaded = await asyncio.to_thread(_loaded, specs, config)
    with open_ledger() as ledger:
        async with Connections() as connections:
            return await planned(loaded.jobs(), ledger, connections.get, token_counter())


async def run_pipeline(
    path: str | Path, overrides: Sequence[str] = (), *, force_share: bool = False
) -> PipelineOutcome:
    """As ``tuner.run_pipeline``."""
    pipeline = await asyncio.to_thread(load_pipeline, Path(path), overrides, long_examples)
    asked = RunOptions(force=force_share)
    with open_ledger() as ledger:
        [ended] = await run_all([], [pipeline], ledger, asked, _quietly, Pace())
    assert not isinstance(ended, Outcome)  # noqa: S101 -- for the type checker
    return ended


async def _followed(
    given: tuple[Spec, Sequence[str], InMemoryExamples | None], pace: Pace, *, force: bool = False
) -> Outcome:
    work = await asyncio.to_thread(tuner.validate, *given)
    with open_ledger() as ledger:
        job = begin(work, ledger, given[1])
        pairs = [(replace(job, force=force or job.force), work)]
        [outcome] = await follow_all(pairs, ledger, _quietly, pace)
    if outcome.error:
        raise outcome.error
    return outcome


def _loaded(specs: Sequence[str | Path | PreparedJob], target: TargetConfig | None) -> LoadedFiles:
    """Files and folders read, what was validated already as it is."""
    parts: list[PreparedJob | Pipeline] = []
    problems: list[Problem] = []
    for spec in specs:
        try:
            if isinstance(spec, PreparedJob):
                parts.append(spec)
            else:
                parts += load_files([str(spec)], (), long_examples, target).parts
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(problems)
    return LoadedFiles(tuple(parts))


def _quietly(_: object) -> None:
    """What happens is in the log, nothing is printed."""
