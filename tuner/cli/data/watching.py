"""A line on stderr that says how far something is, as soon as it takes long."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tuner.data import Batch

_LONG_S = 1.0
MANY_ROWS = 50_000
"""To compare them takes seconds."""


def is_quiet() -> bool:
    """Whether ``tuner -q`` was said."""
    context = click.get_current_context(silent=True)
    return bool(context and context.obj and context.obj.get("quiet"))


def watched(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches as they come, with the rows that were read."""
    rows = 0
    with progress("reading") as show:
        for batch in batches:
            yield batch
            rows += len(batch.lines)
            show(f"{rows:,} rows")


@contextmanager
def busy(what: str, rows: int) -> Iterator[None]:
    """Says what is done with many rows, all at a time."""
    with progress(what, long_s=0) as show:
        if rows >= MANY_ROWS:
            show(f"{rows:,} rows")
        yield


@contextmanager
def progress(what: str, long_s: float = _LONG_S) -> Iterator[Callable[[str], None]]:
    """Gives a function to say how far it is; drawn on terminals only, and gone in the end."""
    began = time.monotonic()
    with ExitStack() as held:
        status = None

        def show(how_far: str) -> None:
            nonlocal status
            if status is None:
                if is_quiet() or not sys.stderr.isatty() or time.monotonic() - began < long_s:
                    return
                from rich.console import Console

                status = held.enter_context(Console(stderr=True).status(what))
            status.update(f"{what}: {how_far}")

        yield show
