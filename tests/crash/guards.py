"""The guards one by one taken away, to see that the simulator would notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.evaluation import gate
from tuner.events.events import Event, EventKind
from tuner.jobs import pipeline_store, sharing, state_machine
from tuner.jobs.lock import JobLocks
from tuner.jobs.runner import Runner
from tuner.jobs.store import Store
from tuner.pipelines import select

if TYPE_CHECKING:
    from collections.abc import Callable


def no_lock() -> None:
    """Every runner gets every lock."""
    JobLocks.acquire = lambda locks, *key: locks._held.add(key) or True


def no_intent() -> None:
    """What is about to be changed is not told."""
    tell = Runner.emit

    def silent(session: Runner, event: Event) -> None:
        if event.kind is not EventKind.CHANGING:
            tell(session, event)

    Runner.emit = silent


def no_bookmark() -> None:
    """The ledger does not know of a job before it is begun."""
    Store.begin = lambda *_: None


def no_gate() -> None:
    """Whatever was tuned may be shared."""
    gate.shortfalls = lambda *_: []


def no_name_of_who_forced() -> None:
    """Whoever overrules a gate is not recorded."""
    gate.forced = lambda misses, _: f"{gate.FORCED}: {misses}"


def no_adoption() -> None:
    """A model that is there already is not seen."""

    async def nothing(*_: object) -> None:
        return None

    state_machine._find_model = nothing


def no_look_at_permissions() -> None:
    """What was granted before is not seen."""
    sharing._by_grantee = lambda _held: {}


def _no_decision() -> None:
    """Who won is chosen anew each time, and the last one is the best as well."""
    pipeline_store.save_decision = lambda *_: None
    pipeline_store.decisions = lambda *_: {}
    select._best = lambda _grouping, candidates: candidates[-1]


def no_look_at_losers() -> None:
    """What was beaten is deleted whoever has access to it."""

    async def nobody(*_: object) -> str:
        return ""

    select._shared = nobody


BREAKS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        no_lock,
        no_intent,
        no_bookmark,
        no_gate,
        no_name_of_who_forced,
        no_adoption,
        no_look_at_permissions,
        no_look_at_losers,
    )
}
