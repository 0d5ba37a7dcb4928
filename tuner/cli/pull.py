"""models pull: fetch and convert a base model ahead of its first use."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tuner.errors import InvalidInput, Problem, RequestRefused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.engine.durable import Progress


@click.command()
@click.argument("name")
def pull(name: str) -> None:
    """Fetch and convert a base model now.

    The local target does so by itself at the model's first use. NAME is models/ID, or the ID alone. Prints the folder of the converted model.
    """
    from tuner.engine import EngineError
    from tuner.home import models_folder

    try:
        from tuner.engine import base_models

        with _progress() as progress:
            folder = base_models.pull(base_models.known(name), models_folder(), progress)
    except EngineError as error:
        raise (RequestRefused if error.is_request else Unavailable)(str(error)) from error
    except ModuleNotFoundError as error:
        what = f"converting a model needs {error.name}, which is not installed"
        fix = "pip install 'tuner[local]'"
        raise InvalidInput([Problem("", 0, 0, what, fix, rule="missing-extra")]) from error
    click.echo(folder)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal; otherwise a line whenever something else begins."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(
            task, description=what, completed=done, total=total or None
        )


def _lines() -> Progress:
    said: set[str] = set()

    def say(what: str, done: int, total: int, /) -> None:  # noqa: ARG001 -- Progress's signature
        if what not in said:
            said.add(what)
            click.echo(what, err=True)

    return say
