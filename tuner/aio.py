"""The functions of ``tuner`` as coroutines, for programs that have a loop of their own."""

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
from tuner.pipelines.plan import plan as planned
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
    return await _followed((spec, overrides, examples), Timing(), force=force_share)


async def submit(
    spec: Spec, overrides: Sequence[str] = (), examples: InMemoryExamples | None = None
) -> Job:
    """As ``tuner.submit``."""
    return (await _followed((spec, overrides, examples), Timing(until=Phase.TUNE))).job


async def status(*names: str) -> list[Job]:
    """As ``tuner.status``."""
    return await asyncio.to_thread(tuner.status, *names)


async def plan(
    *specs: str | Path | PreparedJob, target: str | TargetConfig | None = None
) -> list[PlanItem]:
    """As ``tuner.plan``."""
    config = TargetConfig(target) if isinstance(target, str) else target
    loaded = await asyncio.to_thread(_loaded, specs, config)
    with open_store() as ledger:
        async with Connections() as connections:
            return await planned(loaded.jobs(), ledger, connections.get, token_counter())


async def run_pipeline(
    path: str | Path, overrides: Sequence[str] = (), *, force_share: bool = False
) -> PipelineOutcome:
    """As ``tuner.run_pipeline``."""
    pipeline = await asyncio.to_thread(load_pipeline, Path(path), overrides, extra_checks())
    asked = RunOptions(force=force_share)
    with open_store() as ledger:
        [ended] = await run_all([], [pipeline], ledger, asked, _quietly, Timing())
    assert not isinstance(ended, Outcome)  # noqa: S101 -- for the type checker
    return ended


async def _followed(
    given: tuple[Spec, Sequence[str], InMemoryExamples | None], pace: Timing, *, force: bool = False
) -> Outcome:
    work = await asyncio.to_thread(tuner.validate, *given)
    with open_store() as ledger:
        job = find_or_create_job(work, ledger, given[1])
        pairs = [(replace(job, force=force or job.force), work)]
        [outcome] = await run_jobs(pairs, ledger, _quietly, pace)
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
                parts += load_files([str(spec)], (), extra_checks(), target).parts
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(problems)
    return LoadedFiles(tuple(parts))


def _quietly(_: object) -> None:
    """What happens is in the log, nothing is printed."""


T = TypeVar("T")

ASK_AGAIN_S = 1.0


def run_to_end(main: Callable[[], Coroutine[None, None, T]]) -> T:
    """What ``main`` gives, as by ``asyncio.run``.

    Where a loop is running in this thread already, as in a notebook, it runs in a thread beside it,
    and Ctrl-C, or the notebook's stop, ends it before it is raised here.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main())
    begun: Future[Callable[[], object]] = Future()
    ended: Future[T] = Future()

    def work() -> None:
        try:
            ended.set_result(asyncio.run(_stoppable(main, begun)))
        except BaseException as error:  # noqa: BLE001 -- it is raised below
            ended.set_exception(error)

    thread = Thread(target=work, name="tuner")
    try:
        thread.start()
        while not ended.done():  # Ctrl-C in the instant before a wait is only seen after it
            wait((ended,), ASK_AGAIN_S)
        return ended.result()
    except KeyboardInterrupt:
        with suppress(RuntimeError, TimeoutError):  # it has ended by itself, or not begun
            begun.result(ASK_AGAIN_S)()
            thread.join()
        raise


async def _stoppable(
    main: Callable[[], Coroutine[None, None, T]], begun: Future[Callable[[], object]]
) -> T:
    """``main``, and in ``begun`` what ends it from another thread."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main())

    def stop() -> None:
        task.cancel()
        loop.call_later(ASK_AGAIN_S, stop)  # grpc.aio can lose a cancel when it meets an answer

    begun.set_result(partial(loop.call_soon_threadsafe, stop))
    return await task
