"""The live view in a terminal: for each job its phases, the steps, the loss and the time left."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.errors import inert
from tuner.events import effects, events
from tuner.jobs.figures import figure
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType

    from tuner.events.events import Event
    from tuner.job import Job
    from tuner.types import Operation, Snapshot

SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 24
RECENT_STEPS = 16
STEPS = (Phase.SUBMIT, Phase.TUNE, Phase.EVALUATE, Phase.SHARE, Phase.TRANSFER)

_PASSING = (events.Progress, events.Evaluating, *effects.UNSAID)
"""Drawn, not printed; what is about to be changed is printed once it is."""
_DOUBTFUL = (
    *(events.Waiting, effects.Stranger, effects.Forced, events.Stopping),
    *(events.Undelivered, events.NotLocked),
)


@dataclass(slots=True)
class Row:
    """One job on the screen."""

    event: Event
    tokens_per_step: int = 0


class Terminal:
    """A reporter that redraws a few lines a job; what happened once scrolls away above them."""

    def __init__(self, console: Console) -> None:
        """Draw on ``console``, which is stderr's: stdout is for results."""
        self._console = console
        self._rows: dict[str, Row] = {}
        self._live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        """Take the bottom lines of the screen."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave them empty."""
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Redraw, and leave a line behind for what happened once."""
        row = self._rows.setdefault(event.job.tuned_model, Row(event))
        if isinstance(event, events.Measured):
            row.tokens_per_step = event.tokens_per_step
            return
        row.event = event
        if event.job.phase.is_end:
            del self._rows[event.job.tuned_model]
        if not isinstance(event, _PASSING):
            self._console.print(_line(event))

    def _draw(self) -> RenderableType:
        return Group(*(_panel(row) for row in self._rows.values()))


def _line(event: Event) -> Text:
    good = not isinstance(event, _DOUBTFUL) and not (
        isinstance(event, events.Ended) and event.job.phase is not Phase.DONE
    )
    mark = Text("✔ " if good else "! ", style="green" if good else "yellow")
    return Text.assemble(mark, (f"{event.job.title}  ", "bold"), inert(str(event)))


def _panel(row: Row) -> RenderableType:
    event = row.event
    lines: list[RenderableType] = [_phases(event.job, event)]
    if isinstance(event, events.Progress | events.Evaluating):
        lines.append(_bar(event))
    if isinstance(event, events.Progress) and event.operation.snapshots:
        lines.append(_numbers(event.operation, row.tokens_per_step))
    return Group(*lines)


def _phases(job: Job, event: Event) -> Text:
    """``job  submit > TUNE > evaluate > share > transfer``: what is done, what is on, what is to come."""
    now = STEPS.index(job.phase) if job.phase in STEPS else len(STEPS)
    text = Text(f"  {job.title}  ", style="bold")
    for number, phase in enumerate(STEPS):
        style = "green" if number < now else "bold cyan" if number == now else "dim"
        text.append(f"{' > ' if number else ''}", style="dim")
        text.append(phase.lower(), style=style)
    if isinstance(event, events.Waiting):
        text.append(f"   {event!s}", style="yellow")
    return text


def _bar(event: events.Progress | events.Evaluating) -> Table:
    done, total = event.amounts
    unit = "steps" if isinstance(event, events.Progress) else "answers"
    grid = Table.grid(padding=(0, 1))
    grid.add_row(
        " ",
        ProgressBar(total=max(total, 1), completed=done, width=40),
        f"{100 * done // max(total, 1):3d}%",
        f"{done}/{total} {unit}",
    )
    return grid


def _numbers(operation: Operation, tokens_per_step: int) -> Text:
    snapshots = operation.snapshots
    parts = [
        f"    loss {figure(snapshots[-1].mean_loss)} {sparkline([s.mean_loss for s in snapshots])}"
    ]
    rate = steps_per_second(snapshots)
    if rate:
        left_s = (operation.total_steps - snapshots[-1].step) / rate
        parts.append(f"{rate:.2f} steps/s")
        if tokens_per_step:
            parts.append(f"~{rate * tokens_per_step:,.0f} tokens/s")
        parts.append(f"{int(left_s // 60)}:{int(left_s % 60):02d} left")
    return Text("   ".join(parts))


def steps_per_second(snapshots: Sequence[Snapshot]) -> float:
    """The pace of the last few steps by the service's own clock; 0.0 when it cannot be told yet."""
    recent = snapshots[-RECENT_STEPS:]
    seconds = recent[-1].compute_time - recent[0].compute_time
    return (recent[-1].step - recent[0].step) / seconds if seconds > 0 else 0.0


def sparkline(values: Sequence[float], width: int = SPARK_WIDTH) -> str:
    """The values as bars of eight heights, the newest last; long rows are averaged into ``width``."""
    count = min(width, len(values))
    if not count:
        return ""
    edges = [len(values) * i // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(SPARKS[round((mean - low) * scale)] for mean in means)
