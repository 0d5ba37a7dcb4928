"""retry: what failed is tuned again, and only that."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.options import output_option, timeout_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.cli.reloading import Files
    from tuner.job import Job
    from tuner.jobs.ledger import Ledger
    from tuner.jobspec.prepared_job import PreparedJob


@click.command()
@click.argument("jobs", metavar="[JOB|PIPELINE]...", nargs=-1)
@timeout_option
@output_option
@click.pass_context
def retry(
    ctx: click.Context, jobs: tuple[str, ...], *, timeout_s: float | None, output: str
) -> int:
    """Tune again what failed or was cancelled, and go on from there.

    JOB is a job's name or its tuned model, PIPELINE a pipeline's name or its file; without any, all
    that failed or was cancelled. The failed model is deleted first. Of a pipeline only what failed
    is tuned again, and what waited for it is begun.
    """
    from tuner.cli.following import follow, pace_until
    from tuner.cli.reloading import pipelines_of
    from tuner.jobs.ledger import open_ledger
    from tuner.pipelines.begun import Manner
    from tuner.pipelines.together import follow_both

    with open_ledger() as ledger:
        found, files = _named(ledger, jobs) if jobs else _all(ledger)
        if not found and not files:
            click.echo("nothing has failed: there is nothing to try again", err=True)
            return 0
        both = [_again(job) for job in found], pipelines_of(files)
        follows = partial(follow_both, both, ledger, Manner(retry=True))
        return follow(ctx, follows, pace_until(None, timeout_s), output)


def _all(ledger: Ledger) -> tuple[list[Job], Files]:
    from tuner.cli.from_python import on_disk
    from tuner.cli.reloading import parted
    from tuner.pipelines.begun import RETRIED

    failed = [each.job for each in ledger.jobs() if each.job.phase in RETRIED]
    return parted(on_disk(failed, are_named=False))


def _named(ledger: Ledger, names: Sequence[str]) -> tuple[list[Job], Files]:
    from tuner.cli.following import bookmarks
    from tuner.cli.from_python import on_disk
    from tuner.cli.reloading import parted
    from tuner.jobs.ledger.pipelines import find
    from tuner.jobspec.files import is_pipeline

    jobs: list[Job] = []
    files: Files = {}
    for name in names:
        known = find(ledger.store, name)
        if known is not None:
            files[known.spec, known.overrides] = None
        elif Path(name).is_file() and is_pipeline(Path(name)):
            files[name, ()] = None
        else:
            jobs += bookmarks(ledger, [name])
    _refuse_others(jobs)
    plain, more = parted(on_disk(jobs, are_named=True))
    return plain, files | more


def _refuse_others(jobs: Sequence[Job]) -> None:
    from tuner.errors import InvalidInput, Problem
    from tuner.pipelines.begun import RETRIED
    from tuner.types import Phase

    problems = []
    for job in jobs:
        if job.phase is Phase.REJECTED:
            what = f"{job.title} did not pass its gate: the same rows give the same answers"
            fix = "change the data or the gate, or `tuner run --force-share`"
            problems.append(Problem("", 0, 0, what, fix))
        elif job.phase not in RETRIED and not job.retry:
            what = f"{job.title} has not failed: it stands at {job.phase.lower()}"
            problems.append(
                Problem("", 0, 0, what, "`tuner resume` goes on with what is unfinished")
            )
    if problems:
        raise InvalidInput(problems)


def _again(job: Job) -> tuple[Job, PreparedJob]:
    from tuner.jobs.running.start import unchanged
    from tuner.jobspec.prepared_job import prepare_job

    work = prepare_job(Path(job.spec), job.overrides)
    job = unchanged(job, work)
    return job if job.retry else replace(job, retry=True, attempt=job.attempt + 1), work
