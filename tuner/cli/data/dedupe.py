"""data dedupe: a copy without the rows that only repeat another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.cli.data.copies import (
    drop_bad_option,
    file_option,
    force_option,
    format_option,
    read_all,
)
from tuner.cli.data.given import data_options
from tuner.cli.options import output_option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tuner.cli.data.given import Given
    from tuner.data.repeats import Repeat
    from tuner.types import Example

_MOST_SHOWN = 50
_TEXT_CHARS = 60


@click.command()
@data_options
@file_option("--to", "to", "Where to write the copy; without it nothing is written.")
@click.option(
    "--near",
    type=click.FloatRange(0.8, 1),
    is_flag=False,
    flag_value=0.8,
    metavar="SIMILARITY",
    help="Also rows with the same output and nearly the same input; 0.8 unless said.",
)
@click.option("--ignore-case", is_flag=True, help="Also rows that differ in case and space alone.")
@format_option
@drop_bad_option
@force_option
@output_option
def dedupe(  # noqa: PLR0913 -- one parameter an option
    given: Given,
    to: Path | None,
    near: float | None,
    to_format: str,
    output: str,
    *,
    ignore_case: bool,
    drop_bad: bool,
    force: bool,
) -> None:
    """Write a copy without the rows that only repeat another.

    Lists each dropped row with the one that it repeats. An input that is there with two outputs is
    a conflict, which `tuner data check` tells, and both rows stay. Which of several rows
    stays is decided by their texts, not by their order. The copy has the two columns and no other.
    """
    from tuner.cli.data.watching import busy
    from tuner.cli.show import show
    from tuner.data.formats.writers import check_free, write
    from tuner.data.repeats import find_repeats

    inputs = given.source.paths
    if to:
        check_free(to, force, inputs)
    rows = read_all(given, drop_bad=drop_bad)
    with busy("comparing", len(rows)):
        found = find_repeats(rows, near=near, ignore_case=ignore_case)
    shown = found if output != "table" else found[:_MOST_SHOWN]
    if shown or output != "table":
        show(_records(shown, rows), output)
    gone = {each.row for each in found}
    kept = [each for row, each in enumerate(rows) if row not in gone]
    if to:
        write(to, kept, to_format, given.source.columns, force=force, inputs=inputs)
    more = f"and {len(found) - len(shown):,} more; " if len(found) > len(shown) else ""
    where = f"wrote {to}" if to else "nothing is written without --to"
    click.echo(f"{more}{len(found):,} of {len(rows):,} rows repeat another; {where}", err=True)


def _records(found: Sequence[Repeat], rows: Sequence[Example]) -> list[dict[str, object]]:
    return [
        {
            "line": rows[each.row].line,
            "repeats_line": rows[each.of].line,
            "rule": each.rule,
            "similarity": round(each.similarity, 3),
            "text_input": _short(rows[each.row].text_input),
        }
        for each in found
    ]


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_CHARS else f"{text[: _TEXT_CHARS - 1]}…"
