"""Run jobs under a reporter, and print their outcomes."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from shlex import quote
from typing import TYPE_CHECKING

import click

from tuner.cli.output import show
from tuner.errors import Detached, TunerError
from tuner.events.reporters import NewsFilter
from tuner.formatting import format_floats
from tuner.jobs import outcome as outcomes_of
from tuner.jobs.outcome import Outcome
from tuner.jobs.runner import Timing
from tuner.types import Phase, TargetConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from tuner.events.events import Event, EventHandler
    from tuner.job import Job
    from tuner.jobs.store import Store
    from tuner.pipelines.model import PipelineOutcome

    Ended = Outcome | PipelineOutcome
    Follow = Callable[[EventHandler, Timing], Coroutine[None, None, Sequence[Ended]]]

CANCEL_RETRY_S = 1.0
GOES_ON = ("WAITING", "SUBMIT", "TUNE", "EVALUATE", "SHARE", "TRANSFER")


def bookmarks(store: Store, named: Sequence[str], *, takes_all: bool = False) -> list[Job]:
    """Return the stored jobs with these names; without names, all unfinished jobs.

    A name is a job's, ``NAME[LABEL]`` for a variant of a matrix, a tuned model's, or a pipeline's, which
    means its unfinished jobs. With ``takes_all`` a name may mean all variants of a matrix.

    Raises:
        UnknownJob: There is no such job, or the name is ambiguous.
    """
    if not named:
        return [bookmark.job for bookmark in store.jobs() if not bookmark.job.phase.is_end]
    found = [job for name in named for job in _named(store, name, takes_all=takes_all)]
    return list({(job.where, job.tuned_model): job for job in found}.values())


def _named(store: Store, name: str, *, takes_all: bool) -> list[Job]:
    from tuner.jobs.pipeline_store import find_pipeline

    found = [bookmark.job for bookmark in store.jobs(name, name.partition("[")[0])]
    exact = [job for job in found if name in (job.title, job.tuned_model, _id(job))]
    labelled = [job for job in found if job.label and job.name == name]
    if exact and (exact[0] == found[0] or not labelled):
        return exact[:1]
    if len(labelled) == 1 or (labelled and takes_all):
        return labelled
    if labelled:
        titles = ", ".join(repr(job.title) for job in labelled)
        raise UnknownJob(f"{len(labelled)} jobs have the name {name!r}", f"use one of {titles}")
    known = find_pipeline(store, name)
    if known is None:
        raise UnknownJob(
            f"there is no job {name!r} in the local store",
            "`tuner status` lists the jobs; `tuner run SPEC` finds a job missing in the store",
        )
    stages = [store.find(each.where, each.tuned_model) for each in known.members]
    return [job for job in stages if job and not job.phase.is_end]


def _id(job: Job) -> str:
    return job.tuned_model.removeprefix("tunedModels/")


class UnknownJob(TunerError):
    """The local store has no such job. Exit code 2."""

    exit_code = 2


def follow(
    ctx: click.Context, follows: Follow, pace: Timing, output: str, *, wanted: Phase | None = None
) -> int:
    """Run jobs under the reporter for ``output``, print the outcomes, and return the exit code.

    A job that ends in the phase ``wanted`` is not a failure.

    Raises:
        Detached: Ctrl-C; the tuning continues.
    """
    try:
        live = output != "jsonl" and not ctx.obj["quiet"] and sys.stderr.isatty()
        with _reporter(output, quiet=ctx.obj["quiet"], live=live) as reporter:
            told = NewsFilter(reporter)
            tell = reporter if output == "jsonl" else told
            outcomes = asyncio.run(_until_interrupted(follows(tell, replace(pace, measures=live))))
    except KeyboardInterrupt:
        raise Detached(
            "stopped watching; nothing is cancelled, submitted tunings continue",
            "`tuner resume` continues, `tuner status` shows the state, `tuner cancel JOB` cancels",
        ) from None
    _print(outcomes, output, told)
    failures = [failure for each in outcomes for failure in _failures(each, wanted)]
    for failure in failures:
        click.echo(str(failure), err=True)
    return outcomes_of.gravest({failure.exit_code for failure in failures})


def _failures(ended: Ended, wanted: Phase | None) -> Sequence[TunerError]:
    if not isinstance(ended, Outcome):
        return ended.failures
    return [ended.failure] if ended.failure and ended.job.phase is not wanted else []


async def _until_interrupted(work: Coroutine[None, None, Sequence[Ended]]) -> Sequence[Ended]:
    """Return the result of ``work``; after Ctrl-C cancel it and raise KeyboardInterrupt.

    Cancels repeatedly: grpc.aio can lose a cancellation that coincides with a response.
    """
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)

    def stop() -> None:
        task.cancel()
        loop.call_later(CANCEL_RETRY_S, stop)

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        await asyncio.wait([task])
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    if task.cancelled():
        raise KeyboardInterrupt
    return task.result()


def pace_until(until: Phase | None, timeout_s: float | None) -> Timing:
    """Make the runner's pace from a command's options."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    return Timing(until=until, deadline=deadline)


def _reporter(
    output: str, *, quiet: bool, live: bool
) -> AbstractContextManager[Callable[[Event], None]]:
    from tuner.events.reporters import JsonLines, Lines

    if output == "jsonl":
        return JsonLines(sys.stdout)
    if quiet:
        return nullcontext(lambda _: None)
    if not live:
        return Lines(sys.stderr)
    from rich.console import Console

    from tuner.events.progress import Terminal

    return Terminal(Console(stderr=True))


def _print(outcomes: Sequence[Ended], output: str, told: NewsFilter) -> None:
    if output == "jsonl":
        return
    if output != "table":
        show([_record(ended) for ended in outcomes], output)
        return
    for ended in outcomes:
        if not isinstance(ended, Outcome):
            _print_pipeline(ended, told)
        elif ended.is_news:
            _print_one(ended)


def _record(ended: Ended) -> dict[str, object]:
    if isinstance(ended, Outcome):
        return outcomes_of.record(ended)
    from tuner.pipelines.model import record

    return record(ended)


def _print_pipeline(ended: PipelineOutcome, told: NewsFilter) -> None:
    """Print one row per stage, and the tables of selected stages with news."""
    from tuner.pipelines.model import rows

    news = [name for name, each in ended.outcomes.items() if told.has_reported(each.job)]
    is_unchanged = not news and not ended.failures
    click.echo(f"\n{ended.pipeline.name}: {'unchanged' if is_unchanged else 'stages'}")
    show(list(map(format_floats, rows(ended))), "table")
    for name in ended.winners.values():
        if name in news:
            _print_one(ended.outcomes[name])


def _options(target: TargetConfig) -> str:
    """Format the target as command options; empty for the default target."""
    fields = asdict(target)
    kind = fields.pop("kind")
    options = {"target": "" if kind == TargetConfig().kind else kind} | fields
    flags = {name.replace("_", "-"): value for name, value in options.items() if value}
    return "".join(f" --{name} {quote(value)}" for name, value in flags.items())


def _print_one(outcome: Outcome) -> None:
    """Print the tables of one job and the next command."""
    job, evaluation = outcome.job, outcome.job.evaluation
    if evaluation and job.phase.is_end:
        if evaluation.rows:
            click.echo(f"\n{job.title}: held-out rows with the answers of both models")
            show(outcomes_of.sample_rows(evaluation), "table")
        click.echo(f"\n{job.title}: held-out scores")
        show(outcomes_of.score_rows(evaluation), "table")
        click.echo(outcomes_of.difference(evaluation))
    if outcome.permissions:
        click.echo(f"\n{job.tuned_model}: permissions on the service")
        show(outcomes_of.permission_rows(outcome.permissions), "table")
    if job.phase is Phase.DONE:
        asked = evaluation.rows[0].text_input if evaluation and evaluation.rows else "your text"
        where = _options(job.target)
        ask = f"tuner models generate {job.tuned_model} {quote(asked)}{where}"
        click.echo(f"\nTry it: {ask}", err=True)
    elif not job.phase.is_end and not outcome.error:
        click.echo(f"\nContinue: tuner resume {job.name}", err=True)
