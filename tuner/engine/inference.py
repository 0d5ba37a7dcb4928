"""The inference process: answers, counts and embeds for everybody, each base model loaded once.

Standard input: a line that says which models there are, then a line a request. Standard output: one or
more lines a request, each with its id. It ends when standard input does.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tuner.engine import EngineError, child_process
from tuner.engine.model_cache import ModelCache

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from tuner.engine import Piece
    from tuner.engine.embed import Embedder
    from tuner.engine.generate import Batch, GenerationRequest

ROWS_AT_ONCE = 128
TOKENS_AT_ONCE = 4096  # read in one go, padding included: bounds memory, and how long others wait
NICE = 5  # the service itself is to answer first


class BatchScheduler:
    """Takes requests, and gives every batch of answers a token in turn."""

    def __init__(self, models: ModelCache, replies: child_process.Replies, hands: int) -> None:
        """Batches are worked on by so many threads, each on one processor."""
        self.hands = hands
        self.crew = _threads(hands)
        # A long prompt takes many seconds to read: beside it others are read, and all go on.
        self.readers = _threads(max(2, hands))
        self.aside = ThreadPoolExecutor(1)
        self.models = models
        self.replies = replies
        self.inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.waiting: dict[int, GenerationRequest] = {}
        self.batches: list[Batch] = []
        self.starting = 0  # rows whose prompts are being read
        self.open: set[int] = set()

    def run(self) -> None:
        """Work for ever, and sleep while there is nothing to do."""
        while True:
            while not self.inbox.empty() or not (self.batches or (self.waiting and self._room())):
                self.inbox.get()()
            self.work()

    def take(self, request: dict[str, Any]) -> None:
        """Begin a request when what it needs is loaded; the others go on meanwhile."""
        number: int = request["id"]
        if request["do"] == "cancel":
            self._cancel(number)
            return
        self.open.add(number)
        try:
            wanted = self.models.load(request)
        except EngineError as error:
            self._fail(number, error)
            return
        wanted.add_done_callback(
            lambda loaded: self.inbox.put(partial(self._begin, request, loaded))
        )

    def _begin(self, request: dict[str, Any], loaded: Future[Any]) -> None:
        number: int = request["id"]
        if number not in self.open:  # it was cancelled
            return
        try:
            loaded.result()
            match request["do"]:
                case "generate":
                    prompt = child_process.prompt_from(request["prompt"])
                    send = partial(self._send, number)
                    self.waiting[number] = self.models.question(number, prompt, send)
                case "count":
                    self._reply(
                        number,
                        tokens=self.models.count(child_process.prompt_from(request["prompt"])),
                    )
                case "embed":
                    self.aside.submit(self._embed, number, loaded.result(), request["texts"])
        except Exception as error:  # noqa: BLE001  one bad request must not end the others
            self._fail(number, error)

    def _embed(self, number: int, embedder: Embedder, texts: list[str]) -> None:
        try:
            self._reply(number, vectors=embedder.embed(texts))
        except Exception as error:  # noqa: BLE001  as in _begin
            self._fail(number, error)

    def work(self) -> None:
        """Start what waits, as far as there is room, and go one token on with everything."""
        for questions in self._admitted():
            self.starting += len(questions)
            self.readers.submit(self._start, questions)
        alive = list(self.crew.map(self._advanced, self.batches))
        going = [batch for batch, is_alive in zip(self.batches, alive, strict=True) if is_alive]
        self.batches = [batch for batch in going if not batch.done]

    def _start(self, questions: list[GenerationRequest]) -> None:
        batch = None
        wanted = [question for question in questions if question.number in self.open]
        try:
            with torch.inference_mode():
                batch = self.models.batch(wanted) if wanted else None
        except Exception as error:  # noqa: BLE001  as in _begin
            self._fail_all(wanted, error)
        self.inbox.put(partial(self._join, len(questions), batch))

    def _join(self, rows: int, batch: Batch | None) -> None:
        self.starting -= rows
        if batch and not batch.done:
            self.batches.append(batch)

    def _advanced(self, batch: Batch) -> bool:
        questions = [row.question for row in batch.answering]
        dropped = [question for question in questions if question.number not in self.open]
        try:
            with torch.inference_mode():
                batch.advance(dropped)
        except Exception as error:  # noqa: BLE001  as in _begin
            self._fail_all(questions, error)
            return False
        return True

    def _room(self) -> int:
        """How many more rows may be answered."""
        answering = sum(len(batch.answering) for batch in self.batches)
        return max(0, ROWS_AT_ONCE - self.starting - answering)

    def _admitted(self) -> list[list[GenerationRequest]]:
        """Take what waits out of the queue, in groups that one batch can answer."""
        groups: dict[tuple[Any, ...], list[list[GenerationRequest]]] = {}
        for question in list(self.waiting.values())[: self._room()]:
            del self.waiting[question.number]
            prompt = question.prompt
            # Neighbours change the rounding of a product: who gives a seed is answered alone.
            alone = None if prompt.seed is None else question.number
            same = groups.setdefault((prompt.base_model, prompt.adapter, alone), [[]])
            longest = max(len(other.tokens) for other in (*same[-1], question))
            if same[-1] and longest * (len(same[-1]) + 1) > TOKENS_AT_ONCE:
                same.append([])
            same[-1].append(question)
        # Dealt out, so that every thread has about the same to do.
        return [
            group[hand :: self.hands]
            for same in groups.values()
            for group in same
            for hand in range(min(self.hands, len(group)))
        ]

    def _send(self, number: int, piece: Piece) -> None:
        last = bool(piece.finish_reason)
        if last:
            self.open.discard(number)
        self.replies.send(id=number, **asdict(piece), last=last)

    def _reply(self, number: int, **answer: Any) -> None:
        self.open.discard(number)
        self.replies.send(id=number, **answer, last=True)

    def _cancel(self, number: int) -> None:
        self.open.discard(number)
        self.waiting.pop(number, None)

    def _fail_all(self, questions: list[GenerationRequest], error: Exception) -> None:
        for question in questions:
            if question.number in self.open:
                self._fail(question.number, error)

    def _fail(self, number: int, error: Exception) -> None:
        self.open.discard(number)
        is_request = isinstance(error, EngineError) and error.is_request
        if not isinstance(error, EngineError):
            sys.stderr.write(f"{child_process.format_traceback(error)}\n")
        text = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
        self.replies.send(id=number, error=text, is_request=is_request, last=True)


def main() -> None:
    """Serve until standard input ends."""
    os.nice(NICE)
    replies = child_process.Replies()
    torch.set_num_threads(child_process.available_cpus())
    setup = child_process.decode(sys.stdin.buffer.readline())
    models = {model["name"]: child_process.base_model_from(model) for model in setup["models"]}
    desk = BatchScheduler(
        ModelCache(models, Path(setup["models_folder"])), replies, child_process.available_cpus()
    )
    threading.Thread(target=_listen, args=(desk,), daemon=True).start()
    desk.run()


def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,))


def _listen(desk: BatchScheduler) -> None:
    for line in sys.stdin.buffer:
        desk.inbox.put(partial(desk.take, child_process.decode(line)))
    os._exit(0)  # nobody is left to answer, and a model may be in the middle of a long product


if __name__ == "__main__":
    main()
