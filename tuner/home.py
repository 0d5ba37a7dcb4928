"""Where tuner keeps its state: one folder, ``TUNER_HOME`` or ``~/.tuner``.

ledger.db            the bookmarks of the jobs this person ran
service/             the local service: its database, jobs, adapters
service/address.json where a running service listens; gone when it stops
service/lock         held (flock) for as long as a service runs
service/serve.log    what a service started on demand has to say
models/              base models, converted once
"""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder, made when missing and readable by its owner only."""
    path = Path(os.environ.get("TUNER_HOME") or Path.home() / ".tuner").expanduser().absolute()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def ledger_file() -> Path:
    """The ledger's database."""
    return home() / "ledger.db"


def service_folder() -> Path:
    """What the local service owns."""
    return home() / "service"


def models_folder() -> Path:
    """Base models after their conversion."""
    return home() / "models"
