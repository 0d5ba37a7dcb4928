"""The desk of the inference process, without the process: a fake room, and replies in a list."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from tuner.engine import EngineError, Prompt, Turn, inference
from tuner.engine.generate import GenerationRequest
from tuner.engine.inference import BatchScheduler


class Replies(list):
    def send(self, **message):
        self.append(message)


class Room:
    """Everything is ready but ``slow``, until it is."""

    def __init__(self):
        self.slow = Future()
        self.ready = Future()
        self.ready.set_result(None)

    def load(self, request):
        if request["do"] == "unknown":
            raise EngineError("no such model", is_request=True)
        return self.slow if request["prompt"]["base_model"] == "slow" else self.ready

    def count(self, prompt):
        return len(prompt.turns)

    def question(self, number, prompt, send):
        return GenerationRequest(number, (1, 2), prompt, send)


@pytest.fixture
def desk():
    return BatchScheduler(Room(), Replies(), 2)


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
    assert desk.open == set()


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


class Answering:
    """A batch without end, as the desk sees it."""

    def __init__(self, questions):
        self.answering = [SimpleNamespace(question=question) for question in questions]
        self.rounds = 0

    @property
    def done(self):
        return not self.answering

    def advance(self, dropped):
        self.rounds += 1
        self.answering = [row for row in self.answering if row.question not in dropped]


@pytest.fixture
def reading(desk):
    """Lets the prompt of question 2 be read to its end, which takes until then."""
    is_read = threading.Event()

    def batch(questions):
        if [question.number for question in questions] == [2]:
            is_read.wait()
        return Answering(questions)

    desk.room.batch = batch
    yield is_read
    is_read.set()


def begin(desk, number):
    desk.take(request(number, "generate"))
    work_off(desk)
    desk.work()


def next_batch(desk):
    desk.inbox.get(timeout=10)()
    return desk.batches[-1]


def test_while_a_long_prompt_is_read_the_others_go_on_and_new_ones_begin(desk, reading):
    begin(desk, 1)
    first = next_batch(desk)
    begin(desk, 2)
    assert first.rounds == 1

    begin(desk, 3)
    second = next_batch(desk)

    assert [row.question.number for row in second.answering] == [3]
    assert first.rounds == 2
    reading.set()
    assert [row.question.number for row in next_batch(desk).answering] == [2]


def test_who_leaves_while_the_prompt_is_read_is_not_answered(desk, reading):
    begin(desk, 2)
    desk.take({"id": 2, "do": "cancel"})
    reading.set()
    next_batch(desk)
    desk.work()

    assert desk.batches == []
    assert desk.starting == 0


def test_prompts_that_are_being_read_take_up_room(desk, reading, monkeypatch):
    monkeypatch.setattr(inference, "ROWS_AT_ONCE", 1)
    begin(desk, 2)
    begin(desk, 3)
    assert list(desk.waiting) == [3]

    desk.take({"id": 2, "do": "cancel"})
    reading.set()
    next_batch(desk)
    desk.work()
    desk.work()

    assert not desk.waiting
