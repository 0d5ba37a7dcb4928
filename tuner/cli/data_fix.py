"""`tuner data fix`: write a cleaned copy and report the change of each row."""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING, NamedTuple

import click

from tuner.cli.data_export import file_option, force_option
from tuner.cli.data_options import data_options
from tuner.cli.options import confirm, output_option, yes_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tuner.cli.data_options import DataInput
    from tuner.data.dataset import Source
    from tuner.data.repair import Change, RepairedRow
    from tuner.errors import Problem

_MAX_SHOWN = 50
_TEXT_CHARS = 40


class _Tally(NamedTuple):
    rows: int
    changes: Sequence[Change]
    left: Sequence[Problem]


@click.command()
@data_options
@file_option("--to", "to", "The file to write; without it nothing is written.")
@click.option(
    "--labels", is_flag=True, help="Replace variants and misspellings of a label by the label."
)
@click.option("--drop-conflicts", is_flag=True, help="Drop inputs with different outputs.")
@click.option("--drop-bad", is_flag=True, help="Drop unreadable rows.")
@click.option("--dry-run", is_flag=True, help="Show the changes without writing.")
@force_option
@yes_option
@output_option
def fix(  # noqa: PLR0913 -- one parameter an option
    given: DataInput,
    to: Path | None,
    *,
    labels: bool,
    drop_conflicts: bool,
    drop_bad: bool,
    dry_run: bool,
    force: bool,
    yes: bool,
    output: str,
) -> int:
    """Write a cleaned copy of a CSV or JSON Lines file, and report the change of each row.

    Repairs control characters, invalid Unicode, text decoded with the wrong encoding, JSON numbers and
    booleans in place of text, and empty cells beyond the last column. Drops exact duplicates and rows
    with an empty input or output. Errors that cannot be repaired are listed and stay, with exit code 2.
    Other columns and keys are unchanged. FILE itself is never changed.
    """
    from tuner.data.export import check_free
    from tuner.data.repair import RepairOptions, repair

    source, container = _one_file(given.source)
    if to:
        check_free(to, force, source.paths)
    rows = repair(source, container, RepairOptions(labels, drop_conflicts, drop_bad))
    if to is None or dry_run:
        tally = _counted(rows, None)
        _report(tally, output, "nothing is written" + ("" if to else " without --to"))
    else:
        tally = _written(rows, to, output, yes=yes)
    return 2 if any(each.severity == "error" for each in tally.left) and not drop_bad else 0


def _one_file(source: Source) -> tuple[Source, str]:
    """Return the file and its format, csv or jsonl. Raises DatasetError or UsageError."""
    from tuner.data.dataset import READERS, detect, files
    from tuner.errors import DatasetError, Problem

    paths = tuple(files(source.paths))
    if len(paths) != 1:
        raise click.UsageError(f"{len(paths)} files given: fix one at a time")
    if not paths[0].is_file():
        raise DatasetError([Problem(str(paths[0]), 0, 0, "is not a file", "check the path")])
    container = source.format if source.format in READERS else detect(paths[0], source.encoding)
    if container not in ("csv", "jsonl"):
        what = f"is {container}; only CSV and JSON Lines can be fixed"
        to = paths[0].with_suffix(".jsonl")
        fix = f"convert it first: `tuner data convert {paths[0]} --to {to}` (--drop-bad drops unreadable rows)"
        raise DatasetError([Problem(str(paths[0]), 0, 0, what, fix, "not-plain")])
    return source._replace(paths=paths), container


def _written(rows: Iterable[RepairedRow], to: Path, output: str, *, yes: bool) -> _Tally:
    """Write the copy to a temporary file, and move it into place after confirmation."""
    from tuner.data.export import atomic_file

    with atomic_file(to) as file:
        tally = _counted(rows, file)
        asks = sys.stdin.isatty() and not yes
        if asks:
            _report(tally, output, "")
            confirm(f"Write {to}?", yes=yes)
    if not asks:  # after writing: a pipe may be closed early
        _report(tally, output, "")
    click.echo(f"wrote {to}", err=True)
    return tally


def _counted(rows: Iterable[RepairedRow], file: IO[bytes] | None) -> _Tally:
    changes: list[Change] = []
    left: list[Problem] = []
    count = -1  # the header is not a row
    for row in rows:
        count += 1
        for each in row.changes:
            after = None if each.after is None else _short(each.after)
            changes.append(each._replace(before=_short(each.before), after=after))
        left += row.left
        if file:
            file.write(row.raw.encode("utf-8", "surrogatepass"))
    return _Tally(count, changes, left)


def _short(text: str) -> str:
    shown = "".join(
        each if each.isprintable() else ascii(each)[1:-1] for each in text[:_TEXT_CHARS]
    )
    return shown if len(text) <= _TEXT_CHARS else f"{shown}…"


def _report(tally: _Tally, output: str, end: str) -> None:
    from tuner.cli.output import show
    from tuner.data.checks.report import capped

    shown = tally.changes if output != "table" else tally.changes[:_MAX_SHOWN]
    if shown or output != "table":
        records = []
        for each in shown:
            after = "(dropped)" if each.after is None else each.after
            row = {"line": each.line, "rule": each.rule, "before": each.before, "after": after}
            records.append(row)
        show(records, output)
    if len(shown) < len(tally.changes):
        click.echo(f"and {len(tally.changes) - len(shown):,} more", err=True)
    for problem in capped(tally.left):
        click.echo(str(problem), err=True)
    dropped = {each.line for each in tally.changes if each.after is None}
    repaired = {each.line for each in tally.changes} - dropped
    left = {each.line for each in tally.left} - dropped
    counts = f"{len(repaired):,} repaired, {len(dropped):,} dropped, {len(left):,} with errors left"
    click.echo(f"{tally.rows:,} rows: {counts}{end and f'; {end}'}", err=True)
    if any(each.severity == "error" and each.line in left for each in tally.left):
        click.echo("--drop-bad drops unreadable rows", err=True)
