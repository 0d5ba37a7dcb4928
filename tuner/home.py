"""Where tuner keeps its state: one folder, ``TUNER_HOME`` or ``~/.tuner``.

ledger.db            the bookmarks of the jobs this person ran
service/             the local service: its database, jobs, adapters
service/address.json where a running service listens; gone when it stops
service/lock         held (flock) for as long as a service runs
service/serve.log    what a service started on demand has to say
models/              base models, converted once
logs/events.jsonl    what happened to the jobs, one line an event; .1 holds the older ones
logs/audit.jsonl     who granted, transferred, deleted what, and why it was allowed
calibration.json     how fast this machine tunes, as far as it was measured
"""

from __future__ import annotations

import os
from pathlib import Path

from tuner.errors import InvalidInput, Problem


def home() -> Path:
    """The folder, made when missing and readable by its owner only.

    Raises:
        InvalidInput: It cannot be made.
    """
    path = Path(os.environ.get("TUNER_HOME") or Path.home() / ".tuner").expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot be made: {error.strerror}"
        fix = "set TUNER_HOME to a folder for tuner's state"
        raise InvalidInput([Problem(str(path), 0, 0, what, fix)]) from error
    return path


def ledger_file() -> Path:
    """The ledger's database."""
    return home() / "ledger.db"


def logs_folder() -> Path:
    """What happened, and who changed what; whoever writes there makes it."""
    return home() / "logs"


def service_folder() -> Path:
    """What the local service owns."""
    return home() / "service"


def models_folder() -> Path:
    """Base models after their conversion."""
    return home() / "models"


def calibration_file() -> Path:
    """What is known of the speed of this machine; it can be deleted at any time."""
    return home() / "calibration.json"
