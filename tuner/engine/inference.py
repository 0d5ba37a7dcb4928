"""The inference process: answers, counts and embeds for everybody, each base model loaded once.

Standard input: a line that says which models there are, then a line a request. Standard output: one or
more lines a request, each with its id. It ends when standard input does.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tuner.engine import EngineError, Prompt, base_models, causal, lora, messages, threads
from tuner.engine.chat import open_chat
from tuner.engine.embed import Embedder
from tuner.engine.generate import Batch, Question

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner.engine import BaseModel, Piece
    from tuner.engine.causal import CausalModel
    from tuner.engine.chat import Chat

BASE_MODELS_LOADED = 2
ADAPTERS_LOADED = 64
ROWS_AT_ONCE = 128
TOKENS_AT_ONCE = 4096  # read in one go, padding included: bounds memory, and how long others wait


class Room:
    """What is loaded; the longest unused goes when there is no more room."""

    def __init__(self, models: dict[str, BaseModel], models_folder: Path) -> None:
        """Nothing is loaded before it is asked for."""
        self.models = models
        self.models_folder = models_folder
        self.model: Callable[[str], CausalModel] = lru_cache(BASE_MODELS_LOADED)(self._model)
        self.chat: Callable[[str], Chat] = lru_cache(self._chat)
        self.embedder: Callable[[str], Embedder] = lru_cache(BASE_MODELS_LOADED)(self._embedder)
        self.adapter: Callable[[Path], lora.Adapter] = lru_cache(ADAPTERS_LOADED)(lora.read)

    def question(self, number: int, prompt: Prompt, send: Callable[[Piece], None]) -> Question:
        """Make a prompt tokens. Raises EngineError if they are more than the model takes."""
        tokens = self.tokens(prompt)
        limit = self.model(prompt.base_model).context
        limit = min(limit, self.models[prompt.base_model].input_token_limit or limit)
        if len(tokens) >= limit:
            raise EngineError(
                f"the prompt has {len(tokens)} tokens, and {prompt.base_model} takes at most"
                f" {limit} with the answer; shorten the prompt",
                is_request=True,
            )
        return Question(number, tuple(tokens), prompt, send)

    def tokens(self, prompt: Prompt) -> list[int]:
        """A prompt as the model sees it."""
        return self.chat(prompt.base_model).prompt(prompt.turns, prompt.system_instruction)

    def count(self, prompt: Prompt) -> int:
        """How many tokens a prompt has; an embedding model knows no turns."""
        self._offers(prompt.base_model, "countTokens")
        if "generateContent" in self.models[prompt.base_model].methods:
            return len(self.tokens(prompt))
        texts = [turn.text for turn in prompt.turns]
        return sum(self.embedder(prompt.base_model).count(text) for text in texts)

    def batch(self, questions: Sequence[Question]) -> Batch:
        """Start to answer questions to one model and one adapter."""
        prompt = questions[0].prompt
        model = self.model(prompt.base_model)
        prepared = model.prepare(self.adapter(prompt.adapter)) if prompt.adapter else None
        return Batch(questions, model, self.chat(prompt.base_model), prepared)

    def _folder(self, name: str, method: str) -> Path:
        return base_models.pull(self._offers(name, method), self.models_folder)

    def _offers(self, name: str, method: str) -> BaseModel:
        model = self.models.get(name)
        if model is None or method not in model.methods:
            what = "has no" if model else "is not a model here, so it has no"
            able = ", ".join(
                known.name for known in self.models.values() if method in known.methods
            )
            raise EngineError(f"{name} {what} {method}; use one of: {able}", is_request=True)
        return model

    def _model(self, name: str) -> CausalModel:
        return causal.load(self._folder(name, "generateContent"))

    def _chat(self, name: str) -> Chat:
        return open_chat(self._folder(name, "generateContent"))

    def _embedder(self, name: str) -> Embedder:
        return Embedder(self._folder(name, "embedContent"))


class Desk:
    """Takes requests, and gives every batch of answers a token in turn."""

    def __init__(self, room: Room, replies: messages.Replies, hands: int) -> None:
        """Batches are worked on by so many threads, each on one processor."""
        self.hands = hands
        self.crew = ThreadPoolExecutor(hands, initializer=torch.set_num_threads, initargs=(1,))
        self.room = room
        self.replies = replies
        self.waiting: dict[int, Question] = {}
        self.batches: list[Batch] = []
        self.open: dict[int, Question] = {}
        self.dropped: set[Question] = set()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do before the next request."""
        return not self.waiting and not self.batches

    def take(self, request: dict[str, Any]) -> None:
        """Answer a short request at once, or put it with those that wait."""
        number: int = request["id"]
        try:
            match request["do"]:
                case "generate":
                    prompt = messages.prompt(request["prompt"])
                    question = self.room.question(
                        number, prompt, lambda piece: self._send(number, piece)
                    )
                    self.waiting[number] = self.open[number] = question
                case "count":
                    tokens = self.room.count(messages.prompt(request["prompt"]))
                    self.replies.send(id=number, tokens=tokens, last=True)
                case "embed":
                    vectors = self.room.embedder(request["model"]).embed(request["texts"])
                    self.replies.send(id=number, vectors=vectors, last=True)
                case "cancel":
                    self._cancel(number)
        except Exception as error:  # noqa: BLE001  one bad request must not end the others
            self._fail(number, error)

    def work(self) -> None:
        """Start what waits, as far as there is room, and go one token on with everything."""
        started = list(self.crew.map(self._started, self._admitted()))
        alive = list(self.crew.map(self._advanced, self.batches))
        going = [batch for batch, is_alive in zip(self.batches, alive, strict=True) if is_alive]
        self.batches = [batch for batch in (*going, *started) if batch and not batch.done]
        self.dropped.clear()

    def _started(self, questions: list[Question]) -> Batch | None:
        try:
            with torch.inference_mode():
                return self.room.batch(questions)
        except Exception as error:  # noqa: BLE001  as in take
            self._fail_all(questions, error)
            return None

    def _advanced(self, batch: Batch) -> bool:
        questions = [row.question for row in batch.answering]
        try:
            with torch.inference_mode():
                batch.advance(self.dropped)
        except Exception as error:  # noqa: BLE001  as in take
            self._fail_all(questions, error)
            return False
        return True

    def _admitted(self) -> list[list[Question]]:
        """Take what waits out of the queue, in groups that one batch can answer."""
        room = ROWS_AT_ONCE - sum(len(batch.answering) for batch in self.batches)
        groups: dict[tuple[str, Path | None], list[list[Question]]] = {}
        for question in list(self.waiting.values())[: max(0, room)]:
            del self.waiting[question.number]
            same = groups.setdefault((question.prompt.base_model, question.prompt.adapter), [[]])
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
            self.open.pop(number, None)
        self.replies.send(
            id=number,
            text=piece.text,
            finish_reason=piece.finish_reason,
            prompt_tokens=piece.prompt_tokens,
            output_tokens=piece.output_tokens,
            last=last,
        )

    def _cancel(self, number: int) -> None:
        question = self.open.pop(number, None)
        if question and not self.waiting.pop(number, None):
            self.dropped.add(question)

    def _fail_all(self, questions: list[Question], error: Exception) -> None:
        for question in questions:
            if question.number in self.open:
                self._fail(question.number, error)

    def _fail(self, number: int, error: Exception) -> None:
        self.open.pop(number, None)
        is_request = isinstance(error, EngineError) and error.is_request
        if not isinstance(error, EngineError):
            traceback.print_exception(error)
        text = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
        self.replies.send(id=number, error=text, is_request=is_request, last=True)


def main() -> None:
    """Serve until standard input ends."""
    replies = messages.Replies()
    torch.set_num_threads(threads.available())
    setup = messages.parse(sys.stdin.buffer.readline())
    models = {model["name"]: messages.base_model(model) for model in setup["models"]}
    desk = Desk(Room(models, Path(setup["models_folder"])), replies, threads.available())
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        while desk.idle or not requests.empty():
            desk.take(requests.get())
        desk.work()


def _listen(requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin.buffer:
        requests.put(messages.parse(line))
    os._exit(0)  # nobody is left to answer, and a model may be in the middle of a long product


if __name__ == "__main__":
    main()
