"""What an operator sees: log lines as JSON, and metrics for Prometheus.

Neither holds a key, an example or a prompt. Labels of metrics are few and fixed: a model's or a
user's name would add a series each.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from tuner.engine import child_process

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

METRICS_CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
REGISTRY = CollectorRegistry()
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_calls = Counter("tuner_calls", "Calls that ended.", ["method", "code"], registry=REGISTRY)
_call_s = Histogram(
    "tuner_call_seconds", "Duration of a call.", ["method"], registry=REGISTRY, buckets=_BUCKETS_S
)
_in_flight = Gauge("tuner_calls_in_flight", "Calls in flight.", registry=REGISTRY)
_operations = Gauge("tuner_operations", "Tunings by state.", ["state"], registry=REGISTRY)
_tokens = Counter(
    "tuner_tokens", "Tokens of prompts and answers.", ["direction"], registry=REGISTRY
)
_steps = Counter("tuner_tuning_steps", "Tuning steps done.", registry=REGISTRY)
_write_s = Histogram(
    "tuner_store_write_seconds", "Duration of a write.", registry=REGISTRY, buckets=_BUCKETS_S
)
ProcessCollector(registry=REGISTRY)

log = logging.getLogger(__name__)
_RECORD_FIELDS = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Formats a record as one line: time, level, event, and the record's ``extra``."""

    def format(self, record: logging.LogRecord) -> str:  # noqa: D102  (logging's method)
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= {key: value for key, value in record.__dict__.items() if key not in _RECORD_FIELDS}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)

    def formatException(self, ei: Any) -> str:  # noqa: N802  (logging's name)
        """Return types and code lines only: an exception's message may quote a request."""
        return child_process.format_traceback(ei[1]) if ei[1] else ""


def configure_logging(stream: TextIO, level: str) -> None:
    """Send all log lines of this process to ``stream``."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("tuner").setLevel(level.upper())
    # uvicorn warns about each invalid request, so any client could fill the log.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


def log_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that asyncio reports; its own message quotes exceptions and arguments."""
    log.error("a task broke", exc_info=context.get("exception"))


def count_call(method: str, code: str, seconds: float) -> None:
    """Count a call that ended with ``code``."""
    _calls.labels(method, code).inc()
    _call_s.labels(method).observe(seconds)


def count_tokens(prompt: int, answer: int) -> None:
    """Count the tokens of a prompt and its answer."""
    _tokens.labels("in").inc(prompt)
    _tokens.labels("out").inc(answer)


def count_steps(count: int) -> None:
    """Count steps of a tuning."""
    _steps.inc(count)


def observe_write(seconds: float) -> None:
    """Record the duration of a database write."""
    _write_s.observe(seconds)


def metrics_page(in_flight: int, operations: Mapping[str, int]) -> bytes:
    """Return all metrics as Prometheus reads them; ``operations`` counts tunings by state."""
    _in_flight.set(in_flight)
    _operations.clear()
    for state, count in operations.items():
        _operations.labels(state).set(count)
    return generate_latest(REGISTRY)
