"""`tuner data convert`, `dedupe` and `split`: write copies of examples."""

from __future__ import annotations

from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.data_options import data_options, rows_of, shortened
from tuner.cli.options import output_option
from tuner.data.dataset import FORMATS as READABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner.cli.data_options import DataInput, RowCounts
    from tuner.data.checks.duplicates import Repetition
    from tuner.types import Example


FORMATS = (*(each for each in READABLE if each != "dataset"), "tsv")
"""A test compares these with the tables of writers and record formats, whose import is slow."""

UNREADABLE_ROWS = "nothing is written: there are unreadable rows; --drop-bad drops them"

force_option = click.option("--force", is_flag=True, help="Overwrite existing files.")
format_option = click.option(
    "--to-format",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="Format to write; auto: by the file's name.",
)
drop_bad_option = click.option(
    "--drop-bad", is_flag=True, help="Drop unreadable rows instead of failing."
)


def file_option(
    name: str, variable: str, text: str, *, required: bool = False
) -> Callable[[Any], Any]:
    """Make an option for an output file."""
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option(name, variable, type=kind, metavar="FILE", required=required, help=text)


def read_all(given: DataInput, *, drop_bad: bool) -> tuple[list[Example], RowCounts]:
    """Return every row, and the counts by file; with ``drop_bad`` list unreadable rows on stderr.

    Raises DatasetError if there are unreadable rows without ``drop_bad``, or no rows.
    """
    from tuner.errors import DatasetError

    examples, problems, counts = rows_of(given)
    if problems and not drop_bad:
        click.echo(UNREADABLE_ROWS, err=True)
        raise DatasetError(problems)
    for problem in problems:
        click.echo(str(problem), err=True)
    return examples, counts


@click.command()
@data_options
@file_option(
    "--to", "to", "The file to write; its name sets the format: .jsonl, .csv.gz...", required=True
)
@format_option
@click.option(
    "--system",
    default="",
    metavar="TEXT",
    help="System text of every example; put before the input in formats without one.",
)
@drop_bad_option
@force_option
@output_option
def convert(  # noqa: PLR0913 -- one parameter an option
    given: DataInput,
    to: Path,
    *,
    to_format: str,
    system: str,
    output: str,
    drop_bad: bool,
    force: bool,
) -> None:
    """Convert examples to another format.

    Unreadable rows are listed, and nothing is written without --drop-bad. Texts are unchanged. System text
    of the source is part of the input. Fields that are not part of an example (weights, names, other
    columns) are not written.
    """
    from tuner.cli.output import show
    from tuner.data.export import check_free, write

    inputs, columns = given.source.paths, given.source.columns
    check_free(to, force, inputs)
    rows, counts = read_all(given, drop_bad=drop_bad)
    write(to, rows, to_format, columns, force=force, inputs=inputs, system=system)
    show(
        [
            {"from": path, "rows": count, "left_out": left_out, "to": str(to)}
            for path, (count, left_out) in counts.items()
        ],
        output,
    )


_MAX_SHOWN = 50
_TEXT_CHARS = 60


@click.command()
@data_options
@file_option("--to", "to", "The file to write; without it nothing is written.")
@click.option(
    "--near",
    type=click.FloatRange(0.8, 1),
    is_flag=False,
    flag_value=0.8,
    metavar="SIMILARITY",
    help="Also drop rows with equal output and similar input; default similarity: 0.8.",
)
@click.option(
    "--ignore-case", is_flag=True, help="Also drop rows that differ only in case and space."
)
@format_option
@drop_bad_option
@force_option
@output_option
def dedupe(  # noqa: PLR0913 -- one parameter an option
    given: DataInput,
    to: Path | None,
    near: float | None,
    to_format: str,
    output: str,
    *,
    ignore_case: bool,
    drop_bad: bool,
    force: bool,
) -> None:
    """Write a copy without duplicate rows.

    Lists each dropped row with the row it repeats. Rows with equal input and different outputs are
    conflicts (see `tuner data check`), and stay. Which of several rows stays depends on their texts, not on
    their order. The copy has only the two columns.
    """
    from tuner.cli.output import busy, show
    from tuner.data.checks.duplicates import find_repetitions
    from tuner.data.export import check_free, write

    inputs = given.source.paths
    if to:
        check_free(to, force, inputs)
    rows, _ = read_all(given, drop_bad=drop_bad)
    with busy("comparing", len(rows)):
        found = find_repetitions(rows, near=near, ignore_case=ignore_case)
    shown = found if output != "table" else found[:_MAX_SHOWN]
    if shown or output != "table":
        show(_records(shown, rows), output)
    dropped = {each.row for each in found}
    kept = [each for row, each in enumerate(rows) if row not in dropped]
    if to:
        write(to, kept, to_format, given.source.columns, force=force, inputs=inputs)
    more = f"and {len(found) - len(shown):,} more; " if len(found) > len(shown) else ""
    where = f"wrote {to}" if to else "nothing is written without --to"
    click.echo(f"{more}{len(found):,} of {len(rows):,} rows are duplicates; {where}", err=True)


def _records(found: Sequence[Repetition], rows: Sequence[Example]) -> list[dict[str, object]]:
    return [
        {
            "line": rows[each.row].line,
            "repeats_line": rows[each.of].line,
            "rule": each.rule,
            "similarity": round(each.similarity, 3),
            "text_input": shortened(rows[each.row].text_input, _TEXT_CHARS),
        }
        for each in found
    ]


_DEFAULT_SHARE = 0.1


@click.command()
@data_options
@click.option(
    "--holdout",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Share of rows to hold out; default: the spec's, or 0.1.",
)
@click.option(
    "--stratify/--no-stratify",
    default=None,
    help="Hold out the same share of every output; default: as in the spec, or no.",
)
@file_option("--train", "train", "The file for training rows.", required=True)
@file_option("--held", "held", "The file for held-out rows.", required=True)
@format_option
@drop_bad_option
@force_option
@output_option
def split(  # noqa: PLR0913 -- one parameter an option
    given: DataInput,
    holdout: float | None,
    train: Path,
    held: Path,
    *,
    to_format: str,
    output: str,
    stratify: bool | None,
    drop_bad: bool,
    force: bool,
) -> None:
    """Split rows into a training file and a held-out file.

    A row's side depends only on its text_input, as with evaluation.holdout of a spec: adding, dropping or
    sorting rows moves no other row, and no text_input is in both files. With --stratify, an added row
    moves at most one other row, of the same output. The files have only the two columns.
    """
    from tuner.cli.output import show
    from tuner.data import holdout as by_content
    from tuner.data.export import check_free, write

    evaluation = given.partial.evaluation if given.partial else None
    share = holdout or (evaluation.holdout if evaluation else None) or _DEFAULT_SHARE
    if stratify is None:
        stratify = bool(evaluation and evaluation.stratify)
    inputs = given.source.paths
    for path in (train, held):
        check_free(path, force, inputs)
    if realpath(train) == realpath(held):
        raise click.UsageError("--train and --held are the same file")
    rows, _ = read_all(given, drop_bad=drop_bad)
    sides = zip((train, held), by_content.split(rows, share, stratify=stratify), strict=True)
    written = [
        (path, write(path, side, to_format, given.source.columns, force=force, inputs=inputs))
        for path, side in sides
    ]
    show(
        [
            {"file": str(path), "rows": count, "share": round(count / len(rows), 4)}
            for path, count in written
        ],
        output,
    )
