"""run, submit, resume: a job from its spec to its end."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.options import output_option, timeout_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.jobs.job import Job
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.runner import Pace
    from tuner.jobs.work import Work

SPECS = click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of the spec, e.g. hyperparameters.epoch_count=3. Repeatable.",
)
NEW = click.option(
    "--new",
    is_flag=True,
    help="Tune once more, under an id of its own, though it was tuned before.",
)


@click.command()
@SPECS
@click.option("-d", "--detach", is_flag=True, help="Submit and leave; `tuner resume` goes on.")
@NEW
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
    overrides: tuple[str, ...],
    timeout_s: float | None,
    output: str,
) -> int:
    """Tune, evaluate, share and hand over what SPEC asks for.

    Safe to kill and to repeat: what is done already stays as it is. Ctrl-C stops watching, the
    tuning goes on. Nothing is shared or transferred unless the gate of the spec is passed.
    """
    return _follow(ctx, (specs, overrides), _pace(timeout_s, detach=detach), new=new, output=output)


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
    return _follow(ctx, (specs, overrides), _pace(None, detach=True), new=new, output=output)


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
    from tuner.jobs.start import follow_all, unchanged
    from tuner.jobs.work import load_work

    with open_ledger() as ledger:
        found = on_disk(bookmarks(ledger, jobs), are_named=bool(jobs))
        works = [(job, load_work(Path(job.spec), job.overrides)) for job in found]
        pairs = [(unchanged(job, work), work) for job, work in works]
        return follow(ctx, partial(follow_all, pairs, ledger), _pace(timeout_s), output)


def _follow(
    ctx: click.Context,
    given: tuple[Sequence[str], Sequence[str]],
    pace: Pace,
    *,
    new: bool,
    output: str,
) -> int:
    """Load the specs with the overrides that were ``given``, and follow their jobs."""
    from tuner.cli.following import follow
    from tuner.cli.validate import load_all
    from tuner.jobs.ledger import open_ledger
    from tuner.jobs.start import follow_all

    specs, overrides = given
    works = load_all(specs, overrides)
    _fetch_base_models(ctx, works)
    with open_ledger() as ledger:
        pairs = _pairs(works, ledger, overrides, new=new)
        return follow(ctx, partial(follow_all, pairs, ledger), pace, output)


def _fetch_base_models(ctx: click.Context, works: Sequence[Work]) -> None:
    """The service fetches by itself what it needs, but nobody would see it."""
    from tuner.cli.pull import pull_missing

    mine = [work.spec for work in works if work.spec.target.kind == "local"]
    names = {spec.base_model for spec in mine if not spec.target.endpoint}
    pull_missing(sorted(names), quiet=ctx.obj["quiet"])


def _pairs(
    works: Sequence[Work], ledger: Ledger, overrides: Sequence[str], *, new: bool
) -> list[tuple[Job, Work]]:
    """Two specs of the same content are one job: following it twice would do its steps twice."""
    from tuner.errors import InvalidInput, Problem
    from tuner.jobs.start import begin

    pairs = [(begin(work, ledger, overrides, new=new), work) for work in works]
    first: dict[tuple[str, str], Work] = {}
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
