"""A line on stderr that says how many rows were read, as soon as reading takes long."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuner.data import Batch

_LONG_S = 1.0


def is_quiet() -> bool:
    """Whether ``tuner -q`` was said."""
    context = click.get_current_context(silent=True)
    return bool(context and context.obj and context.obj.get("quiet"))


def watched(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches as they come; the line is drawn on terminals only, and goes in the end."""
    began, rows, status = time.monotonic(), 0, None
    with ExitStack() as held:
        for batch in batches:
            yield batch
            rows += len(batch.lines)
            if is_quiet() or not sys.stderr.isatty() or time.monotonic() - began < _LONG_S:
                continue
            if status is None:
                from rich.console import Console

                status = held.enter_context(Console(stderr=True).status("reading"))
            status.update(f"{rows:,} rows")
