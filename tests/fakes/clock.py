"""An event loop whose time passes only when everybody waits, and then at once."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Where a loop would sleep, its clock is put forward instead."""

    passed = 0.0

    def select(self, timeout=None):
        found = super().select(0)
        if found or timeout == 0:
            return found
        if timeout is None:
            raise RuntimeError("everybody waits, and for nothing that could happen")
        self.passed += timeout
        return []


class TimelessLoop(asyncio.SelectorEventLoop):
    """``time()`` counts seconds that nobody had to wait for; threads' work is done in place."""

    def __init__(self) -> None:
        self._timeless = _Selector()
        super().__init__(self._timeless)

    def time(self) -> float:
        return self._timeless.passed

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> Any:  # noqa: ARG002 -- the loop's own signature
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 -- whoever awaits it gets it
            done.set_exception(error)
        return done


def run_timeless(work: Coroutine[Any, Any, T]) -> T:
    """As ``asyncio.run``; ``now`` and ``asyncio.sleep`` inside it share one made-up clock."""
    with asyncio.Runner(loop_factory=TimelessLoop) as runner:
        return runner.run(work)


def now() -> float:
    """Seconds of the running loop."""
    return asyncio.get_running_loop().time()
