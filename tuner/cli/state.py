"""Where a service keeps its state: options of the commands that work on it, service or not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tuner.cli.serve import use_home

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])

DATABASE = "TUNER_DATABASE"


def state_options(command: F) -> F:
    """Add ``--home`` and ``--database``, which ``state`` then knows."""
    home = click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        expose_value=False,
        callback=_use_home,
        help="Where the service's state is, in place of TUNER_HOME or ~/.tuner.",
    )
    database = click.option(
        "--database",
        envvar=DATABASE,
        metavar="URL",
        expose_value=False,
        callback=_use_database,
        help="The service's database where it is not in that folder; TUNER_DATABASE says the same.",
    )
    return home(database(command))


def state() -> tuple[Path, str | None]:
    """The service's folder, and its database's URL if that is not in there."""
    from tuner.home import service_folder

    return service_folder(), os.environ.get(DATABASE) or None


def _use_home(_context: click.Context, _option: click.Parameter, home: Path | None) -> None:
    use_home(home)


def _use_database(_context: click.Context, _option: click.Parameter, url: str | None) -> None:
    if url:
        os.environ[DATABASE] = url
