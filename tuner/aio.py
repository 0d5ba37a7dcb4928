"""The functions of ``tuner`` as coroutines, for programs with their own event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

import tuner
from tuner.errors import InvalidInput
from tuner.jobs.outcome import Outcome
from tuner.jobs.runner import Timing, find_or_create_job, run_jobs
from tuner.jobs.store import open_store
from tuner.jobs.target_pool import Connections
from tuner.jobspec.prepared_job import PreparedJob
from tuner.pipelines.load import LoadedFiles, load_files, load_pipeline
from tuner.pipelines.plan import plan as plan_jobs
from tuner.pipelines.run import RunOptions, run_all
from tuner.tokens import extra_checks, token_counter
from tuner.types import Phase, TargetConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

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
    return await _run_one((spec, overrides, examples), Timing(), force=force_share)


async def submit(
    spec: Spec, overrides: Sequence[str] = (), examples: InMemoryExamples | None = None
) -> Job:
    """As ``tuner.submit``."""
    return (await _run_one((spec, overrides, examples), Timing(until=Phase.TUNE))).job


async def status(*names: str) -> list[Job]:
    """As ``tuner.status``."""
    return await asyncio.to_thread(tuner.status, *names)


async def plan(
    *specs: str | Path | PreparedJob, target: str | TargetConfig | None = None
) -> list[PlanItem]:
    """As ``tuner.plan``."""
    config = TargetConfig(target) if isinstance(target, str) else target
    loaded = await asyncio.to_thread(_load, specs, config)
    with open_store() as store:
        async with Connections() as connections:
            return await plan_jobs(loaded.jobs(), store, connections.get, token_counter())


async def run_pipeline(
    path: str | Path, overrides: Sequence[str] = (), *, force_share: bool = False
) -> PipelineOutcome:
    """As ``tuner.run_pipeline``."""
    pipeline = await asyncio.to_thread(load_pipeline, Path(path), overrides, extra_checks())
    options = RunOptions(force=force_share)
    with open_store() as store:
        [ended] = await run_all([], [pipeline], store, options, _ignore_event, Timing())
    assert not isinstance(ended, Outcome)  # noqa: S101 -- for the type checker
    return ended


async def _run_one(
    inputs: tuple[Spec, Sequence[str], InMemoryExamples | None],
    timing: Timing,
    *,
    force: bool = False,
) -> Outcome:
    work = await asyncio.to_thread(tuner.validate, *inputs)
    with open_store() as store:
        job = find_or_create_job(work, store, inputs[1])
        pairs = [(replace(job, force=force or job.force), work)]
        [outcome] = await run_jobs(pairs, store, _ignore_event, timing)
    if outcome.error:
        raise outcome.error
    return outcome


def _load(specs: Sequence[str | Path | PreparedJob], target: TargetConfig | None) -> LoadedFiles:
    """Read files and folders; prepared jobs are used as they are."""
    parts: list[PreparedJob | Pipeline] = []
    problems: list[Problem] = []
    for spec in specs:
        try:
            if isinstance(spec, PreparedJob):
                parts.append(spec)
            else:
                parts += load_files([str(spec)], (), extra_checks(), target).parts
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(problems)
    return LoadedFiles(tuple(parts))


def _ignore_event(_: object) -> None:
    """Print nothing; the event log has all events."""


T = TypeVar("T")

CANCEL_INTERVAL_S = 1.0


def run_to_end(main: Callable[[], Coroutine[None, None, T]]) -> T:
    """Run a coroutine and return its result, like ``asyncio.run``, also in a notebook.

    If this thread already runs an event loop, the coroutine runs in another thread. Ctrl-C, or the
    notebook's stop button, cancels it before KeyboardInterrupt is raised here.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main())
    cancel: Future[Callable[[], object]] = Future()
    ended: Future[T] = Future()

    def run_in_thread() -> None:
        try:
            ended.set_result(asyncio.run(_stoppable(main, cancel)))
        except BaseException as error:  # noqa: BLE001 -- run_to_end raises it
            ended.set_exception(error)

    thread = Thread(target=run_in_thread, name="tuner")
    try:
        thread.start()
        while not ended.done():  # Ctrl-C right before a wait is noticed only after it
            wait((ended,), CANCEL_INTERVAL_S)
        return ended.result()
    except KeyboardInterrupt:
        with suppress(RuntimeError, TimeoutError):  # it has ended already, or not started
            cancel.result(CANCEL_INTERVAL_S)()
            thread.join()
        raise


async def _stoppable(
    main: Callable[[], Coroutine[None, None, T]], cancel: Future[Callable[[], object]]
) -> T:
    """Run ``main``; set ``cancel`` to a function that cancels it from another thread."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main())

    def stop() -> None:
        task.cancel()
        loop.call_later(
            CANCEL_INTERVAL_S, stop
        )  # grpc.aio can lose a cancel that coincides with an answer

    cancel.set_result(partial(loop.call_soon_threadsafe, stop))
    return await task
