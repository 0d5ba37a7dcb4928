"""`tuner status`, `watch` and `cancel`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.options import output_option, timeout_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.job import Job
    from tuner.jobs.pipeline_store import SavedPipeline
    from tuner.jobs.store import Store

JOBS = click.argument("jobs", metavar="[JOB]...", nargs=-1)


@click.command()
@click.argument("jobs", metavar="[JOB|PIPELINE]...", nargs=-1)
@output_option
def status(jobs: tuple[str, ...], output: str) -> None:
    """Show the state of every job, from the local store.

    PIPELINE is a pipeline's name or its file, and shows its stages. No service is called; `tuner watch`
    calls the service.
    """
    from tuner.cli.output import show
    from tuner.cli.run import note_started_from_python
    from tuner.formatting import format_floats
    from tuner.jobs import pipeline_store
    from tuner.jobs.outcome import summary
    from tuner.jobs.store import open_store
    from tuner.pipelines.model import counts, stored_rows

    with open_store() as store:
        known = pipeline_store.all_pipelines(store)
        stages = [each for name in jobs if (each := _pipeline(known, name))]
        names = [name for name in jobs if not _pipeline(known, name)]
        found = [job for name in names for job in _called(name, store)]
        found = found if jobs else [each.job for each in store.jobs()]
        tables = [stored_rows(each, store) for each in stages]
        if output == "table" and not jobs:
            for each in known:
                click.echo(f"{each.name}: {counts(stored_rows(each, store))}", err=True)
        if output == "table" and (late := len(store.pending_notifications())):
            what = "one notification is" if late == 1 else f"{late} notifications are"
            click.echo(f"{what} not delivered yet; `tuner resume` tries again", err=True)
    rows = [summary(job) for job in found]
    if not rows and not tables and output == "table":
        click.echo("no jobs yet; `tuner run SPEC` starts one", err=True)
        return
    if output != "table":
        show([*rows, *(row for table in tables for row in table)], output)
    for table in [rows, *tables] if output == "table" else ():
        show(list(map(format_floats, table)), output)
    note_started_from_python(found)


def _called(name: str, store: Store) -> list[Job]:
    """Return the jobs with this name, title in a pipeline, or tuned model; the latest first.

    Raises:
        UnknownJob: There is none.
    """
    found = [each.job for each in store.jobs(name, name.partition("[")[0])]
    models = (name, f"tunedModels/{name}")
    mine = [job for job in found if name in (job.name, job.title) or job.tuned_model in models]
    if not mine:
        from tuner.cli.job_runs import UnknownJob

        what = f"there is no job or pipeline {name!r} in the local store"
        raise UnknownJob(what, "`tuner status` lists the jobs; `tuner run SPEC` starts one")
    return mine


def _pipeline(known: Sequence[SavedPipeline], name: str) -> SavedPipeline | None:
    """The latest pipeline with this name, ID or file."""
    file = str(Path(name).absolute())
    return next((each for each in known if name in (each.name, each.id) or file == each.spec), None)


@click.command()
@JOBS
@timeout_option
@output_option
@click.pass_context
def watch(
    ctx: click.Context, jobs: tuple[str, ...], *, timeout_s: float | None, output: str
) -> int:
    """Watch tunings until they finish; changes nothing."""
    return _watch(ctx, jobs, timeout_s=timeout_s, output=output, cancel=False)


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@output_option
@click.pass_context
def cancel(ctx: click.Context, jobs: tuple[str, ...], *, output: str) -> int:
    """Cancel tunings.

    Waits until the service has cancelled them. Nothing is shared or transferred.
    """
    return _watch(ctx, jobs, timeout_s=None, output=output, cancel=True)


def _watch(
    ctx: click.Context, jobs: tuple[str, ...], *, timeout_s: float | None, output: str, cancel: bool
) -> int:
    from tuner.cli.job_runs import run_and_report, stored_jobs, timing
    from tuner.jobs.runner import watch_jobs
    from tuner.jobs.store import open_store
    from tuner.types import Phase

    with open_store() as store:
        found = stored_jobs(store, jobs)
        run = partial(watch_jobs, found, store, cancel=cancel)
        expected = Phase.CANCELLED if cancel else None
        return run_and_report(ctx, run, timing(timeout_s), output, expected=expected)
