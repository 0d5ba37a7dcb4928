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

    shelf = LruLoader(make, 2)
    things = [shelf.ask("a") for _ in range(5)]
    go.set()

    assert {thing.result() for thing in things} == {"A"}
    assert made == ["a"]


def test_the_longest_unused_goes():
    made = []
    shelf = LruLoader(lambda name: made.append(name) or name, 2)

    for name in "abacab":
        shelf.get(name)

    assert made == ["a", "b", "c", "b"]


def test_a_failure_is_told_and_forgotten():
    failures = [OSError("no network")]

    def make(name):
        if failures:
            raise failures.pop()
        return name

    shelf = LruLoader(make, 1)

    with pytest.raises(OSError, match="no network"):
        shelf.get("a")
    assert shelf.get("a") == "a"
