"""The folder of tuner's state: ``TUNER_HOME`` or ``~/.tuner``.

ledger.db            the local store: jobs of this user
service/             the local service: its database, jobs, adapters
service/address.json addresses of the running service; removed when it stops
service/lock         locked while a service runs
service/serve.log    log of a service started on demand
models/              downloaded and converted base models
logs/events.jsonl    events of jobs, one per line; .1 has older ones
logs/audit.jsonl     who granted, transferred and deleted what, and why
calibration.json     measured tuning speed of this machine
"""

from __future__ import annotations

import os
from pathlib import Path

from tuner.errors import InvalidInput, Problem


def home() -> Path:
    """Return the folder; create it, readable by its owner only, if missing.

    Raises:
        InvalidInput: It cannot be created.
    """
    path = Path(os.environ.get("TUNER_HOME") or Path.home() / ".tuner").expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot be created: {error.strerror}"
        fix = "set TUNER_HOME to a folder for tuner's state"
        raise InvalidInput([Problem(str(path), 0, 0, what, fix)]) from error
    return path


def store_file() -> Path:
    """Return the database of the local store."""
    return home() / "ledger.db"


def logs_folder() -> Path:
    """Return the folder of event and audit logs; its writers create it."""
    return home() / "logs"


def service_folder() -> Path:
    """Return the folder of the local service."""
    return home() / "service"


def models_folder() -> Path:
    """Return the folder of converted base models."""
    return home() / "models"


def calibration_file() -> Path:
    """Return the cache of measured tuning speeds; may be deleted at any time."""
    return home() / "calibration.json"
