"""The store's cache, with a fake clock and reads that wait until the test lets them finish."""

from __future__ import annotations

import asyncio

import pytest

from tuner.server.store.database import ReadCache


class Source:
    """Counts its reads; each returns its number once ``allowed`` is set."""

    def __init__(self):
        self.reads = 0
        self.allowed = asyncio.Event()
        self.allowed.set()

    async def read(self):
        self.reads += 1
        number = self.reads
        await self.allowed.wait()
        return number


async def test_concurrent_requests_share_one_read():
    cache, source = ReadCache(), Source()
    answers = await asyncio.gather(*(cache.get("m", "key", source.read) for _ in range(100)))
    assert set(answers) == {1}


async def test_a_result_is_kept_for_a_second_because_other_processes_may_write():
    now = [0.0]
    cache, source = ReadCache(lambda: now[0]), Source()
    answers = []
    for now[0] in (0.0, 0.9, 1.0):
        answers.append(await cache.get("m", "key", source.read))
    assert answers == [1, 1, 2]


async def test_the_result_of_a_read_during_a_write_is_not_kept():
    cache, source = ReadCache(), Source()
    source.allowed.clear()
    early = asyncio.create_task(cache.get("m", "key", source.read))
    await asyncio.sleep(0)
    cache.invalidate("m")
    source.allowed.set()
    assert await early == 1
    assert await cache.get("m", "key", source.read) == 2


async def test_a_failed_read_raises_and_is_not_kept():
    cache, source = ReadCache(), Source()

    async def fail():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await cache.get("m", "key", fail)
    assert await cache.get("m", "key", source.read) == 1


async def test_a_cancelled_caller_does_not_cancel_the_read_of_others():
    cache, source = ReadCache(), Source()
    source.allowed.clear()
    first, second = (asyncio.create_task(cache.get("m", "key", source.read)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    source.allowed.set()
    assert await second == 1


@pytest.mark.parametrize(("written", "is_kept"), [("mine", False), ("other", True), ("", False)])
async def test_a_write_drops_only_what_is_cached_about_its_topic(written, is_kept):
    cache, source = ReadCache(), Source()
    await cache.get("mine", "key", source.read)
    cache.invalidate(written)
    assert await cache.get("mine", "key", source.read) == (1 if is_kept else 2)
