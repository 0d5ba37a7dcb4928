"""The desk of the inference process, without the process: a fake room, and replies in a list."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import asdict

import pytest

from tuner.engine import EngineError, Prompt, Turn
from tuner.engine.generate import Question
from tuner.engine.inference import Desk


class Replies(list):
    def send(self, **message):
        self.append(message)


class Room:
    """Everything is ready but ``slow``, until it is."""

    def __init__(self):
        self.slow = Future()
        self.ready = Future()
        self.ready.set_result(None)

    def wanted(self, request):
        if request["do"] == "unknown":
            raise EngineError("no such model", is_request=True)
        return self.slow if request["prompt"]["base_model"] == "slow" else self.ready

    def count(self, prompt):
        return len(prompt.turns)

    def question(self, number, prompt, send):
        return Question(number, (1, 2), prompt, send)


@pytest.fixture
def desk():
    return Desk(Room(), Replies(), 2)


def request(number, do="count", model="quick", **changes):
    prompt = asdict(Prompt(model, (Turn("user", "x"),), **changes))
    return {"id": number, "do": do, "prompt": prompt}


def work_off(desk):
    while not desk.inbox.empty():
        desk.inbox.get()()


def test_a_model_that_is_being_loaded_keeps_nobody_else_waiting(desk):
    desk.take(request(1, model="slow"))
    desk.take(request(2))
    work_off(desk)
    assert [reply["id"] for reply in desk.replies] == [2]

    desk.room.slow.set_result(None)
    work_off(desk)

    assert [reply["id"] for reply in desk.replies] == [2, 1]


def test_who_left_while_a_model_was_loaded_is_forgotten(desk):
    desk.take(request(1, model="slow"))
    desk.take({"id": 1, "do": "cancel"})
    desk.room.slow.set_result(None)
    work_off(desk)

    assert desk.replies == []
    assert desk.open == {}


def test_a_model_that_cannot_be_loaded_says_why(desk):
    desk.take(request(1, model="slow"))
    desk.take(request(2, do="unknown"))
    desk.room.slow.set_exception(EngineError("no network; try again"))
    work_off(desk)

    told = {reply["id"]: (reply["error"], reply["is_request"]) for reply in desk.replies}
    assert told == {1: ("no network; try again", False), 2: ("no such model", True)}


def test_who_gives_a_seed_is_answered_alone_and_the_others_together(desk):
    for number, seed in enumerate([None, 7, None, 7, None]):
        desk.take(request(number, "generate", seed=seed))
    work_off(desk)

    groups = [[question.number for question in group] for group in desk._admitted()]

    assert sorted(groups) == [[0, 4], [1], [2], [3]]
