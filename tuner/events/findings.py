"""Of a job that is as it should be only the end is told: what was merely found to be so is held back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tuner.events import effects, events
from tuner.jobspec.files import is_pipeline

if TYPE_CHECKING:
    from tuner.events.events import Event, Tell
    from tuner.job import Job

_FOUND = (
    *(effects.Adopted, effects.Allowed, effects.Spared, effects.Stranger),
    *(effects.AlreadyGranted, effects.AlreadyTransferred),
    *(events.Measured, events.Tuned, events.Won, events.Beaten),
)


class Findings:
    """Passes events on, for people; those of a job whose model was there already wait for news of it.

    News is whatever was not so before this run: then all that waited is told first. A job that ends
    without is told of in one line, and a stage of a pipeline in none: the pipeline has its table.
    """

    def __init__(self, tell: Tell) -> None:
        """``tell`` hears what is worth telling."""
        self._tell = tell
        self._held: dict[tuple[str, str], list[Event]] = {}
        self._told: set[tuple[str, str]] = set()

    def __call__(self, event: Event) -> None:
        """Tell it, or hold it back."""
        model = _model(event.job)
        if isinstance(event, effects.Adopted) and model not in self._told:
            self._held.setdefault(model, [])
        if model not in self._held:
            self._pass_on(event)
        elif _is_end(event):
            del self._held[model]
            if not is_pipeline(Path(event.job.spec)):
                self._pass_on(event)
        elif _is_found(event):
            self._held[model].append(event)
        else:
            for each in (*self._held.pop(model), event):
                self._pass_on(each)

    def has_told(self, job: Job) -> bool:
        """Whether anything of a job was passed on."""
        return _model(job) in self._told

    def _pass_on(self, event: Event) -> None:
        self._told.add(_model(event.job))
        self._tell(event)


def _model(job: Job) -> tuple[str, str]:
    return job.where, job.tuned_model


def _is_end(event: Event) -> bool:
    return isinstance(event, events.Ended) and not event.changed


def _is_found(event: Event) -> bool:
    if isinstance(event, events.Progress):
        return event.operation.done
    return isinstance(event, _FOUND) or (isinstance(event, events.Evaluated) and event.kept)
