from __future__ import annotations

import asyncio

import pytest

from tuner.server.handlers.together import together


async def counting(count, turns, closed, name=""):
    """Count, each time when it is told to."""
    try:
        for number in range(count):
            await turns.get()
            yield number
    finally:
        closed.append(name)


def test_items_come_as_they_are_made_and_not_stream_by_stream():
    async def go():
        turns, closed = [asyncio.Queue(), asyncio.Queue()], []
        streams = together([counting(2, turn, closed) for turn in turns])
        seen = []
        for next_one in (1, 0, 0, 1):
            turns[next_one].put_nowait(None)
            seen.append(await anext(streams))
        assert [each async for each in streams] == []
        return seen

    assert asyncio.run(go()) == [(1, 0), (0, 0), (0, 1), (1, 1)]


def test_closing_ends_every_stream_at_once():
    async def go():
        turns, closed = [asyncio.Queue() for _ in range(3)], []
        streams = together([counting(9, turn, closed, n) for n, turn in enumerate(turns)])
        turns[1].put_nowait(None)
        await anext(streams)
        await streams.aclose()
        return closed

    assert sorted(asyncio.run(go())) == [0, 1, 2]


def test_a_failure_is_raised_and_ends_the_others():
    async def failing():
        yield "a"
        raise KeyError("b")

    async def go():
        closed = []
        streams = together([failing(), counting(9, asyncio.Queue(), closed)])
        assert await anext(streams) == (0, "a")
        with pytest.raises(KeyError):
            await anext(streams)
        return closed

    assert asyncio.run(go()) == [""]
