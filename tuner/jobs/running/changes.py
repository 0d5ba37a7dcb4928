"""Which jobs a run has changed, though it follows them in parts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tuner.events import effects, events

if TYPE_CHECKING:
    from tuner.events.events import Event


@dataclass(frozen=True, slots=True)
class Changes:
    """Remembers what was changed, and says it of every job that ends."""

    models: set[tuple[str, str]] = field(default_factory=set)

    def seen(self, event: Event) -> Event:
        """The event, to be told."""
        model = (event.job.where, event.job.tuned_model)
        if effects.is_change(event):
            self.models.add(model)
        if isinstance(event, events.Ended) and model in self.models:
            return replace(event, changed=True)
        return event
