"""A coroutine run to its end by a caller that is none, in a notebook too."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from threading import Thread
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
    ended: Future[T] = Future()

    def work() -> None:
        try:
            ended.set_result(asyncio.run(_stoppable(main, begun)))
        except BaseException as error:  # noqa: BLE001 -- it is raised below
            ended.set_exception(error)

    thread = Thread(target=work, name="tuner")
    try:
        thread.start()
        while not ended.done():  # Ctrl-C in the instant before a wait is only seen after it
            wait((ended,), ASK_AGAIN_S)
        return ended.result()
    except KeyboardInterrupt:
        with suppress(RuntimeError, TimeoutError):  # it has ended by itself, or not begun
            begun.result(ASK_AGAIN_S)()
            thread.join()
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
