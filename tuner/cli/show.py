"""Results on stdout, for people or for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, object]


def show(data: Row | Sequence[Row], output: str) -> None:
    """Print rows, or one thing's fields, in the form that ``-o`` chose.

    Args:
        data: Rows with the same keys in the same order, or a single mapping.
        output: ``table`` for people: drawn on a terminal, plain aligned columns in a pipe.
            ``json``: one document. ``jsonl``: a row a line. ``yaml``.
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
    """One thing goes down the page, several go across."""
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
    """A value as a table shows it, on one line; other people's control characters stay inert."""
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
