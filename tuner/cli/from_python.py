"""Jobs that were started from Python: no file tells what they are, so the way on is another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.errors import TunerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.job import Job

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
