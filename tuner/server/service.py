"""What every handler is given: the parts of a running service."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuner.server.access.limits import InFlight, Limits
from tuner.server.activity import Activity
from tuner.server.store import keys
from tuner.server.store.database import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner.engine import Engine
    from tuner.server.store.database import Store
    from tuner.server.tuning import Tunings

DATABASE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Service:
    """One running service.

    Attributes:
        folder: Holds one folder a tuned model, named by its uid.
        limits: What one caller may ask for.
        in_flight: The calls of every caller.
        wants_keys: Whoever shows no key is nobody, also while no key was ever made.
        activity: The calls in flight, through both doors.
        clock: Seconds since 1970.
    """

    store: Store
    engine: Engine
    tunings: Tunings
    folder: Path
    limits: Limits = field(default_factory=Limits)
    in_flight: InFlight = field(default_factory=InFlight)
    wants_keys: bool = False
    activity: Activity = field(default_factory=Activity)
    clock: Callable[[], float] = time.time

    @property
    def now_ms(self) -> int:
        """Milliseconds since 1970: a finer time breaks google-generativeai."""
        return int(self.clock() * 1000)

    def adapter(self, uid: str) -> Path:
        """The finished weights of a tuned model."""
        return self.engine.adapter(self.folder / uid)

    async def problem(self) -> str:
        """Why no calls should be sent here now; empty when they should."""
        if self.activity.draining.is_set():
            return "the service is stopping"
        try:
            await asyncio.wait_for(self.store.read(keys.count), DATABASE_TIMEOUT_S)
        except TimeoutError:
            return f"the database does not answer within {DATABASE_TIMEOUT_S:.0f} s"
        except StoreFailed:
            return "the database cannot be used; the log says why"
        return ""
