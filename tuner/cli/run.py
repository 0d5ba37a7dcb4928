"""run, submit, resume: a job from its spec to its end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from tuner.cli.options import output_option, set_option, timeout_option
from tuner.errors import TunerError
from tuner.jobs.runner import Timing
from tuner.jobs.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from tuner.events.events import EventHandler
    from tuner.job import Job
    from tuner.jobs.outcome import Outcome
    from tuner.jobs.runner import Timing
    from tuner.jobs.store import Store
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.load import LoadedFiles
    from tuner.pipelines.model import Pipeline, PipelineOutcome

    Pair = tuple[Job, PreparedJob]
    Both = tuple[Sequence[Pair], Sequence[Pipeline]]
    Files = dict[tuple[str, tuple[str, ...]], None]


SPECS = click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
SET = set_option()
NEW = click.option(
    "--new",
    is_flag=True,
    help="Tune once more, under an id of its own, though it was tuned before.",
)


@click.command()
@SPECS
@click.option("-d", "--detach", is_flag=True, help="Submit and leave; `tuner resume` goes on.")
@NEW
@click.option(
    "--force-share",
    "force",
    is_flag=True,
    help="Share and transfer although the gate is not met; recorded.",
)
@SET
@timeout_option
@output_option
@click.pass_context
def run(  # noqa: PLR0913 -- one parameter an option
    ctx: click.Context,
    specs: tuple[str, ...],
    *,
    detach: bool,
    new: bool,
    force: bool,
    overrides: tuple[str, ...],
    timeout_s: float | None,
    output: str,
) -> int:
    """Tune, evaluate, share and hand over what SPEC asks for.

    SPEC is a spec, a pipeline, or a folder of them. Of many, what is unchanged is left alone, and
    nothing is sent when one cannot be done: `tuner plan SPEC` says what will be done. Safe to kill and to repeat: what is done already stays as it is. Ctrl-C stops watching, the
    tuning goes on. Nothing is shared or transferred unless the gate of the spec is passed.
    """
    asked = _Request(specs, overrides, new, force)
    return _follow(ctx, asked, _pace(timeout_s, detach=detach), output)


@click.command()
@SPECS
@NEW
@SET
@output_option
@click.pass_context
def submit(
    ctx: click.Context,
    specs: tuple[str, ...],
    *,
    new: bool,
    overrides: tuple[str, ...],
    output: str,
) -> int:
    """Submit SPEC and leave; `tuner resume` goes on."""
    return _follow(ctx, _Request(specs, overrides, new), _pace(None, detach=True), output)


@click.command()
@click.argument("jobs", metavar="[JOB]...", nargs=-1)
@timeout_option
@output_option
@click.pass_context
def resume(
    ctx: click.Context, jobs: tuple[str, ...], *, timeout_s: float | None, output: str
) -> int:
    """Go on with unfinished jobs, from the ledger.

    JOB is a job's name or its tuned model; without one, all unfinished jobs.
    """
    from tuner.cli.following import bookmarks, follow
    from tuner.jobs.store import open_store

    with open_store() as ledger:
        found = on_disk(bookmarks(ledger, jobs, takes_all=True), are_named=bool(jobs))
        return follow(ctx, _following(_of(found), [], ledger), _pace(timeout_s), output)


def _of(jobs: Sequence[Job]) -> Both:
    """The files of bookmarks: jobs go on by themselves, the stages of a pipeline all together."""
    from tuner.jobs.runner import check_unchanged
    from tuner.jobspec.files import is_pipeline
    from tuner.jobspec.prepared_job import prepare_job
    from tuner.pipelines.load import load_pipeline
    from tuner.tokens import extra_checks

    alone = [job for job in jobs if not is_pipeline(Path(job.spec))]
    works = [
        (job, prepare_job(Path(job.spec), job.overrides, extra=extra_checks())) for job in alone
    ]
    files = {(job.spec, job.overrides) for job in jobs if job not in alone}
    pairs = [(check_unchanged(job, work), work) for job, work in works]
    return pairs, [load_pipeline(Path(spec), overrides) for spec, overrides in sorted(files)]


class _Request(NamedTuple):
    """What a command line asks for: files, what is set in them, and how."""

    specs: Sequence[str]
    overrides: Sequence[str]
    new: bool
    force: bool = False


def _follow(ctx: click.Context, asked: _Request, pace: Timing, output: str) -> int:
    """Load the files, look what is to be done about many, and follow what is."""
    from tuner.cli.following import follow
    from tuner.cli.plan import load_all
    from tuner.jobs.store import open_store

    loaded = load_all(asked.specs, asked.overrides)
    _fetch_base_models(ctx, loaded.every_work)
    with open_store() as ledger:
        pairs = _pairs(loaded.works, ledger, asked)
        left, settled = _left_to_do(ctx, pairs, loaded, asked)
        both = left, loaded.pipelines
        follows = _following(both, settled, ledger, force=asked.force)
        return follow(ctx, follows, pace, output)


def _following(
    both: Both, settled: Sequence[Outcome], ledger: Store, *, force: bool = False
) -> Callable[[EventHandler, Timing], Coroutine[None, None, Sequence[Outcome | PipelineOutcome]]]:
    async def follows(tell: EventHandler, pace: Timing) -> Sequence[Outcome | PipelineOutcome]:
        if not both[1]:
            from tuner.jobs.runner import run_jobs

            return [*settled, *await run_jobs(both[0], ledger, tell, pace)]
        from tuner.pipelines.run import RunOptions, run_all

        return [*settled, *await run_all(*both, ledger, RunOptions(force=force), tell, pace)]

    return follows


def _left_to_do(
    ctx: click.Context, pairs: list[Pair], loaded: LoadedFiles, asked: _Request
) -> tuple[list[Pair], list[Outcome]]:
    """Of many jobs those that their plan has something to do for, and what is known of the others.

    Raises:
        InvalidInput: One of them cannot be done; nothing was sent.
    """
    from tuner.cli.plan import planned
    from tuner.pipelines.plan import refuse_blocked, split_settled

    is_one = len(loaded.parts) == 1 and bool(loaded.works) and not Path(asked.specs[0]).is_dir()
    if asked.new or is_one:
        return pairs, []
    items = asyncio.run(planned(loaded, force=asked.force))
    refuse_blocked(items)
    left, settled = split_settled(pairs, items)
    for outcome in settled:
        if not outcome.failure and not ctx.obj["quiet"]:
            click.echo(f"{outcome.job.title}: unchanged", err=True)
    return left, settled


def _fetch_base_models(ctx: click.Context, works: Sequence[PreparedJob]) -> None:
    """The service fetches by itself what it needs, but nobody would see it."""
    from tuner.cli.models import pull_missing

    mine = [work.spec for work in works if work.spec.target.kind == "local"]
    names = {spec.base_model for spec in mine if not spec.target.endpoint}
    pull_missing(sorted(names - {""}), quiet=ctx.obj["quiet"])


def _pairs(works: Sequence[PreparedJob], ledger: Store, asked: _Request) -> list[Pair]:
    """Two specs of the same content are one job: following it twice would do its steps twice."""
    from tuner.errors import InvalidInput, Problem
    from tuner.jobs.runner import find_or_create_job

    pairs = [
        (
            replace(
                find_or_create_job(work, ledger, asked.overrides, new=asked.new), force=asked.force
            ),
            work,
        )
        for work in works
    ]
    first: dict[tuple[str, str], PreparedJob] = {}
    for job, work in pairs:
        other = first.setdefault((job.where, job.tuned_model), work)
        if other is not work:
            what = f"this is the same tuned model as {other.spec.path}: {job.tuned_model}"
            fix = "leave one of them out, or give it a tuned_model_id or job name of its own"
            raise InvalidInput([Problem(str(work.spec.path), 0, 0, what, fix)])
    return pairs


def _pace(timeout_s: float | None, *, detach: bool = False) -> Timing:
    from tuner.cli.following import pace_until
    from tuner.types import Phase

    until = Phase.TUNE if detach else None
    return pace_until(until, timeout_s)


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
    from tuner.jobs.store import open_store
    from tuner.pipelines.run import RunOptions, run_all

    with open_store() as ledger:
        found, files = _named(ledger, jobs) if jobs else _all(ledger)
        if not found and not files:
            click.echo("nothing has failed: there is nothing to try again", err=True)
            return 0
        both = [_again(job) for job in found], pipelines_of(files)
        follows = partial(run_all, *both, ledger, RunOptions(retry=True))
        return follow(ctx, follows, pace_until(None, timeout_s), output)


def _all(ledger: Store) -> tuple[list[Job], Files]:

    from tuner.pipelines.run import RETRIED

    failed = [each.job for each in ledger.jobs() if each.job.phase in RETRIED]
    return parted(on_disk(failed, are_named=False))


def _named(ledger: Store, names: Sequence[str]) -> tuple[list[Job], Files]:
    from tuner.cli.following import bookmarks
    from tuner.jobs.pipeline_store import find_pipeline
    from tuner.jobspec.files import is_pipeline

    jobs: list[Job] = []
    files: Files = {}
    for name in names:
        known = find_pipeline(ledger, name)
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
    from tuner.pipelines.run import RETRIED
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
    from tuner.jobs.runner import check_unchanged
    from tuner.jobspec.prepared_job import prepare_job
    from tuner.tokens import extra_checks

    work = prepare_job(Path(job.spec), job.overrides, extra=extra_checks())
    job = check_unchanged(job, work)
    return job if job.retry else replace(job, retry=True, attempt=job.attempt + 1), work


def parted(jobs: Sequence[Job]) -> tuple[list[Job], Files]:
    """Jobs of their own, and the pipeline files, with their overrides, of the others.

    A job of a pipeline cannot go on alone: whether it is shared is decided among all of them.
    """
    from tuner.jobspec.files import is_pipeline

    of_pipelines = [job for job in jobs if is_pipeline(Path(job.spec))]
    files = {(job.spec, job.overrides): None for job in of_pipelines}
    return [job for job in jobs if job not in of_pipelines], files


def pipelines_of(files: Iterable[tuple[str, tuple[str, ...]]]) -> list[Pipeline]:
    """The pipelines of these files.

    Raises:
        InvalidInput: What is wrong with one of them.
    """
    from tuner.pipelines.load import load_pipeline

    return [load_pipeline(Path(spec), overrides) for spec, overrides in files]


_AGAIN = "call tuner.run once more with the same spec and examples: it goes on where it is"


class NoFile(TunerError):
    """A job's spec or examples are in no file. Exit code 2."""

    exit_code = 2


def on_disk(jobs: Sequence[Job], *, are_named: bool) -> list[Job]:
    """Those that files tell all of; the others are named on stderr.

    Raises:
        NoFile: One of the others was asked for by its name.
    """
    for job in jobs:
        if not job.is_on_disk and are_named:
            raise NoFile(f"{job.name} was started from Python: no file tells what it is", _AGAIN)
    note_started_from_python(jobs)
    return [job for job in jobs if job.is_on_disk]


def note_started_from_python(jobs: Sequence[Job]) -> None:
    """Say how to go on with those that no file tells of."""
    names = [job.name for job in jobs if not (job.is_on_disk or job.phase.is_end)]
    if names:
        click.echo(f"started from Python: {', '.join(names)}; {_AGAIN}", err=True)
