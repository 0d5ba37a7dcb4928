"""data check: everything that is wrong with examples, before anything is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.cli.data.given import data_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.cli.data.given import Given
    from tuner.errors import Problem


@click.command()
@data_options
def check(given: Given) -> None:
    """Say everything that is wrong with examples."""
    from tuner.data.check import capped
    from tuner.errors import DatasetError

    problems = capped(_problems(given))
    if problems:
        raise DatasetError(problems)


def _problems(given: Given) -> Iterator[Problem]:
    from tuner.data import read
    from tuner.data.check import Checks

    checks = Checks(given.limits, given.instruction, given.ignore)
    for batch in read(given.source):
        yield from checks.train(batch)
    for batch in read(given.held) if given.held else ():
        yield from checks.held(batch)
    yield from checks.finish()
