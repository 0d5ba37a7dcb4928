"""run, submit, resume: a job from its spec to its end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from tuner.cli.options import output_option, set_option, timeout_option

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from tuner.events.events import Tell
    from tuner.job import Job
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.outcome import Outcome
    from tuner.jobs.planning.loading import Loaded
    from tuner.jobs.planning.settled import Pair
    from tuner.jobs.running.runner import Pace
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.outcome import PipelineOutcome
    from tuner.pipelines.together import Both

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
    asked = _Asked(specs, overrides, new, force)
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
    return _follow(ctx, _Asked(specs, overrides, new), _pace(None, detach=True), output)


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
    from tuner.cli.from_python import on_disk
    from tuner.jobs.ledger import open_ledger

    with open_ledger() as ledger:
        found = on_disk(bookmarks(ledger, jobs, takes_all=True), are_named=bool(jobs))
        return follow(ctx, _following(_of(found), [], ledger), _pace(timeout_s), output)


def _of(jobs: Sequence[Job]) -> Both:
    """The files of bookmarks: jobs go on by themselves, the stages of a pipeline all together."""
    from tuner.jobs.running.start import unchanged
    from tuner.jobspec.files import is_pipeline
    from tuner.jobspec.prepared_job import prepare_job
    from tuner.pipelines.spec import load_pipeline

    alone = [job for job in jobs if not is_pipeline(Path(job.spec))]
    works = [(job, prepare_job(Path(job.spec), job.overrides)) for job in alone]
    files = {(job.spec, job.overrides) for job in jobs if job not in alone}
    pairs = [(unchanged(job, work), work) for job, work in works]
    return pairs, [load_pipeline(Path(spec), overrides) for spec, overrides in sorted(files)]


class _Asked(NamedTuple):
    """What a command line asks for: files, what is set in them, and how."""

    specs: Sequence[str]
    overrides: Sequence[str]
    new: bool
    force: bool = False


def _follow(ctx: click.Context, asked: _Asked, pace: Pace, output: str) -> int:
    """Load the files, look what is to be done about many, and follow what is."""
    from tuner.cli.following import follow
    from tuner.cli.validate import load_all
    from tuner.jobs.ledger import open_ledger

    loaded = load_all(asked.specs, asked.overrides)
    _fetch_base_models(ctx, loaded.every_work)
    with open_ledger() as ledger:
        pairs = _pairs(loaded.works, ledger, asked)
        left, settled = _left_to_do(ctx, pairs, loaded, asked)
        both = left, loaded.pipelines
        follows = _following(both, settled, ledger, force=asked.force)
        return follow(ctx, follows, pace, output)


def _following(
    both: Both, settled: Sequence[Outcome], ledger: Ledger, *, force: bool = False
) -> Callable[[Tell, Pace], Coroutine[None, None, Sequence[Outcome | PipelineOutcome]]]:
    async def follows(tell: Tell, pace: Pace) -> Sequence[Outcome | PipelineOutcome]:
        if not both[1]:
            from tuner.jobs.running.start import follow_all

            return [*settled, *await follow_all(both[0], ledger, tell, pace)]
        from tuner.pipelines.begun import Manner
        from tuner.pipelines.together import follow_both

        return [*settled, *await follow_both(both, ledger, Manner(force=force), tell, pace)]

    return follows


def _left_to_do(
    ctx: click.Context, pairs: list[Pair], loaded: Loaded, asked: _Asked
) -> tuple[list[Pair], list[Outcome]]:
    """Of many jobs those that their plan has something to do for, and what is known of the others.

    Raises:
        InvalidInput: One of them cannot be done; nothing was sent.
    """
    from tuner.cli.plan import planned
    from tuner.jobs.planning.settled import parted, refuse_blocked

    is_one = len(loaded.parts) == 1 and bool(loaded.works) and not Path(asked.specs[0]).is_dir()
    if asked.new or is_one:
        return pairs, []
    items = asyncio.run(planned(loaded, force=asked.force))
    refuse_blocked(items)
    left, settled = parted(pairs, items)
    for outcome in settled:
        if not outcome.failure and not ctx.obj["quiet"]:
            click.echo(f"{outcome.job.title}: unchanged", err=True)
    return left, settled


def _fetch_base_models(ctx: click.Context, works: Sequence[PreparedJob]) -> None:
    """The service fetches by itself what it needs, but nobody would see it."""
    from tuner.cli.pull import pull_missing

    mine = [work.spec for work in works if work.spec.target.kind == "local"]
    names = {spec.base_model for spec in mine if not spec.target.endpoint}
    pull_missing(sorted(names - {""}), quiet=ctx.obj["quiet"])


def _pairs(works: Sequence[PreparedJob], ledger: Ledger, asked: _Asked) -> list[Pair]:
    """Two specs of the same content are one job: following it twice would do its steps twice."""
    from tuner.errors import InvalidInput, Problem
    from tuner.jobs.running.start import begin

    pairs = [
        (replace(begin(work, ledger, asked.overrides, new=asked.new), force=asked.force), work)
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


def _pace(timeout_s: float | None, *, detach: bool = False) -> Pace:
    from tuner.cli.following import pace_until
    from tuner.types import Phase

    until = Phase.TUNE if detach else None
    return pace_until(until, timeout_s)
