"""Jobs followed on a terminal or in a log, and what is printed when they end."""

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

from tuner.cli.show import show
from tuner.errors import Detached, TunerError
from tuner.jobs import outcome as outcomes_of
from tuner.jobs.runner import Pace
from tuner.types import Phase, TargetConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from tuner.jobs.events import Event, Tell
    from tuner.jobs.job import Job
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.outcome import Outcome

    Follow = Callable[[Tell, Pace], Coroutine[None, None, list[Outcome]]]

ASK_AGAIN_S = 1.0


def bookmarks(ledger: Ledger, named: Sequence[str]) -> list[Job]:
    """The jobs of the ledger by these names; without a name, those that have not ended.

    Raises:
        TunerError: A name is not in the ledger.
    """
    if not named:
        return [bookmark.job for bookmark in ledger.jobs() if not bookmark.job.phase.is_end]
    found = []
    for name in named:
        latest = ledger.jobs(name)[:1]
        if not latest:
            raise UnknownJob(
                f"there is no job {name!r} in the ledger",
                "`tuner status` lists the jobs; `tuner run SPEC` finds what the ledger has lost",
            )
        found.append(latest[0].job)
    return found


class UnknownJob(TunerError):
    """The ledger has no such job. Exit code 2."""

    exit_code = 2


def follow(
    ctx: click.Context, follows: Follow, pace: Pace, output: str, *, wanted: Phase | None = None
) -> int:
    """Run ``follows`` under the reporter that fits, print what came of it, return the exit code.

    A job that ended in the phase ``wanted`` ended well.

    Raises:
        Detached: Ctrl-C; the tuning goes on.
    """
    try:
        live = output != "jsonl" and not ctx.obj["quiet"] and sys.stderr.isatty()
        with _reporter(output, quiet=ctx.obj["quiet"], live=live) as tell:
            outcomes = asyncio.run(_until_interrupted(follows(tell, replace(pace, measures=live))))
    except KeyboardInterrupt:
        raise Detached(
            "stopped watching; nothing is cancelled and tunings that were submitted go on",
            "`tuner resume` goes on from here, `tuner status` shows where, `tuner cancel JOB` cancels",
        ) from None
    _print(outcomes, output)
    bad = [each for each in outcomes if each.failure and each.job.phase is not wanted]
    for outcome in bad:
        click.echo(str(outcome.failure), err=True)
    return outcomes_of.exit_code(bad)


async def _until_interrupted(work: Coroutine[None, None, list[Outcome]]) -> list[Outcome]:
    """What ``work`` gives; KeyboardInterrupt, once it has ended, after a Ctrl-C.

    asyncio asks a task once to end, and grpc.aio can lose that when it meets an answer.
    """
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)

    def stop() -> None:
        task.cancel()
        loop.call_later(ASK_AGAIN_S, stop)

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        await asyncio.wait([task])
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    if task.cancelled():
        raise KeyboardInterrupt
    return task.result()


def pace_until(until: Phase | None, timeout_s: float | None) -> Pace:
    """The runner's pace, from the options of a command."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    return Pace(until=until, deadline=deadline)


def _reporter(
    output: str, *, quiet: bool, live: bool
) -> AbstractContextManager[Callable[[Event], None]]:
    from tuner.jobs.reporters import JsonLines, Lines

    if output == "jsonl":
        return JsonLines(sys.stdout)
    if quiet:
        return nullcontext(lambda _: None)
    if not live:
        return Lines(sys.stderr)
    from rich.console import Console

    from tuner.jobs.live import Terminal

    return Terminal(Console(stderr=True))


def _print(outcomes: Sequence[Outcome], output: str) -> None:
    if output == "jsonl":
        return
    if output != "table":
        show([outcomes_of.record(outcome) for outcome in outcomes], output)
        return
    for outcome in outcomes:
        _print_one(outcome)


def _options(target: TargetConfig) -> str:
    """The target as options of a command; nothing where it is what a command asks anyway."""
    fields = asdict(target)
    kind = fields.pop("kind")
    said = {"target": "" if kind == TargetConfig().kind else kind} | fields
    flags = {name.replace("_", "-"): value for name, value in said.items() if value}
    return "".join(f" --{name} {quote(value)}" for name, value in flags.items())


def _print_one(outcome: Outcome) -> None:
    """The tables of one job, and what to type next."""
    job, evaluation = outcome.job, outcome.job.evaluation
    if evaluation and job.phase.is_end:
        if evaluation.rows:
            click.echo(f"\n{job.name}: held-out rows, as both models answered them")
            show(outcomes_of.sample_rows(evaluation), "table")
        click.echo(f"\n{job.name}: held-out scores")
        show(outcomes_of.score_rows(evaluation), "table")
    if outcome.permissions:
        click.echo(f"\n{job.tuned_model}: permissions, as the service lists them")
        show(outcomes_of.permission_rows(outcome.permissions), "table")
    if job.phase is Phase.DONE:
        asked = evaluation.rows[0].text_input if evaluation and evaluation.rows else "your text"
        where = _options(job.target)
        ask = f"tuner models generate {job.tuned_model} {quote(asked)}{where}"
        click.echo(f"\nTry it: {ask}", err=True)
    elif not job.phase.is_end and not outcome.error:
        click.echo(f"\nGo on: tuner resume {job.name}", err=True)
