"""Print results on stdout and progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.table import Table

    from tuner.data.dataset import Batch

Row = Mapping[str, object]


def show(data: Row | Sequence[Row], output: str) -> None:
    """Print rows, or the fields of one record, in the format of ``-o``.

    Args:
        data: Rows with the same keys in the same order, or a single mapping.
        output: ``table`` (drawn on a terminal, plain aligned columns in a pipe), ``json`` (one document),
            ``jsonl`` (one row per line) or ``yaml``.
    """
    match output:
        case "json":
            click.echo(json.dumps(data, ensure_ascii=False, indent=2))
        case "jsonl":
            for row in _rows(data):
                click.echo(json.dumps(row, ensure_ascii=False))
        case "yaml":
            import yaml

            text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
            click.echo(text, nl=False)
        case _:
            _show_table(data)


def _rows(data: Row | Sequence[Row]) -> Sequence[Row]:
    return [data] if isinstance(data, Mapping) else data


def _show_table(data: Row | Sequence[Row]) -> None:
    """Print one record as lines of key and value, several as rows."""
    if isinstance(data, Mapping):
        header, cells = [], [[f"{key}:", cell(value)] for key, value in data.items()]
    else:
        header = [key.replace("_", " ") for key in data[0]] if data else []
        cells = [[cell(value) for value in row.values()] for row in data]
    if not cells:
        return
    if sys.stdout.isatty():
        _draw(header, cells)
    else:
        _align([header, *cells] if header else cells)


def _align(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        click.echo("  ".join(padded).rstrip())


def _draw(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console

    Console(highlight=False).print(_table(header, rows))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if header else None, show_header=bool(header), pad_edge=False)
    for title in header or rows[0]:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    return table


def cell(value: object) -> str:
    """Format a value for a table, on one line; control characters become spaces."""
    match value:
        case None:
            text = ""
        case bool():
            text = "yes" if value else "no"
        case Mapping():
            text = ", ".join(f"{key}={cell(each)}" for key, each in value.items())
        case list() | tuple():
            text = ", ".join(map(cell, value))
        case _:
            text = str(value)
    return "".join(each if each.isprintable() else " " for each in text)


PROGRESS_DELAY_S = 1.0
MANY_ROWS = 50_000  # comparing this many rows takes seconds


def is_quiet() -> bool:
    """Return whether ``tuner -q`` was given."""
    context = click.get_current_context(silent=True)
    return bool(context and context.obj and context.obj.get("quiet"))


def with_progress(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches and show the number of rows read."""
    rows = 0
    with progress("reading") as show:
        for batch in batches:
            yield batch
            rows += len(batch.lines)
            show(f"{rows:,} rows")


@contextmanager
def busy(what: str, rows: int) -> Iterator[None]:
    """Show an activity on many rows that has no steps."""
    with progress(what, delay_s=0) as show:
        if rows >= MANY_ROWS:
            show(f"{rows:,} rows")
        yield


@contextmanager
def progress(what: str, delay_s: float = PROGRESS_DELAY_S) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows progress on a terminal's stderr; the line is removed at the end."""
    began = time.monotonic()
    with ExitStack() as stack:
        status = None

        def show(state: str) -> None:
            nonlocal status
            if status is None:
                if is_quiet() or not sys.stderr.isatty() or time.monotonic() - began < delay_s:
                    return
                from rich.console import Console

                status = stack.enter_context(Console(stderr=True).status(what))
            status.update(f"{what}: {state}")

        yield show
