"""Reporters show events to users or programs."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

from tuner.errors import strip_control_chars
from tuner.events.events import GRADUAL, LOG_ONLY, EventKind
from tuner.formatting import format_time
from tuner.jobspec.files import is_pipeline

if TYPE_CHECKING:
    from tuner.events.events import Event, EventHandler
    from tuner.job import Evaluation, Job

REPORT_EVERY_PERCENT = 10


@dataclass(slots=True)
class Throttled:
    """Passes a progress event once for every tenth, and any other event always."""

    last_tenth: dict[tuple[str, EventKind], int] = field(default_factory=dict)

    def __call__(self, event: Event) -> bool:
        """Return whether the event is worth reporting."""
        if event.kind not in GRADUAL:
            return True
        done, total = event.amounts
        key = (event.job.tuned_model, event.kind)
        tenth = 100 * done // max(total, 1) // REPORT_EVERY_PERCENT
        is_new = self.last_tenth.get(key) != tenth
        self.last_tenth[key] = tenth
        return is_new


@dataclass(slots=True)
class Lines:
    """Writes one line per event, and one per tenth of a tuning: for logs, pipes and CI."""

    stream: TextIO
    throttle: Throttled = field(default_factory=Throttled)

    def __call__(self, event: Event) -> None:
        """Write a line, unless it repeats the last one."""
        if self.throttle(event) and event.kind not in LOG_ONLY:
            line = " ".join(strip_control_chars(f"{event.job.title}: {event}").splitlines())
            print(line, file=self.stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@dataclass(frozen=True, slots=True)
class JsonLines:
    """Writes one JSON object per event: ``time``, ``event``, ``job``, then the event's own data."""

    stream: TextIO

    def __call__(self, event: Event) -> None:
        """Write one object."""
        print(json.dumps(as_record(event, time.time())), file=self.stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


_CONFIRMATIONS = frozenset(
    {
        EventKind.ALREADY_EXISTED,
        EventKind.ALLOWED,
        EventKind.DELETION_SKIPPED,
        EventKind.UNEXPECTED_PERMISSION,
        EventKind.ALREADY_GRANTED,
        EventKind.ALREADY_TRANSFERRED,
        EventKind.MEASURED,
        EventKind.TUNED,
        EventKind.SELECTED,
        EventKind.NOT_SELECTED,
    }
)


class NewsFilter:
    """Passes events on, but holds back those that only confirm the state of an existing model.

    They are passed on as soon as this run changes something of the job. A job without a change is
    reported in one line; a stage of a pipeline in none, since the pipeline has its own table.
    """

    def __init__(self, emit: EventHandler) -> None:
        self._emit = emit
        self._held: dict[tuple[str, str], list[Event]] = {}
        self._reported: set[tuple[str, str]] = set()

    def __call__(self, event: Event) -> None:
        """Pass the event on, or hold it back."""
        model = _model(event.job)
        if event.kind is EventKind.ALREADY_EXISTED and model not in self._reported:
            self._held.setdefault(model, [])
        if model not in self._held:
            self._pass_on(event)
        elif event.kind is EventKind.ENDED and not event["changed"]:
            del self._held[model]
            if not is_pipeline(Path(event.job.spec)):
                self._pass_on(event)
        elif _is_confirmation(event):
            self._held[model].append(event)
        else:
            for each in (*self._held.pop(model), event):
                self._pass_on(each)

    def has_reported(self, job: Job) -> bool:
        """Whether any event of a job was passed on."""
        return _model(job) in self._reported

    def _pass_on(self, event: Event) -> None:
        self._reported.add(_model(event.job))
        self._emit(event)


def _model(job: Job) -> tuple[str, str]:
    return job.where, job.tuned_model


def _is_confirmation(event: Event) -> bool:
    if event.kind is EventKind.PROGRESS:
        return bool(event["operation"].done)
    if event.kind is EventKind.EVALUATED:
        return bool(event["kept"])
    return event.kind in _CONFIRMATIONS


def as_record(event: Event, at: float) -> dict[str, object]:
    """Return an event at time ``at`` (Unix seconds) as plain data, without texts of examples."""
    data = dict(event.data)
    if event.kind is EventKind.EVALUATED:
        data["evaluation"] = scores(event["evaluation"])
    if event.kind is EventKind.PROGRESS:
        operation = data["operation"] = event["operation"]._asdict()
        snapshots = operation.pop("snapshots")
        data["mean_loss"] = snapshots[-1].mean_loss if snapshots else None
    return {
        "time": format_time(at),
        "event": event.kind.value,
        "job": event.job.name,
        "label": event.job.label,
        "tuned_model": event.job.tuned_model,
        "phase": event.job.phase,
        **data,
    }


def scores(evaluation: Evaluation) -> dict[str, object]:
    """Return an evaluation without its rows."""
    return {
        "rows": evaluation.count,
        "metric": evaluation.metric,
        "tuned": evaluation.tuned,
        "base": evaluation.base,
        "interval": asdict(evaluation.interval) if evaluation.interval else None,
    }
