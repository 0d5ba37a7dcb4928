"""Which jobs a run has changed, though it follows them in parts."""

from __future__ import annotations

from dataclasses import dataclass, field

from tuner.events.events import Event, EventKind


@dataclass(frozen=True, slots=True)
class Changes:
    """Remembers what was changed, and says it of every job that ends."""

    models: set[tuple[str, str]] = field(default_factory=set)

    def seen(self, event: Event) -> Event:
        """The event, to be told."""
        model = (event.job.where, event.job.tuned_model)
        if event.is_change:
            self.models.add(model)
        if event.kind is EventKind.ENDED and model in self.models:
            return Event(EventKind.ENDED, event.job, changed=True)
        return event
