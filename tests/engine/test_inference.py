"""The scheduler of the inference process, without the process: fake models, and replies in a list."""

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


class Models:
    """Every model is loaded, except ``slow`` until the test loads it."""

    def __init__(self):
        self.slow = Future()
        self.ready = Future()
        self.ready.set_result(None)

    def load(self, request):
        if request["do"] == "unknown":
            raise EngineError("no such model", is_request=True)
        return self.slow if request["prompt"]["base_model"] == "slow" else self.ready

    def count_tokens(self, prompt):
        return len(prompt.turns)

    def request(self, number, prompt, send):
        return GenerationRequest(number, (1, 2), prompt, send)


@pytest.fixture
def scheduler():
    return BatchScheduler(Models(), Replies(), 2)


def request(number, do="count", model="quick", **changes):
    prompt = asdict(Prompt(model, (Turn("user", "x"),), **changes))
    return {"id": number, "do": do, "prompt": prompt}


def run_inbox(scheduler):
    while not scheduler.inbox.empty():
        scheduler.inbox.get()()


def test_loading_a_model_does_not_delay_other_requests(scheduler):
    scheduler.accept(request(1, model="slow"))
    scheduler.accept(request(2))
    run_inbox(scheduler)
    assert [reply["id"] for reply in scheduler.replies] == [2]

    scheduler.models.slow.set_result(None)
    run_inbox(scheduler)

    assert [reply["id"] for reply in scheduler.replies] == [2, 1]


def test_a_request_cancelled_while_its_model_loads_gets_no_reply(scheduler):
    scheduler.accept(request(1, model="slow"))
    scheduler.accept({"id": 1, "do": "cancel"})
    scheduler.models.slow.set_result(None)
    run_inbox(scheduler)

    assert scheduler.replies == []
    assert scheduler.open == set()


def test_a_model_that_cannot_be_loaded_gives_the_reason(scheduler):
    scheduler.accept(request(1, model="slow"))
    scheduler.accept(request(2, do="unknown"))
    scheduler.models.slow.set_exception(EngineError("no network; try again"))
    run_inbox(scheduler)

    replies = {reply["id"]: (reply["error"], reply["is_request"]) for reply in scheduler.replies}
    assert replies == {1: ("no network; try again", False), 2: ("no such model", True)}


def test_a_request_with_a_seed_runs_alone_and_others_share_a_batch(scheduler):
    for number, seed in enumerate([None, 7, None, 7, None]):
        scheduler.accept(request(number, "generate", seed=seed))
    run_inbox(scheduler)

    groups = [[request.number for request in group] for group in scheduler._next_groups()]

    assert sorted(groups) == [[0, 4], [1], [2], [3]]


class EndlessBatch:
    """A batch that never finishes by itself."""

    def __init__(self, requests):
        self.rows = [SimpleNamespace(request=request) for request in requests]
        self.rounds = 0

    @property
    def done(self):
        return not self.rows

    def advance(self, dropped):
        self.rounds += 1
        self.rows = [row for row in self.rows if row.request not in dropped]


@pytest.fixture
def prefilled(scheduler):
    """An event; the prompt of request 2 is prefilled when it is set."""
    is_read = threading.Event()

    def batch(requests):
        if [request.number for request in requests] == [2]:
            is_read.wait()
        return EndlessBatch(requests)

    scheduler.models.batch = batch
    yield is_read
    is_read.set()


def start(scheduler, number):
    scheduler.accept(request(number, "generate"))
    run_inbox(scheduler)
    scheduler.advance()


def next_batch(scheduler):
    scheduler.inbox.get(timeout=10)()
    return scheduler.batches[-1]


def test_a_long_prompt_does_not_delay_running_or_new_requests(scheduler, prefilled):
    start(scheduler, 1)
    first = next_batch(scheduler)
    start(scheduler, 2)
    assert first.rounds == 1

    start(scheduler, 3)
    second = next_batch(scheduler)

    assert [row.request.number for row in second.rows] == [3]
    assert first.rounds == 2
    prefilled.set()
    assert [row.request.number for row in next_batch(scheduler).rows] == [2]


def test_a_request_cancelled_during_prefill_is_dropped(scheduler, prefilled):
    start(scheduler, 2)
    scheduler.accept({"id": 2, "do": "cancel"})
    prefilled.set()
    next_batch(scheduler)
    scheduler.advance()

    assert scheduler.batches == []
    assert scheduler.prefilling_rows == 0


def test_rows_in_prefill_count_towards_the_row_limit(scheduler, prefilled, monkeypatch):
    monkeypatch.setattr(inference, "MAX_ROWS", 1)
    start(scheduler, 2)
    start(scheduler, 3)
    assert list(scheduler.waiting) == [3]

    scheduler.accept({"id": 2, "do": "cancel"})
    prefilled.set()
    next_batch(scheduler)
    scheduler.advance()
    scheduler.advance()

    assert not scheduler.waiting
