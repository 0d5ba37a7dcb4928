"""Answers kept in memory: those that others may change for a second, our own until we change them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

REMEMBER_S = 1.0
FOLLOW_MOST = 256


@dataclass(slots=True, eq=False)
class _Followed:
    """A question asked again and again: its last answer, and the one that is good now, if any."""

    subject: str
    before: Any = None
    now: asyncio.Task[Any] | None = None


class Memory:
    """What was read, by subject, until the subject is forgotten; ``""`` is about everything.

    Many who ask the same at once share one reading. Belongs to one event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._recalled: dict[str, dict[Hashable, asyncio.Task[Any]]] = {}
        self._followed: OrderedDict[Hashable, _Followed] = OrderedDict()

    async def recall(
        self, subject: str, question: Hashable, ask: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        """An answer at most a second old: other processes change the database too."""
        now = self._clock()
        if now - self._since >= REMEMBER_S:
            self._recalled, self._since = {}, now
        known = self._recalled.setdefault(subject, {})
        task = known.get(question)
        if task is None or _is_void(task):
            task = known[question] = _start(ask())
        return task.result() if task.done() else await asyncio.shield(task)

    async def follow(
        self, subject: str, question: Hashable, ask: Callable[[Any], Coroutine[Any, Any, Any]]
    ) -> Any:
        """An answer good until ``subject`` is forgotten, for what this process alone changes.

        ``ask`` is given the last answer or None, so that it need read only what is new.
        """
        entry = self._followed.get(question)
        if entry is None:
            entry = self._followed[question] = _Followed(subject)
            if len(self._followed) > FOLLOW_MOST:
                self._followed.popitem(last=False)
        else:
            self._followed.move_to_end(question)
        if entry.now is None or _is_void(entry.now):
            entry.now = _start(ask(entry.before))
        return entry.now.result() if entry.now.done() else await asyncio.shield(entry.now)

    def forget(self, subject: str) -> None:
        """Something about the subject changed; what is being read right now is not kept either."""
        if subject:
            self._recalled.pop(subject, None)
            self._recalled.pop("", None)
        else:
            self._recalled = {}
        for entry in self._followed.values():
            if not subject or entry.subject == subject:
                if entry.now is not None and entry.now.done() and not _is_void(entry.now):
                    entry.before = entry.now.result()
                entry.now = None


def _start(asking: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    task = asyncio.create_task(asking)
    task.add_done_callback(_is_void)  # whoever asked may have left, and a failure is no surprise
    return task


def _is_void(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
