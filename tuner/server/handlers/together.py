"""Several streams read as one, as their items come."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

Item = TypeVar("Item")


async def together(streams: Sequence[AsyncIterator[Item]]) -> AsyncIterator[tuple[int, Item]]:
    """Yield each item with its stream's number; closing this one, or a stream's failure, closes all.

    Raises:
        Exception: The first that a stream raises.
    """
    items: asyncio.Queue[tuple[int, Item] | Exception | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_feed(*pair, items)) for pair in enumerate(streams)]
    going = len(tasks)
    try:
        while going:
            match await items.get():
                case None:
                    going -= 1
                case Exception() as error:
                    raise error
                case number, item:
                    yield number, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _feed(
    number: int,
    stream: AsyncIterator[Item],
    items: asyncio.Queue[tuple[int, Item] | Exception | None],
) -> None:
    try:
        async with aclosing(stream):  # type: ignore[type-var]
            async for item in stream:
                items.put_nowait((number, item))
    except Exception as error:  # noqa: BLE001  raised again by the reader
        items.put_nowait(error)
    else:
        items.put_nowait(None)
