"""`tuner run`, `submit`, `resume` and `retry`: run jobs until they end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from tuner.cli.options import output_option, set_option, timeout_option
from tuner.errors import TunerError

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
    "--new", is_flag=True, help="Tune again under a new ID, even if the same job was tuned before."
)


@click.command()
@SPECS
@click.option("-d", "--detach", is_flag=True, help="Submit and exit; `tuner resume` continues.")
@NEW
@click.option(
    "--force-share",
    "force",
    is_flag=True,
    help="Share and transfer even if the gate is not met; this is recorded.",
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
    """Tune a model, evaluate it, share it and transfer it, as SPEC says.

    SPEC is a job spec, a pipeline, or a folder of them. Unchanged jobs are skipped; if one job of
    several is invalid, nothing is sent (`tuner plan SPEC` shows what would happen). Safe to kill and to
    repeat: finished steps are not repeated. Ctrl-C stops watching; the tuning continues. Nothing is
    shared or transferred unless the model meets the gate of its spec.
    """
    request = _Request(specs, overrides, new, force)
    return _follow(ctx, request, _pace(timeout_s, detach=detach), output)


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
    """Submit SPEC and exit; `tuner resume` continues."""
    return _follow(ctx, _Request(specs, overrides, new), _pace(None, detach=True), output)


@click.command()
@click.argument("jobs", metavar="[JOB]...", nargs=-1)
@timeout_option
@output_option
@click.pass_context
def resume(
    ctx: click.Context, jobs: tuple[str, ...], *, timeout_s: float | None, output: str
) -> int:
    """Continue unfinished jobs.

    JOB is a job's name or its tuned model; default: all unfinished jobs.
    """
    from tuner.cli.job_runs import run_and_report, stored_jobs
    from tuner.jobs.store import open_store

    with open_store() as store:
        found = on_disk(stored_jobs(store, jobs, all_variants=True), are_named=bool(jobs))
        return run_and_report(ctx, _following(_of(found), [], store), _pace(timeout_s), output)


def _of(jobs: Sequence[Job]) -> Both:
    """Load the files of stored jobs; stages continue with their whole pipeline."""
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
    """The arguments of ``run`` and ``submit``."""

    specs: Sequence[str]
    overrides: Sequence[str]
    new: bool
    force: bool = False


def _follow(ctx: click.Context, request: _Request, pace: Timing, output: str) -> int:
    """Load the files, skip what is unchanged, and run the rest."""
    from tuner.cli.job_runs import run_and_report
    from tuner.cli.plan import load_all
    from tuner.jobs.store import open_store

    loaded = load_all(request.specs, request.overrides)
    _fetch_base_models(ctx, loaded.every_work)
    with open_store() as store:
        pairs = _pairs(loaded.works, store, request)
        left, settled = _left_to_do(ctx, pairs, loaded, request)
        both = left, loaded.pipelines
        follows = _following(both, settled, store, force=request.force)
        return run_and_report(ctx, follows, pace, output)


def _following(
    both: Both, settled: Sequence[Outcome], store: Store, *, force: bool = False
) -> Callable[[EventHandler, Timing], Coroutine[None, None, Sequence[Outcome | PipelineOutcome]]]:
    async def follows(emit: EventHandler, timing: Timing) -> Sequence[Outcome | PipelineOutcome]:
        if not both[1]:
            from tuner.jobs.runner import run_jobs

            return [*settled, *await run_jobs(both[0], store, emit, timing)]
        from tuner.pipelines.run import RunOptions, run_all

        return [*settled, *await run_all(*both, store, RunOptions(force=force), emit, timing)]

    return follows


def _left_to_do(
    ctx: click.Context, pairs: list[Pair], loaded: LoadedFiles, request: _Request
) -> tuple[list[Pair], list[Outcome]]:
    """Split several jobs into those with planned changes and the outcomes of unchanged ones.

    Raises:
        InvalidInput: A job cannot run; nothing was sent.
    """
    from tuner.cli.plan import planned
    from tuner.pipelines.plan import refuse_blocked, split_settled

    is_one = len(loaded.parts) == 1 and bool(loaded.works) and not Path(request.specs[0]).is_dir()
    if request.new or is_one:
        return pairs, []
    items = asyncio.run(planned(loaded, force=request.force))
    refuse_blocked(items)
    left, settled = split_settled(pairs, items)
    for outcome in settled:
        if not outcome.failure and not ctx.obj["quiet"]:
            click.echo(f"{outcome.job.title}: unchanged", err=True)
    return left, settled


def _fetch_base_models(ctx: click.Context, works: Sequence[PreparedJob]) -> None:
    """Fetch base models here, with a progress bar; the service would do it without one."""
    from tuner.cli.models import pull_missing

    mine = [work.spec for work in works if work.spec.target.kind == "local"]
    names = {spec.base_model for spec in mine if not spec.target.endpoint}
    pull_missing(sorted(names - {""}), quiet=ctx.obj["quiet"])


def _pairs(works: Sequence[PreparedJob], store: Store, request: _Request) -> list[Pair]:
    """Find or create the job of each spec; two specs of equal content are an error."""
    from tuner.errors import InvalidInput, Problem
    from tuner.jobs.runner import find_or_create_job

    pairs = [
        (
            replace(
                find_or_create_job(work, store, request.overrides, new=request.new),
                force=request.force,
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
            fix = "leave one of them out, or give it another tuned_model_id or job name"
            raise InvalidInput([Problem(str(work.spec.path), 0, 0, what, fix)])
    return pairs


def _pace(timeout_s: float | None, *, detach: bool = False) -> Timing:
    from tuner.cli.job_runs import timing
    from tuner.types import Phase

    until = Phase.TUNE if detach else None
    return timing(timeout_s, until)


@click.command()
@click.argument("jobs", metavar="[JOB|PIPELINE]...", nargs=-1)
@timeout_option
@output_option
@click.pass_context
def retry(
    ctx: click.Context, jobs: tuple[str, ...], *, timeout_s: float | None, output: str
) -> int:
    """Tune failed and cancelled jobs again, and continue them.

    JOB is a job's name or its tuned model, PIPELINE a pipeline's name or its file; default: all failed
    and cancelled jobs. The failed model is deleted first. In a pipeline, only failed stages are tuned
    again; stages that waited for them follow.
    """
    from tuner.cli.job_runs import run_and_report, timing
    from tuner.jobs.store import open_store
    from tuner.pipelines.run import RunOptions, run_all

    with open_store() as store:
        found, files = _named(store, jobs) if jobs else _all(store)
        if not found and not files:
            click.echo("nothing to retry: no job failed or was cancelled", err=True)
            return 0
        both = [_again(job) for job in found], pipelines_of(files)
        follows = partial(run_all, *both, store, RunOptions(retry=True))
        return run_and_report(ctx, follows, timing(timeout_s), output)


def _all(store: Store) -> tuple[list[Job], Files]:

    from tuner.pipelines.run import RETRIED

    failed = [each.job for each in store.jobs() if each.job.phase in RETRIED]
    return split_pipelines(on_disk(failed, are_named=False))


def _named(store: Store, names: Sequence[str]) -> tuple[list[Job], Files]:
    from tuner.cli.job_runs import stored_jobs
    from tuner.jobs.pipeline_store import find_pipeline
    from tuner.jobspec.files import is_pipeline

    jobs: list[Job] = []
    files: Files = {}
    for name in names:
        known = find_pipeline(store, name)
        if known is not None:
            files[known.spec, known.overrides] = None
        elif Path(name).is_file() and is_pipeline(Path(name)):
            files[name, ()] = None
        else:
            jobs += stored_jobs(store, [name])
    _refuse_others(jobs)
    plain, more = split_pipelines(on_disk(jobs, are_named=True))
    return plain, files | more


def _refuse_others(jobs: Sequence[Job]) -> None:
    from tuner.errors import InvalidInput, Problem
    from tuner.pipelines.run import RETRIED
    from tuner.types import Phase

    problems = []
    for job in jobs:
        if job.phase is Phase.REJECTED:
            what = f"{job.title} did not meet its gate; a retry would give the same answers"
            fix = "change the data or the gate, or `tuner run --force-share`"
            problems.append(Problem("", 0, 0, what, fix))
        elif job.phase not in RETRIED and not job.retry:
            what = f"{job.title} has not failed: its state is {job.phase.lower()}"
            problems.append(Problem("", 0, 0, what, "`tuner resume` continues unfinished jobs"))
    if problems:
        raise InvalidInput(problems)


def _again(job: Job) -> tuple[Job, PreparedJob]:
    from tuner.jobs.runner import check_unchanged
    from tuner.jobspec.prepared_job import prepare_job
    from tuner.tokens import extra_checks

    work = prepare_job(Path(job.spec), job.overrides, extra=extra_checks())
    job = check_unchanged(job, work)
    return job if job.retry else replace(job, retry=True, attempt=job.attempt + 1), work


def split_pipelines(jobs: Sequence[Job]) -> tuple[list[Job], Files]:
    """Split jobs into single ones and the pipeline files (with overrides) of the others.

    A stage cannot continue alone, because its pipeline selects what is shared.
    """
    from tuner.jobspec.files import is_pipeline

    of_pipelines = [job for job in jobs if is_pipeline(Path(job.spec))]
    files = {(job.spec, job.overrides): None for job in of_pipelines}
    return [job for job in jobs if job not in of_pipelines], files


def pipelines_of(files: Iterable[tuple[str, tuple[str, ...]]]) -> list[Pipeline]:
    """Load pipeline files.

    Raises:
        InvalidInput: A file is invalid.
    """
    from tuner.pipelines.load import load_pipeline

    return [load_pipeline(Path(spec), overrides) for spec, overrides in files]


_RUN_FROM_PYTHON = "call tuner.run with the same spec and examples again: it continues the job"


class NoFile(TunerError):
    """A job's spec or examples were given in Python, not as files. Exit code 2."""

    exit_code = 2


def on_disk(jobs: Sequence[Job], *, are_named: bool) -> list[Job]:
    """Return the jobs that can be loaded from files; list the others on stderr.

    Raises:
        NoFile: A job given by name cannot be loaded.
    """
    for job in jobs:
        if not job.is_on_disk and are_named:
            raise NoFile(
                f"{job.name} was started from Python without a spec file", _RUN_FROM_PYTHON
            )
    note_started_from_python(jobs)
    return [job for job in jobs if job.is_on_disk]


def note_started_from_python(jobs: Sequence[Job]) -> None:
    """Print how to continue jobs started from Python."""
    names = [job.name for job in jobs if not (job.is_on_disk or job.phase.is_end)]
    if names:
        click.echo(f"started from Python: {', '.join(names)}; {_RUN_FROM_PYTHON}", err=True)
