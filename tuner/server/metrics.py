"""What the service counts about itself, in Prometheus' words.

Metrics belong to the process, as its log does. Their labels are few and fixed: no key, no address
and no model's name, each of which would be a new series a user.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
REGISTRY = CollectorRegistry()
_CALL_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WRITE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

_calls = Counter("tuner_calls", "Calls that ended.", ["method", "code"], registry=REGISTRY)
_call_s = Histogram(
    "tuner_call_seconds",
    "How long a call took, a stream to its last message.",
    ["method"],
    registry=REGISTRY,
    buckets=_CALL_S,
)
_in_flight = Gauge("tuner_calls_in_flight", "Calls that are being answered.", registry=REGISTRY)
_operations = Gauge("tuner_operations", "Tunings, by where they are.", ["state"], registry=REGISTRY)
_tokens = Counter(
    "tuner_tokens", "Tokens that models read and wrote.", ["direction"], registry=REGISTRY
)
_steps = Counter("tuner_tuning_steps", "Tuning steps that were done.", registry=REGISTRY)
_write_s = Histogram(
    "tuner_store_write_seconds",
    "How long a change of the database took, its wait for others included.",
    registry=REGISTRY,
    buckets=_WRITE_S,
)
ProcessCollector(registry=REGISTRY)


def note_call(method: str, code: str, seconds: float) -> None:
    """A call of a method ended with a code."""
    count, measure = _series(method, code)
    count()
    measure(seconds)


def note_tokens(read: int, written: int) -> None:
    """A model read a prompt and wrote an answer."""
    _tokens.labels("in").inc(read)
    _tokens.labels("out").inc(written)


def note_steps(count: int) -> None:
    """A tuning came so many steps further."""
    _steps.inc(count)


def note_write(seconds: float) -> None:
    """The database was changed."""
    _write_s.observe(seconds)


@cache
def _series(method: str, code: str) -> tuple[Callable[[], None], Callable[[float], None]]:
    """What to call for a call: finding it by its labels costs as much as counting."""
    return _calls.labels(method, code).inc, _call_s.labels(method).observe


def page(in_flight: int, operations: Mapping[str, int]) -> bytes:
    """Everything, as Prometheus reads it.

    Args:
        in_flight: Calls that are being answered.
        operations: How many tunings are in each state.
    """
    _in_flight.set(in_flight)
    _operations.clear()
    for state, count in operations.items():
        _operations.labels(state).set(count)
    return generate_latest(REGISTRY)
