"""Run or watch jobs, report their progress, and print their outcomes."""

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
from tuner.jobs import outcome as job_outcomes
from tuner.jobs.outcome import Outcome
from tuner.jobs.runner import Timing
from tuner.types import Phase, TargetConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from tuner.events.events import Event, EventHandler
    from tuner.job import Job
    from tuner.jobs.store import Store
    from tuner.pipelines.model import PipelineOutcome

    AnyOutcome = Outcome | PipelineOutcome
    Run = Callable[[EventHandler, Timing], Coroutine[None, None, Sequence[AnyOutcome]]]

CANCEL_RETRY_S = 1.0


def stored_jobs(store: Store, names: Sequence[str], *, all_variants: bool = False) -> list[Job]:
    """Return the stored jobs with these names; without names, all unfinished jobs.

    A name is a job's, ``NAME[LABEL]`` for a variant of a matrix, a tuned model's, or a pipeline's for
    its unfinished jobs. With ``all_variants`` a job's name may mean all variants of a matrix.

    Raises:
        UnknownJob: There is no such job, or the name is ambiguous.
    """
    if not names:
        return [bookmark.job for bookmark in store.jobs() if not bookmark.job.phase.is_end]
    found = [job for name in names for job in _find(store, name, all_variants=all_variants)]
    return list({(job.where, job.tuned_model): job for job in found}.values())


def _find(store: Store, name: str, *, all_variants: bool) -> list[Job]:
    from tuner.jobs.pipeline_store import find_pipeline

    found = [bookmark.job for bookmark in store.jobs(name, name.partition("[")[0])]
    models = (name, f"tunedModels/{name}")
    exact = [job for job in found if job.title == name or job.tuned_model in models]
    labelled = [job for job in found if job.label and job.name == name]
    if exact and (exact[0] == found[0] or not labelled):
        return exact[:1]
    if len(labelled) == 1 or (labelled and all_variants):
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


class UnknownJob(TunerError):
    """The local store has no such job. Exit code 2."""

    exit_code = 2


def run_and_report(
    ctx: click.Context, run: Run, timing: Timing, output: str, *, expected: Phase | None = None
) -> int:
    """Run jobs under the reporter for ``output``, print the outcomes, and return the exit code.

    A job that ends in the phase ``expected`` is not a failure.

    Raises:
        Detached: Ctrl-C; the tuning continues.
    """
    try:
        is_live = output != "jsonl" and not ctx.obj["quiet"] and sys.stderr.isatty()
        with _reporter(output, quiet=ctx.obj["quiet"], is_live=is_live) as reporter:
            news = NewsFilter(reporter)
            handler = reporter if output == "jsonl" else news
            outcomes = asyncio.run(
                _until_interrupted(run(handler, replace(timing, measures=is_live)))
            )
    except KeyboardInterrupt:
        raise Detached(
            "stopped watching; nothing is cancelled, submitted tunings continue",
            "`tuner resume` continues, `tuner status` shows the state, `tuner cancel JOB` cancels",
        ) from None
    _print(outcomes, output, news)
    failures = [failure for each in outcomes for failure in _failures(each, expected)]
    for failure in failures:
        click.echo(str(failure), err=True)
    return job_outcomes.gravest({failure.exit_code for failure in failures})


def _failures(outcome: AnyOutcome, expected: Phase | None) -> Sequence[TunerError]:
    if not isinstance(outcome, Outcome):
        return outcome.failures
    is_expected = outcome.job.phase is expected
    return [outcome.failure] if outcome.failure and not is_expected else []


async def _until_interrupted(
    work: Coroutine[None, None, Sequence[AnyOutcome]],
) -> Sequence[AnyOutcome]:
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


def timing(timeout_s: float | None, until: Phase | None = None) -> Timing:
    """Return the runner's timing for a command's options."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    return Timing(until=until, deadline=deadline)


def _reporter(
    output: str, *, quiet: bool, is_live: bool
) -> AbstractContextManager[Callable[[Event], None]]:
    from tuner.events.reporters import JsonLines, Lines

    if output == "jsonl":
        return JsonLines(sys.stdout)
    if quiet:
        return nullcontext(lambda _: None)
    if not is_live:
        return Lines(sys.stderr)
    from rich.console import Console

    from tuner.events.progress import Terminal

    return Terminal(Console(stderr=True))


def _print(outcomes: Sequence[AnyOutcome], output: str, news: NewsFilter) -> None:
    if output == "jsonl":
        return
    if output != "table":
        show([_record(each) for each in outcomes], output)
        return
    for each in outcomes:
        if not isinstance(each, Outcome):
            _print_pipeline(each, news)
        elif each.is_news:
            _print_job(each)


def _record(outcome: AnyOutcome) -> dict[str, object]:
    if isinstance(outcome, Outcome):
        return job_outcomes.record(outcome)
    from tuner.pipelines.model import record

    return record(outcome)


def _print_pipeline(outcome: PipelineOutcome, news: NewsFilter) -> None:
    """Print one row per stage, and the tables of selected stages with news."""
    from tuner.pipelines.model import rows

    changed = [name for name, each in outcome.outcomes.items() if news.has_reported(each.job)]
    is_unchanged = not changed and not outcome.failures
    click.echo(f"\n{outcome.pipeline.name}: {'unchanged' if is_unchanged else 'stages'}")
    show(list(map(format_floats, rows(outcome))), "table")
    for name in outcome.winners.values():
        if name in changed:
            _print_job(outcome.outcomes[name])


def _options(target: TargetConfig) -> str:
    """Format the target as command options; empty for the default target."""
    fields = asdict(target)
    kind = fields.pop("kind")
    options = {"target": "" if kind == TargetConfig().kind else kind} | fields
    flags = {name.replace("_", "-"): value for name, value in options.items() if value}
    return "".join(f" --{name} {quote(value)}" for name, value in flags.items())


def _print_job(outcome: Outcome) -> None:
    """Print the tables of one job and the next command."""
    job, evaluation = outcome.job, outcome.job.evaluation
    if evaluation and job.phase.is_end:
        if evaluation.rows:
            click.echo(f"\n{job.title}: held-out rows with the answers of both models")
            show(job_outcomes.sample_rows(evaluation), "table")
        click.echo(f"\n{job.title}: held-out scores")
        show(job_outcomes.score_rows(evaluation), "table")
        click.echo(job_outcomes.difference(evaluation))
    if outcome.permissions:
        click.echo(f"\n{job.tuned_model}: permissions on the service")
        show(job_outcomes.permission_rows(outcome.permissions), "table")
    if job.phase is Phase.DONE:
        text = evaluation.rows[0].text_input if evaluation and evaluation.rows else "your text"
        command = f"tuner models generate {job.tuned_model} {quote(text)}{_options(job.target)}"
        click.echo(f"\nTry it: {command}", err=True)
    elif not job.phase.is_end and not outcome.error:
        click.echo(f"\nContinue: tuner resume {job.name}", err=True)
