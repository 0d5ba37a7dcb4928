"""The live view in a terminal: for each job its phases, steps, loss, speed and time left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from tuner.errors import TunerError, strip_control_chars
from tuner.events.events import LOG_ONLY, Event, EventKind
from tuner.formatting import format_number
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from tuner.events.events import EventHandler
    from tuner.job import Job
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.targets import Target
    from tuner.types import Operation, Snapshot

SPARK_BARS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 24
PACE_STEPS = 16
SAMPLE_ROWS = 8
PHASES = (Phase.SUBMIT, Phase.TUNE, Phase.EVALUATE, Phase.SHARE, Phase.TRANSFER)

_DRAWN_ONLY = {EventKind.PROGRESS, EventKind.EVALUATING, EventKind.JUDGING, *LOG_ONLY}
_WARNINGS = {
    EventKind.WAITING,
    EventKind.UNEXPECTED_PERMISSION,
    EventKind.FORCED,
    EventKind.STOPPING,
    EventKind.NOTIFICATION_FAILED,
    EventKind.NOT_LOCKED,
}


@dataclass(slots=True)
class _Row:
    event: Event
    tokens_per_step: int = 0


class Terminal:
    """Redraws a few lines for each job; events that happen once scroll away above them."""

    def __init__(self, console: Console) -> None:
        """Draw on ``console``, which writes to stderr: stdout is for results."""
        from rich.live import Live

        self._console = console
        self._rows: dict[str, _Row] = {}
        self._live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Redraw; print a line for what happens once."""
        row = self._rows.setdefault(event.job.tuned_model, _Row(event))
        if event.kind is EventKind.MEASURED:
            row.tokens_per_step = event["tokens_per_step"]
            return
        row.event = event
        if event.job.phase.is_end:
            del self._rows[event.job.tuned_model]
        if event.kind not in _DRAWN_ONLY:
            self._console.print(_line(event))

    def _draw(self) -> RenderableType:
        from rich.console import Group

        return Group(*(_panel(row) for row in self._rows.values()))


def _line(event: Event) -> Text:
    from rich.text import Text

    failed = event.kind is EventKind.ENDED and event.job.phase is not Phase.DONE
    good = event.kind not in _WARNINGS and not failed
    mark = Text("✔ " if good else "! ", style="green" if good else "yellow")
    return Text.assemble(mark, (f"{event.job.title}  ", "bold"), strip_control_chars(str(event)))


def _panel(row: _Row) -> RenderableType:
    from rich.console import Group

    event = row.event
    lines: list[RenderableType] = [_phases(event.job, event)]
    if event.kind in (EventKind.PROGRESS, EventKind.EVALUATING, EventKind.JUDGING):
        lines.append(_bar(event))
    if event.kind is EventKind.PROGRESS and event["operation"].snapshots:
        lines.append(_numbers(event["operation"], row.tokens_per_step))
    return Group(*lines)


def _phases(job: Job, event: Event) -> Text:
    """Return ``job  submit > TUNE > evaluate > share > transfer`` with the current phase marked."""
    from rich.text import Text

    now = PHASES.index(job.phase) if job.phase in PHASES else len(PHASES)
    text = Text(f"  {job.title}  ", style="bold")
    for number, phase in enumerate(PHASES):
        style = "green" if number < now else "bold cyan" if number == now else "dim"
        text.append(f"{' > ' if number else ''}", style="dim")
        text.append(phase.lower(), style=style)
    if event.kind is EventKind.WAITING:
        text.append(f"   {event!s}", style="yellow")
    return text


def _bar(event: Event) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    done, total = event.amounts
    unit = "steps" if event.kind is EventKind.PROGRESS else "answers"
    grid = Table.grid(padding=(0, 1))
    grid.add_row(
        " ",
        ProgressBar(total=max(total, 1), completed=done, width=40),
        f"{100 * done // max(total, 1):3d}%",
        f"{done}/{total} {unit}",
    )
    return grid


def _numbers(operation: Operation, tokens_per_step: int) -> Text:
    from rich.text import Text

    snapshots = operation.snapshots
    losses = [each.mean_loss for each in snapshots]
    parts = [f"    loss {format_number(losses[-1])} {sparkline(losses)}"]
    rate = steps_per_second(snapshots)
    if rate:
        left_s = (operation.total_steps - snapshots[-1].step) / rate
        parts.append(f"{rate:.2f} steps/s")
        if tokens_per_step:
            parts.append(f"~{rate * tokens_per_step:,.0f} tokens/s")
        parts.append(f"{int(left_s // 60)}:{int(left_s % 60):02d} left")
    return Text("   ".join(parts))


def steps_per_second(snapshots: Sequence[Snapshot]) -> float:
    """Return the pace of the latest steps by the service's own clock; 0.0 while it is unknown."""
    recent = snapshots[-PACE_STEPS:]
    seconds = recent[-1].compute_time - recent[0].compute_time
    return (recent[-1].step - recent[0].step) / seconds if seconds > 0 else 0.0


def sparkline(values: Sequence[float], width: int = SPARK_WIDTH) -> str:
    """Draw values as bars of eight heights, the latest last; many are averaged into ``width``."""
    count = min(width, len(values))
    if not count:
        return ""
    edges = [len(values) * i // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(SPARK_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(SPARK_BARS[round((mean - low) * scale)] for mean in means)


class TokenMeter:
    """Passes events on, and adds one ``MEASURED`` event once a tuning runs.

    It asks the service in the background; if the service cannot count, nothing is added.
    """

    def __init__(self, work: PreparedJob, target: Target, emit: EventHandler) -> None:
        """Measure ``work`` on ``target``, which counts with the model's own tokenizer."""
        self._work, self._target, self._emit = work, target, emit
        self._task: asyncio.Task[None] | None = None

    def __call__(self, event: Event) -> None:
        """Pass the event on."""
        self._emit(event)
        is_running = event.kind is EventKind.PROGRESS and not event["operation"].done
        if is_running and self._task is None:
            self._task = asyncio.ensure_future(self._measure(event.job))

    def close(self) -> None:
        """Stop measuring."""
        if self._task:
            self._task.cancel()

    async def _measure(self, job: Job) -> None:
        try:
            tuned = await self._target.tuned_model(job.tuned_model)
            per_row = await tokens_per_row(self._work, self._target)
        except TunerError:
            return
        tokens = round(per_row * (tuned.hyperparameters.batch_size or 0))
        self._emit(Event(EventKind.MEASURED, job, tokens_per_step=tokens))


async def tokens_per_row(work: PreparedJob, target: Target) -> float:
    """Return the mean over a few evenly spread rows, answer included, as the base model counts."""
    model = work.spec.base_model or work.spec.tuned_model_source
    rows = work.examples[:: max(1, len(work.examples) // SAMPLE_ROWS)][:SAMPLE_ROWS]
    texts = [f"{row.text_input}{row.output}" for row in rows]
    counts = [await target.count_tokens(model, text) for text in texts]
    return sum(counts) / len(counts)
