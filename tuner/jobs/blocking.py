"""A coroutine run to its end by a caller that is none, in a notebook too."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

ASK_AGAIN_S = 1.0


def run_to_end(main: Callable[[], Coroutine[None, None, T]]) -> T:
    """What ``main`` gives, as by ``asyncio.run``.

    Where a loop is running in this thread already, as in a notebook, it runs in a thread beside it,
    and Ctrl-C, or the notebook's stop, ends it before it is raised here.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main())
    begun: Future[Callable[[], object]] = Future()
    with ThreadPoolExecutor(1, "tuner") as pool:
        try:
            return pool.submit(asyncio.run, _stoppable(main, begun)).result()
        except KeyboardInterrupt:
            with suppress(RuntimeError):  # it has ended by itself
                begun.result()()
            raise


async def _stoppable(
    main: Callable[[], Coroutine[None, None, T]], begun: Future[Callable[[], object]]
) -> T:
    """``main``, and in ``begun`` what ends it from another thread."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main())

    def stop() -> None:
        task.cancel()
        loop.call_later(ASK_AGAIN_S, stop)  # grpc.aio can lose a cancel when it meets an answer

    begun.set_result(partial(loop.call_soon_threadsafe, stop))
    return await task
