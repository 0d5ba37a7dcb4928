"""data convert: examples of any format as a file of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.cli.data.copies import (
    UNLESS_DROPPED,
    drop_bad_option,
    file_option,
    force_option,
    format_option,
)
from tuner.cli.data.given import data_options
from tuner.cli.options import output_option

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner.cli.data.given import Given
    from tuner.errors import Problem
    from tuner.types import Example


@click.command()
@data_options
@file_option(
    "--to", "to", "Where to write; its name may say how: .jsonl, .csv.gz...", required=True
)
@format_option
@click.option(
    "--system",
    default="",
    metavar="TEXT",
    help="The system text of every example; in front of the input where a format has no place for it.",
)
@drop_bad_option
@force_option
@output_option
def convert(  # noqa: PLR0913 -- one parameter an option
    given: Given,
    to: Path,
    *,
    to_format: str,
    system: str,
    output: str,
    drop_bad: bool,
    force: bool,
) -> None:
    """Write examples of any format as a file of another.

    Rows that cannot be read are listed, and nothing is written unless --drop-bad. Texts stay to
    the letter. System text that was read is part of the input, and is written as that; what has no
    place in an example (weights, names, other columns) is not written.
    """
    from tuner.cli.show import show
    from tuner.data.formats.writers import write

    rows = _Rows(given, drop_bad=drop_bad)
    inputs, columns = given.source.paths, given.source.columns
    write(to, rows, to_format, columns, force=force, inputs=inputs, system=system)
    for problem in rows.problems():
        click.echo(str(problem), err=True)
    show(
        [
            {"from": path, "rows": count, "left_out": rows.left_out.get(path, 0), "to": str(to)}
            for path, count in rows.counts.items()
        ],
        output,
    )


class _Rows:
    """The examples one by one, counted by the file they come from."""

    def __init__(self, given: Given, *, drop_bad: bool) -> None:
        from tuner.data.checks.report import Tally

        self.counts: dict[str, int] = {}
        self.left_out: dict[str, int] = {}
        self._given = given
        self._drop_bad = drop_bad
        self._bad = Tally()

    def __iter__(self) -> Iterator[Example]:
        """After the last row it is known whether the file may stay.

        Raises:
            DatasetError: Rows cannot be read, and are not to be dropped; or there are none.
        """
        from tuner.cli.data.watching import watched
        from tuner.data import read
        from tuner.errors import DatasetError, Problem

        for batch in watched(read(self._given.source)):
            self.counts[batch.path] = self.counts.get(batch.path, 0) + len(batch.lines)
            self.left_out[batch.path] = self.left_out.get(batch.path, 0) + batch.unread()
            self._bad.add_all(batch.problems)
            if self._drop_bad or not self._bad.counts:
                yield from batch.examples()
        if self._bad.counts and not (self._drop_bad and any(self.counts.values())):
            if any(self.counts.values()):
                click.echo(UNLESS_DROPPED, err=True)
            raise DatasetError(self.problems())
        if not any(self.counts.values()):
            paths = ", ".join(self.counts)
            raise DatasetError([Problem(paths, 0, 0, "there are no examples", "", "no-examples")])

    def problems(self) -> list[Problem]:
        """What is wrong with rows that were left out, the first of each rule."""
        return self._bad.capped()
