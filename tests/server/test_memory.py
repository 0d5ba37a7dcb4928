"""The store's memory, with a clock of the test's and readings it can hold back."""

from __future__ import annotations

import asyncio

import pytest

from tuner.server.store import memory
from tuner.server.store.memory import Memory


class Source:
    """Something to ask: counts, and answers when it is let."""

    def __init__(self):
        self.asked = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def ask(self, _before=None):
        self.asked += 1
        answer = self.asked
        await self.go_on.wait()
        return answer


def test_many_who_ask_the_same_at_once_share_one_reading():
    async def go():
        kept, source = Memory(), Source()
        answers = await asyncio.gather(*(kept.recall("m", "q", source.ask) for _ in range(100)))
        assert set(answers) == {1}
        answers = await asyncio.gather(*(kept.follow("m", "q", source.ask) for _ in range(100)))
        assert set(answers) == {2}

    asyncio.run(go())


def test_nothing_that_others_may_change_is_kept_longer_than_a_second():
    async def go():
        now = [0.0]
        kept, source = Memory(lambda: now[0]), Source()
        assert await kept.recall("m", "q", source.ask) == 1
        now[0] = 0.9
        assert await kept.recall("m", "q", source.ask) == 1
        now[0] = 1.0
        assert await kept.recall("m", "q", source.ask) == 2

    asyncio.run(go())


@pytest.mark.parametrize("way", ["recall", "follow"])
def test_what_is_being_read_while_it_changes_is_not_kept(way):
    async def go():
        kept, source = Memory(), Source()
        source.go_on.clear()
        early = asyncio.create_task(getattr(kept, way)("m", "q", source.ask))
        await asyncio.sleep(0)
        kept.forget("m")
        source.go_on.set()
        assert await early == 1
        assert await getattr(kept, way)("m", "q", source.ask) == 2

    asyncio.run(go())


@pytest.mark.parametrize("way", ["recall", "follow"])
def test_a_failed_reading_is_told_and_not_kept(way):
    async def go():
        kept, source = Memory(), Source()

        async def fail(_before=None):
            raise ConnectionError

        with pytest.raises(ConnectionError):
            await getattr(kept, way)("m", "q", fail)
        assert await getattr(kept, way)("m", "q", source.ask) == 1

    asyncio.run(go())


@pytest.mark.parametrize("way", ["recall", "follow"])
def test_one_who_leaves_takes_no_answer_from_the_others(way):
    async def go():
        kept, source = Memory(), Source()
        source.go_on.clear()
        first, second = (
            asyncio.create_task(getattr(kept, way)("m", "q", source.ask)) for _ in range(2)
        )
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        source.go_on.set()
        assert await second == 1

    asyncio.run(go())


def test_only_so_much_is_followed_and_what_was_asked_last_stays(monkeypatch):
    async def go():
        monkeypatch.setattr(memory, "FOLLOW_MOST", 2)
        kept, source = Memory(), Source()
        for question in ("a", "b", "a", "c", "a", "b"):
            await kept.follow("m", question, source.ask)
        assert source.asked == 4

    asyncio.run(go())
