"""What the commands that write a copy of examples have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.data.given import rows_of
from tuner.data import FORMATS as READABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.cli.data.given import Given
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


def read_all(given: Given, *, drop_bad: bool = False) -> list[Example]:
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
