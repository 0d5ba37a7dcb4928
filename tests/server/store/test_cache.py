"""The store's cache, with a clock of the test's and reads that it can hold back."""

from __future__ import annotations

import asyncio

import pytest

from tuner.server.store import database
from tuner.server.store.database import ReadCache

WAYS = pytest.mark.parametrize("way", ["get", "get_tracked"])


class Source:
    """Counts its reads, and answers when it is allowed to."""

    def __init__(self):
        self.reads = 0
        self.allowed = asyncio.Event()
        self.allowed.set()

    async def read(self, _previous=None):
        self.reads += 1
        answer = self.reads
        await self.allowed.wait()
        return answer


@WAYS
def test_concurrent_requests_share_one_read(way):
    async def go():
        get, source = getattr(ReadCache(), way), Source()
        answers = await asyncio.gather(*(get("m", "key", source.read) for _ in range(100)))
        assert set(answers) == {1}

    asyncio.run(go())


def test_what_other_processes_may_change_is_kept_for_a_second():
    async def go():
        now = [0.0]
        cache, source = ReadCache(lambda: now[0]), Source()
        answers = []
        for now[0] in (0.0, 0.9, 1.0):
            answers.append(await cache.get("m", "key", source.read))
        assert answers == [1, 1, 2]

    asyncio.run(go())


@WAYS
def test_what_is_being_read_during_a_write_is_not_kept(way):
    async def go():
        cache, source = ReadCache(), Source()
        source.allowed.clear()
        early = asyncio.create_task(getattr(cache, way)("m", "key", source.read))
        await asyncio.sleep(0)
        cache.invalidate("m")
        source.allowed.set()
        assert await early == 1
        assert await getattr(cache, way)("m", "key", source.read) == 2

    asyncio.run(go())


@WAYS
def test_a_failed_read_raises_and_is_not_kept(way):
    async def go():
        get, source = getattr(ReadCache(), way), Source()

        async def fail(_previous=None):
            raise ConnectionError

        with pytest.raises(ConnectionError):
            await get("m", "key", fail)
        assert await get("m", "key", source.read) == 1

    asyncio.run(go())


@WAYS
def test_a_cancelled_caller_does_not_cancel_the_read_of_others(way):
    async def go():
        get, source = getattr(ReadCache(), way), Source()
        source.allowed.clear()
        first, second = (asyncio.create_task(get("m", "key", source.read)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        source.allowed.set()
        assert await second == 1

    asyncio.run(go())


def test_the_least_recently_used_tracked_read_is_dropped(monkeypatch):
    async def go():
        monkeypatch.setattr(database, "MAX_TRACKED_READS", 2)
        cache, source = ReadCache(), Source()
        for key in ("a", "b", "a", "c", "a", "b"):
            await cache.get_tracked("m", key, source.read)
        assert source.reads == 4

    asyncio.run(go())


def test_a_write_about_one_topic_keeps_what_is_cached_about_another():
    async def go():
        cache, calls = ReadCache(), []

        async def read(previous):
            calls.append(previous)
            return len(calls)

        for topic in ("mine", "other", "mine", ""):
            await cache.get_tracked("mine", "key", read)
            cache.invalidate(topic)
        await cache.get_tracked("mine", "key", read)
        assert calls == [None, 1, 2, 3][: len(calls)]
        assert len(calls) == 4

    asyncio.run(go())
