from __future__ import annotations

import threading

import pytest

from tuner.engine.model_cache import LruLoader


def test_a_thing_is_made_once_for_all_who_ask_meanwhile():
    made, go = [], threading.Event()

    def make(name):
        made.append(name)
        go.wait()
        return name.upper()

    loader = LruLoader(make, 2)
    items = [loader.start("a") for _ in range(5)]
    go.set()

    assert {item.result() for item in items} == {"A"}
    assert made == ["a"]


def test_the_least_recently_used_item_is_dropped():
    made = []
    loader = LruLoader(lambda name: made.append(name) or name, 2)

    for name in "abacab":
        loader.get(name)

    assert made == ["a", "b", "c", "b"]


def test_a_failed_item_is_loaded_again():
    failures = [OSError("no network")]

    def make(name):
        if failures:
            raise failures.pop()
        return name

    loader = LruLoader(make, 1)

    with pytest.raises(OSError, match="no network"):
        loader.get("a")
    assert loader.get("a") == "a"
