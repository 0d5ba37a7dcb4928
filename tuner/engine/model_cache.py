"""What the inference process has loaded, and what that can do."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tuner.engine import EngineError, base_models, lora, models
from tuner.engine.chat import Chat, open_chat
from tuner.engine.constrained import Constraint, constraint_vocabulary
from tuner.engine.embed import Embedder
from tuner.engine.generate import Batch, GenerationRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from llguidance import LLTokenizer

    from tuner.engine import BaseModel, Piece, Prompt
    from tuner.engine.models import CausalModel

MODELS_LOADED = 2
CHATS_LOADED = 64
ADAPTERS_LOADED = 64


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A base model that answers, and how it is spoken to."""

    model: CausalModel
    chat: Chat


class ModelCache:
    """What is loaded; the longest unused goes when there is no more room."""

    def __init__(self, models: dict[str, BaseModel], models_folder: Path) -> None:
        """Nothing is loaded before it is asked for."""
        self.models = models
        self.models_folder = models_folder
        self.chats = LruLoader(self._chat, CHATS_LOADED)
        self.writers = LruLoader(self._writer, MODELS_LOADED)
        self.vocabularies: LruLoader[LLTokenizer] = LruLoader(self._vocabulary, MODELS_LOADED)
        self.embedders = LruLoader(self._embedder, MODELS_LOADED)
        self.adapter: Callable[[Path], lora.Adapter] = lru_cache(ADAPTERS_LOADED)(lora.read)

    def load(self, request: dict[str, Any]) -> Future[Any]:
        """What a request needs before it can be done, loaded aside. Raises EngineError."""
        if request["do"] == "embed":
            return self.embedders.ask(request["model"])
        name, form = request["prompt"]["base_model"], request["prompt"]["form"]
        if request["do"] == "count":
            self._offers(name, "countTokens")
            return (self.chats if self._writes(name) else self.embedders).ask(name)
        return (self.vocabularies if form else self.writers).ask(name)

    def question(
        self, number: int, prompt: Prompt, send: Callable[[Piece], None]
    ) -> GenerationRequest:
        """Make a prompt tokens. Raises EngineError if they are more than the model takes."""
        name = prompt.base_model
        writer = self.writers.get(name)
        tokens = writer.chat.prompt(prompt.turns, prompt.system_instruction)
        limit = min(writer.model.context, self.models[name].input_token_limit or 1 << 62)
        if len(tokens) >= limit:
            raise EngineError(
                f"the prompt has {len(tokens)} tokens, and {name} takes at most"
                f" {limit} with the answer; shorten the prompt",
                is_request=True,
            )
        guide = Constraint(self.vocabularies.get(name), prompt.form) if prompt.form else None
        return GenerationRequest(number, tuple(tokens), prompt, send, guide)

    def count(self, prompt: Prompt) -> int:
        """How many tokens a prompt has; an embedding model knows no turns."""
        name = prompt.base_model
        if self._writes(name):
            return len(self.chats.get(name).prompt(prompt.turns, prompt.system_instruction))
        return sum(self.embedders.get(name).count(turn.text) for turn in prompt.turns)

    def batch(self, questions: Sequence[GenerationRequest]) -> Batch:
        """Start to answer questions to one model and one adapter."""
        prompt = questions[0].prompt
        writer = self.writers.get(prompt.base_model)
        prepared = writer.model.prepare(self.adapter(prompt.adapter)) if prompt.adapter else None
        return Batch(questions, writer.model, writer.chat, prepared)

    def _writes(self, name: str) -> bool:
        return "generateContent" in self.models[name].methods

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

    def _chat(self, name: str) -> Chat:
        return open_chat(self._folder(name, "generateContent"))

    def _writer(self, name: str) -> ChatModel:
        chat = self.chats.get(name)
        return ChatModel(models.load(self._folder(name, "generateContent")), chat)

    def _vocabulary(self, name: str) -> LLTokenizer:
        return constraint_vocabulary(self.writers.get(name).chat)

    def _embedder(self, name: str) -> Embedder:
        return Embedder(self._folder(name, "embedContent"))


Item = TypeVar("Item")


class LruLoader(Generic[Item]):
    """Any thread may ask; each thing is made in a thread of its own, so that nobody waits for another's."""

    def __init__(self, make: Callable[[str], Item], most: int) -> None:
        """Keep at most so many things, by name."""
        self.make = make
        self.most = most
        self.turn = threading.Lock()
        self.things: OrderedDict[str, Future[Item]] = OrderedDict()

    def ask(self, name: str) -> Future[Item]:
        """The thing, or why it could not be made; the next to ask for that one tries again."""
        with self.turn:
            thing = self.things.get(name)
            if thing is None:
                thing = self.things[name] = Future()
                threading.Thread(target=self._fill, args=(thing, name), daemon=True).start()
            self.things.move_to_end(name)
            while len(self.things) > self.most:
                self.things.popitem(last=False)
            return thing

    def get(self, name: str) -> Item:
        """The thing, waited for."""
        return self.ask(name).result()

    def _fill(self, thing: Future[Item], name: str) -> None:
        try:
            thing.set_result(self.make(name))
        except Exception as error:  # noqa: BLE001  whoever asked is told
            with self.turn:
                if self.things.get(name) is thing:
                    del self.things[name]
            thing.set_exception(error)
