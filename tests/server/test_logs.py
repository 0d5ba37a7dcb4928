"""Log lines: one event a line, and nothing in them that somebody sent."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest

from tuner.server import logs


@pytest.fixture
def written():
    """What is logged, as the service would write it."""
    stream, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines())
    root.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)


def break_with(words):
    try:
        {}[words]
    except KeyError as error:
        raise ValueError(words) from error


def test_an_event_is_a_line_with_what_it_brought():
    brought = {"msg": "two\nlines \ud800", "levelname": "WARNING", "ms": 1.5}
    (text,) = logs.JsonLines().format(logging.makeLogRecord(brought)).splitlines()
    line = json.loads(text)
    assert (line["event"], line["level"], line["ms"]) == ("two\nlines \ud800", "warning", 1.5)


def test_a_failure_is_told_by_kind_and_place_and_never_in_its_own_words(written):
    try:
        break_with("a secret")
    except ValueError:
        logging.getLogger("tuner.x").exception("broke")
    (line,) = written()
    assert "secret" not in json.dumps(line)
    kinds = [each for each in line["trace"].splitlines() if not each.startswith(" ")]
    assert kinds == ["KeyError", "ValueError"]
    assert f"{__file__}:" in line["trace"]
    assert line["trace"].count("in break_with") == 2


def test_what_asyncio_complains_about_is_told_without_words(written):
    async def go():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(logs.note_loop)
        loop.call_soon(break_with, "a secret")
        await asyncio.sleep(0)

    asyncio.run(go())
    (line,) = written()
    assert "secret" not in json.dumps(line)
    assert "ValueError" in line["trace"]
