"""The targets of one run: each opened once, and anew when the service behind it was gone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from tuner.targets import open_target

if TYPE_CHECKING:
    from tuner.targets import Target
    from tuner.types import TargetConfig


class Connections:
    """Open targets by their configuration; closes them all in the end."""

    def __init__(self) -> None:
        """Nothing is opened before it is asked for."""
        self._stack = AsyncExitStack()
        self._open: dict[TargetConfig, Target] = {}
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what was opened."""
        await self._stack.aclose()

    async def get(self, config: TargetConfig, gone: Target | None = None) -> Target:
        """The target, opened when it is not yet, or when the open one is ``gone``.

        Opening ``local`` starts its service when none runs, so that a service that died comes back.
        Many jobs may find the same one gone; the first of them opens it for all.

        Raises:
            NotAllowed, Unavailable: As ``open_target``.
        """
        async with self._lock:
            target = self._open.get(config)
            if target is None or target is gone:
                target = await self._stack.enter_async_context(open_target(config))
                self._open[config] = target
            return target
