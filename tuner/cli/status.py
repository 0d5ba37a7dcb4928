"""status, watch, cancel: what is going on, from the ledger and from the service."""

from __future__ import annotations

from functools import partial

import click

from tuner.cli.options import output_option, timeout_option

JOBS = click.argument("jobs", metavar="[JOB]...", nargs=-1)


@click.command()
@JOBS
@output_option
def status(jobs: tuple[str, ...], output: str) -> None:
    """Show where every job stands, from the ledger alone.

    No service is asked, so it answers at once; `tuner watch` looks at the service.
    """
    from tuner.cli.from_python import note_started_from_python
    from tuner.cli.show import show
    from tuner.jobs.ledger import open_ledger
    from tuner.jobs.outcome import summary

    with open_ledger() as ledger:
        found = [bookmark.job for bookmark in ledger.jobs(*jobs)]
    rows = [summary(job) for job in found]
    if not rows and output == "table":
        click.echo("no jobs yet; `tuner run SPEC` starts one", err=True)
        return
    show(rows, output)
    note_started_from_python(found)


@click.command()
@JOBS
@timeout_option
@output_option
@click.pass_context
def watch(
    ctx: click.Context, jobs: tuple[str, ...], *, timeout_s: float | None, output: str
) -> int:
    """Follow tunings until they are finished; changes nothing."""
    return _watch(ctx, jobs, timeout_s=timeout_s, output=output, cancel=False)


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@output_option
@click.pass_context
def cancel(ctx: click.Context, jobs: tuple[str, ...], *, output: str) -> int:
    """Cancel tunings.

    Waits until the service has ended them. Nothing is shared or transferred.
    """
    return _watch(ctx, jobs, timeout_s=None, output=output, cancel=True)


def _watch(
    ctx: click.Context, jobs: tuple[str, ...], *, timeout_s: float | None, output: str, cancel: bool
) -> int:
    from tuner.cli.following import bookmarks, follow, pace_until
    from tuner.jobs.ledger import open_ledger
    from tuner.jobs.start import watch_all
    from tuner.types import Phase

    pace = pace_until(None, timeout_s)
    with open_ledger() as ledger:
        found = bookmarks(ledger, jobs)
        follows = partial(watch_all, found, ledger, cancel=cancel)
        return follow(ctx, follows, pace, output, wanted=Phase.CANCELLED if cancel else None)
