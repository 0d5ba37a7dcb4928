"""Reporters: they take events and tell people or programs; the core knows no terminal."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from tuner.errors import inert
from tuner.events import effects, events
from tuner.jobs.moments import timestamp

if TYPE_CHECKING:
    from tuner.events.events import Event
    from tuner.job import Evaluation

LINE_EVERY_PERCENT = 10


_GRADUAL = (events.Progress, events.Evaluating)


class Reporter(Protocol):
    """Takes events from ``__enter__`` to ``__exit__``."""

    def __call__(self, event: Event) -> None:
        """Tell about one event."""

    def __enter__(self) -> Self:
        """Get ready."""

    def __exit__(self, *_: object) -> None:
        """Leave a clean screen."""


@dataclass(slots=True)
class Sparing:
    """Tells news from what would only repeat: of a tuning and an evaluation, each tenth is news."""

    told: dict[str, int] = field(default_factory=dict)

    def __call__(self, event: Event) -> bool:
        """Whether the event is worth a line."""
        if not isinstance(event, _GRADUAL):
            return True
        done, total = event.amounts
        key = f"{event.job.tuned_model} {type(event).__name__}"
        tenth = 100 * done // max(total, 1) // LINE_EVERY_PERCENT
        news = self.told.get(key) != tenth
        self.told[key] = tenth
        return news


@dataclass(slots=True)
class Lines:
    """One line an event, and one every tenth of a tuning: for logs, pipes and CI."""

    stream: TextIO
    is_news: Sparing = field(default_factory=Sparing)

    def __call__(self, event: Event) -> None:
        """Write a line, unless it would say what the last one said, or what the next one will."""
        if self.is_news(event) and not isinstance(event, effects.UNSAID):
            line = " ".join(inert(f"{event.job.title}: {event}").splitlines())
            print(line, file=self.stream, flush=True)

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to clean."""


@dataclass(frozen=True, slots=True)
class JsonLines:
    """One JSON object an event, for programs: ``time``, ``event``, ``job``, then its own fields."""

    stream: TextIO

    def __call__(self, event: Event) -> None:
        """Write one object."""
        print(json.dumps(as_record(event, time.time())), file=self.stream, flush=True)

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to clean."""


def as_record(event: Event, at: float) -> dict[str, object]:
    """The event, told ``at`` seconds since 1970, as plain data without the texts of examples."""
    own = {name: getattr(event, name) for name in _own_fields(event)}
    if isinstance(event, events.Evaluated):
        own["evaluation"] = scores(event.evaluation)
    if isinstance(event, events.Progress):
        own["operation"] = event.operation._asdict()
        own["operation"].pop("snapshots")
        own["mean_loss"] = event.mean_loss
    return {
        "time": timestamp(at),
        "event": type(event).__name__,
        "job": event.job.name,
        "label": event.job.label,
        "tuned_model": event.job.tuned_model,
        "phase": event.job.phase,
        **own,
    }


def _own_fields(event: Event) -> tuple[str, ...]:
    kind = type(event)
    if kind not in _known:
        _known[kind] = tuple(each.name for each in fields(event) if each.name != "job")
    return _known[kind]


_known: dict[type, tuple[str, ...]] = {}


def scores(evaluation: Evaluation) -> dict[str, object]:
    """An evaluation without its rows."""
    return {
        "rows": evaluation.count,
        "metric": evaluation.metric,
        "tuned": evaluation.tuned,
        "base": evaluation.base,
        "interval": asdict(evaluation.interval) if evaluation.interval else None,
    }
