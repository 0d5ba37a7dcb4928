"""data fix: a cleaned copy, and what was done to which row."""

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
    from tuner.data import Source
    from tuner.data.repair import Change, RepairedRow
    from tuner.errors import Problem

_MOST_SHOWN = 50
_TEXT_CHARS = 40


class _Tally(NamedTuple):
    """What came of all rows."""

    rows: int
    changes: Sequence[Change]
    left: Sequence[Problem]


@click.command()
@data_options
@file_option("--to", "to", "Where to write the copy; without it nothing is written.")
@click.option("--labels", is_flag=True, help="Variants and misspelt outputs become the label.")
@click.option("--drop-conflicts", is_flag=True, help="Drop inputs that have several outputs.")
@click.option("--drop-bad", is_flag=True, help="Drop rows that cannot be read.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
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
    """Write a cleaned copy of a CSV or JSON Lines file, and say what was done to each row.

    Mended: control characters, half characters, text decoded with the wrong encoding, numbers and true or
    false where JSON needs text, empty cells beyond the last column. Dropped: rows with an empty
    input or output, exact duplicates. What cannot be mended is listed and stays, exit code 2.
    Other columns and keys stay as they are. FILE itself is never touched.
    """
    from tuner.data.formats.writers import check_free
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
    """The file, and whether it is CSV or JSON Lines.

    Raises:
        DatasetError: It is something else.
        click.UsageError: There are several.
    """
    from tuner.data import READERS
    from tuner.data.formats.detection import detect
    from tuner.data.sources import files
    from tuner.errors import DatasetError, Problem

    paths = tuple(files(source.paths))
    if len(paths) != 1:
        raise click.UsageError(f"{len(paths)} files are named: mend one at a time")
    if not paths[0].is_file():
        raise DatasetError([Problem(str(paths[0]), 0, 0, "is no file", "check the path")])
    container = source.format if source.format in READERS else detect(paths[0], source.encoding)
    if container not in ("csv", "jsonl"):
        what = f"is {container}, and only CSV and JSON Lines are mended"
        to = paths[0].with_suffix(".jsonl")
        fix = f"make it JSON Lines: `tuner data convert {paths[0]} --to {to}`, with --drop-bad if need be"
        raise DatasetError([Problem(str(paths[0]), 0, 0, what, fix, "not-plain")])
    return source._replace(paths=paths), container


def _written(rows: Iterable[RepairedRow], to: Path, output: str, *, yes: bool) -> _Tally:
    """Write the copy aside, and put it in its place once that is agreed to."""
    from tuner.data.formats.writers import aside

    with aside(to) as file:
        tally = _counted(rows, file)
        asks = sys.stdin.isatty() and not yes
        if asks:
            _report(tally, output, "")
            confirm(f"Write {to}?", yes=yes)
    if not asks:  # whoever reads it may stop before the end
        _report(tally, output, "")
    click.echo(f"wrote {to}", err=True)
    return tally


def _counted(rows: Iterable[RepairedRow], file: IO[bytes] | None) -> _Tally:
    changes: list[Change] = []
    left: list[Problem] = []
    count = -1  # what stands above the first row is none
    for row in rows:
        count += 1
        changes += [_shortened(each) for each in row.changes]
        left += row.left
        if file:
            file.write(row.raw.encode("utf-8", "surrogatepass"))
    return _Tally(count, changes, left)


def _shortened(change: Change) -> Change:
    after = None if change.after is None else _short(change.after)
    return change._replace(before=_short(change.before), after=after)


def _short(text: str) -> str:
    """With control characters as escapes, else nobody would see what goes."""
    shown = "".join(
        each if each.isprintable() else ascii(each)[1:-1] for each in text[:_TEXT_CHARS]
    )
    return shown if len(text) <= _TEXT_CHARS else f"{shown}…"


def _report(tally: _Tally, output: str, end: str) -> None:
    from tuner.cli.output import show
    from tuner.data.checks.report import capped

    shown = tally.changes if output != "table" else tally.changes[:_MOST_SHOWN]
    if shown or output != "table":
        show([_record(each) for each in shown], output)
    if len(shown) < len(tally.changes):
        click.echo(f"and {len(tally.changes) - len(shown):,} more", err=True)
    for problem in capped(tally.left):
        click.echo(str(problem), err=True)
    dropped = {each.line for each in tally.changes if each.after is None}
    mended = {each.line for each in tally.changes} - dropped
    left = {each.line for each in tally.left} - dropped
    counts = f"{len(mended):,} mended, {len(dropped):,} dropped, {len(left):,} left as they are"
    click.echo(f"{tally.rows:,} rows: {counts}{end and f'; {end}'}", err=True)
    if any(each.severity == "error" and each.line in left for each in tally.left):
        click.echo("--drop-bad drops rows that cannot be read", err=True)


def _record(change: Change) -> dict[str, object]:
    after = "(dropped)" if change.after is None else change.after
    return {"line": change.line, "rule": change.rule, "before": change.before, "after": after}
