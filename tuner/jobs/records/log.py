"""The event log: what happened to this person's jobs, kept on disk."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from tuner import home
from tuner.events.reporters import Throttled, as_record
from tuner.formatting import format_time, parse_time
from tuner.jobs.records import journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from tuner.events.events import Event

MOST_BYTES = 20 * 1024 * 1024
LOOKS_EVERY = 256


def events_file() -> Path:
    """Where the events of all runs are, a line each."""
    return home.logs_folder() / "events.jsonl"


def audit_file() -> Path:
    """Where every change of who may use a model is, a line each; it is never cut."""
    return home.logs_folder() / "audit.jsonl"


class Log:
    """Takes events and writes them down, without the texts of examples; progress a line a tenth.

    A full disk costs the log, not the run: one line on stderr says so.
    """

    def __init__(
        self,
        path: Path | None = None,
        clock: Callable[[], float] = time.time,
        stream: TextIO | None = None,
    ) -> None:
        """``path`` in place of ``events_file()``; ``clock`` gives seconds since 1970.

        ``stream``, in place of stderr, is where it says that the disk is full.
        """
        self._path = path or events_file()
        self._journal = journal.Journal(self._path)
        self._clock = clock
        self._stream = stream or sys.stderr
        self._is_news = Throttled()
        self._seq = 0
        self._is_well = True

    def __call__(self, event: Event) -> None:
        """Write one line, unless it would say what the last one said."""
        if not self._is_news(event):
            return
        self._seq += 1
        record = as_record(event, self._clock()) | {
            "text": str(event),
            "run": os.getpid(),
            "seq": self._seq,
        }
        try:
            if self._seq % LOOKS_EVERY == 1:
                journal.rotate(self._path, MOST_BYTES)
            self._journal.append(record)
        except OSError as error:
            self._say_once(error)

    def _say_once(self, error: OSError) -> None:
        if self._is_well:
            print(f"warning: {self._path} cannot be written: {error.strerror}", file=self._stream)
        self._is_well = False


def written(path: Path) -> Iterator[dict[str, Any]]:
    """What is in a log and in the one before it, oldest first; a torn line is left out."""
    for each in (journal.older(path), path):
        if each.exists():
            with each.open("rb") as lines:
                yield from journal.records(lines)


def followed(
    path: Path, sleep: Callable[[float], None] = time.sleep, every_s: float = 0.5
) -> Iterator[dict[str, Any]]:
    """As ``written``, and then what is added, until the caller has enough; over a rotation too."""
    if journal.older(path).exists():
        with journal.older(path).open("rb") as lines:
            yield from journal.records(lines)
    while True:
        if path.exists():
            with path.open("rb") as file:
                yield from _until_rotated(file, path, lambda: sleep(every_s))
        else:
            sleep(every_s)


def _until_rotated(
    file: BinaryIO, path: Path, wait: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    """The objects of an open file as they are added, until another one stands in its place."""
    is_there = True
    while is_there:
        is_there = path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino
        yield from journal.records(_whole_lines(file))
        if is_there:
            wait()


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """What was added; a line that is being written is left for the next time."""
    while True:
        place, line = file.tell(), file.readline()
        if not line.endswith(b"\n"):
            file.seek(place)
            return
        yield line


def wanted(
    records: Iterable[dict[str, Any]], names: Sequence[str], since: float = 0.0
) -> Iterator[dict[str, Any]]:
    """Those about these jobs (name, title, model name or id; none: all), written since then.

    ``since`` is in seconds since 1970.
    """
    asked = {*names, *(f"tunedModels/{name}" for name in names)}
    for record in records:
        job, label = record.get("job"), record.get("label")
        known = {job, f"{job}[{label}]", record.get("tuned_model")}
        if parse_time(record.get("time")) >= since and (not asked or asked & known):
            yield _dated(record)


def _dated(record: dict[str, Any]) -> dict[str, Any]:
    """A line of a log that counted seconds, as one is now."""
    moment = record.get("time")
    if isinstance(moment, int | float):
        with suppress(ValueError, OverflowError, OSError):  # a number that is no moment
            return record | {"time": format_time(moment)}
    return record
