"""Tasks that stand and fall together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Sequence


async def together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do all of this side by side, as ``until_all_end``."""
    await until_all_end([asyncio.create_task(work) for work in works])


async def until_all_end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Wait for all; when one is brought down, so are the others, and nothing is left running."""
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
