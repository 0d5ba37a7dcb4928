"""Log lines as JSON, one an event: never a key, an example or a prompt."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from tuner.engine import child_process

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger(__name__)
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Time, level, event, then what the event brought along as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= {key: value for key, value in record.__dict__.items() if key not in _OWN}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)

    def formatException(self, ei: Any) -> str:  # noqa: N802  (logging's name)
        """Kinds and places; an exception's words may quote a request."""
        return child_process.format_traceback(ei[1]) if ei[1] else ""


def note_loop(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio complains about: its own message quotes exceptions and arguments."""
    log.error("a task broke", exc_info=context.get("exception"))


def configure(stream: TextIO, level: str) -> None:
    """Send every log line of this process to ``stream``."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("tuner").setLevel(level.upper())
    # A warning a line of noise that a stranger sends would be the stranger's to write.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
