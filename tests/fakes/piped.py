"""A target at the other end of a pipe: whoever calls it may be killed, and what it holds lives on."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tests.fakes.target import ME

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from tests.fakes.target import FakeTarget


class PipedTarget:
    """All of ``Target``; ``moment`` is told of the three instants of every call."""

    address = "fake (at the end of a pipe)"
    caller = f"the key of {ME}"
    lacks = MappingProxyType({})

    def __init__(self, pipe: Connection, moment: Callable[[str], None]) -> None:
        self._pipe, self._moment = pipe, moment

    def __getattr__(self, name: str) -> Any:
        async def call(*given: object) -> object:
            self._moment(f"before {name}")
            self._pipe.send((name, given))
            self._moment(f"{name} done, not known")
            answer, error = self._pipe.recv()
            self._moment(f"after {name}")
            if error is not None:
                raise error
            return answer

        return call

    async def close(self) -> None:
        """There is nothing to give back."""


def serve(pipe: Connection, target: FakeTarget) -> object:
    """Answer one life's calls until it says how it ended, which is returned; None for one that died."""
    try:
        while True:
            name, given = pipe.recv()
            if name == "end":
                return given
            pipe.send(_answer(target, name, given))
    except (EOFError, ConnectionError):
        return None


def _answer(
    target: FakeTarget, name: str, given: tuple[object, ...]
) -> tuple[object, Exception | None]:
    try:
        getattr(target, name)(*given).send(None)
    except StopIteration as done:  # it waits for nothing, so that it is over at its first step
        return done.value, None
    except Exception as error:  # noqa: BLE001 -- the life that called gets it
        return None, error
    raise AssertionError(f"{name} waits")
