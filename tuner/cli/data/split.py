"""data split: rows to tune on and rows to evaluate with, in two files."""

from __future__ import annotations

from os.path import realpath
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
    from pathlib import Path

    from tuner.cli.data.given import Given

_SHARE = 0.1


@click.command()
@data_options
@click.option(
    "--holdout",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Of the rows, to evaluate with; the spec's, or else 0.1.",
)
@click.option(
    "--stratify/--no-stratify",
    default=None,
    help="The same share of every output; as the spec says, or else not.",
)
@file_option("--train", "train", "Where to write the rows to tune on.", required=True)
@file_option("--held", "held", "Where to write those to evaluate with.", required=True)
@format_option
@drop_bad_option
@force_option
@output_option
def split(  # noqa: PLR0913 -- one parameter an option
    given: Given,
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
    """Write rows to tune on and rows to evaluate with to two files.

    A row's side depends on its text_input alone, as with evaluation.holdout of a spec: rows that
    are added later, dropped or sorted move no other, and no text_input is in both files. With
    --stratify an added row moves at most one other, of its own output. The files have the
    two columns and no other.
    """
    from tuner.cli.show import show
    from tuner.data import holdout as by_content
    from tuner.data.formats.writers import check_free, write

    share, stratified = _wanted(given, holdout, stratify)
    inputs = given.source.paths
    for path in (train, held):
        check_free(path, force, inputs)
    if realpath(train) == realpath(held):
        raise click.UsageError("--train and --held name the same file")
    rows = read_all(given, drop_bad=drop_bad)
    sides = zip((train, held), by_content.split(rows, share, stratify=stratified), strict=True)
    written = [
        (path, write(path, side, to_format, given.source.columns, force=force, inputs=inputs))
        for path, side in sides
    ]
    show([_row(path, count, len(rows)) for path, count in written], output)


def _row(path: Path, count: int, rows: int) -> dict[str, object]:
    return {"file": str(path), "rows": count, "share": round(count / rows, 4)}


def _wanted(given: Given, holdout: float | None, stratify: bool | None) -> tuple[float, bool]:
    """What the options say, or else the spec."""
    evaluation = given.draft.evaluation if given.draft else None
    said = evaluation.holdout if evaluation else None
    share = holdout or said or _SHARE
    return share, bool(evaluation and evaluation.stratify) if stratify is None else stratify
