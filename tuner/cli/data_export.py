"""What the commands that write a copy of examples have in common."""

from __future__ import annotations

from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.data_options import data_options, rows_of
from tuner.cli.options import output_option
from tuner.data import FORMATS as READABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tuner.cli.data_options import DataInput
    from tuner.data.checks.duplicates import Repetition
    from tuner.errors import Problem
    from tuner.types import Example


FORMATS = (*(each for each in READABLE if each != "dataset"), "tsv")
"""A test compares them with the tables of writers and shapes, which cost more."""

UNLESS_DROPPED = "nothing is written: rows cannot be read; --drop-bad leaves them out"

force_option = click.option("--force", is_flag=True, help="Write over files that are there.")
format_option = click.option(
    "--to-format",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="How to write; auto goes by the name of the file.",
)
drop_bad_option = click.option(
    "--drop-bad", is_flag=True, help="Leave out rows that cannot be read, which else stop it."
)


def file_option(
    name: str, variable: str, text: str, *, required: bool = False
) -> Callable[[Any], Any]:
    """An option that names a file to be written."""
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option(name, variable, type=kind, metavar="FILE", required=required, help=text)


def read_all(given: DataInput, *, drop_bad: bool = False) -> list[Example]:
    """Every row; those that cannot be read are said on stderr, or stop the command.

    Raises:
        DatasetError: Rows cannot be read, and are not to be dropped; or there are none.
    """
    from tuner.errors import DatasetError

    examples, problems = rows_of(given)
    if problems and not drop_bad:
        click.echo(UNLESS_DROPPED, err=True)
        raise DatasetError(problems)
    for problem in problems:
        click.echo(str(problem), err=True)
    return examples


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
    given: DataInput,
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
    from tuner.cli.output import show
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

    def __init__(self, given: DataInput, *, drop_bad: bool) -> None:
        from tuner.data.checks.report import ProblemTally

        self.counts: dict[str, int] = {}
        self.left_out: dict[str, int] = {}
        self._given = given
        self._drop_bad = drop_bad
        self._bad = ProblemTally()

    def __iter__(self) -> Iterator[Example]:
        """After the last row it is known whether the file may stay.

        Raises:
            DatasetError: Rows cannot be read, and are not to be dropped; or there are none.
        """
        from tuner.cli.output import with_progress
        from tuner.data import read
        from tuner.errors import DatasetError, Problem

        for batch in with_progress(read(self._given.source)):
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
    """Write a copy without the rows that only repeat another.

    Lists each dropped row with the one that it repeats. An input that is there with two outputs is
    a conflict, which `tuner data check` tells, and both rows stay. Which of several rows
    stays is decided by their texts, not by their order. The copy has the two columns and no other.
    """
    from tuner.cli.output import busy, show
    from tuner.data.checks.duplicates import find_repetitions
    from tuner.data.formats.writers import check_free, write

    inputs = given.source.paths
    if to:
        check_free(to, force, inputs)
    rows = read_all(given, drop_bad=drop_bad)
    with busy("comparing", len(rows)):
        found = find_repetitions(rows, near=near, ignore_case=ignore_case)
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


def _records(found: Sequence[Repetition], rows: Sequence[Example]) -> list[dict[str, object]]:
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
    """Write rows to tune on and rows to evaluate with to two files.

    A row's side depends on its text_input alone, as with evaluation.holdout of a spec: rows that
    are added later, dropped or sorted move no other, and no text_input is in both files. With
    --stratify an added row moves at most one other, of its own output. The files have the
    two columns and no other.
    """
    from tuner.cli.output import show
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


def _wanted(given: DataInput, holdout: float | None, stratify: bool | None) -> tuple[float, bool]:
    """What the options say, or else the spec."""
    evaluation = given.draft.evaluation if given.draft else None
    said = evaluation.holdout if evaluation else None
    share = holdout or said or _SHARE
    return share, bool(evaluation and evaluation.stratify) if stratify is None else stratify
