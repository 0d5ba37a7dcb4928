"""What the inference process has loaded, and what that can do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tuner.engine import EngineError, base_models, causal, lora
from tuner.engine.chat import Chat, open_chat
from tuner.engine.embed import Embedder
from tuner.engine.generate import Batch, Question
from tuner.engine.guide import Guide, vocabulary
from tuner.engine.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from llguidance import LLTokenizer

    from tuner.engine import BaseModel, Piece, Prompt
    from tuner.engine.causal import CausalModel

MODELS_LOADED = 2
CHATS_LOADED = 64
ADAPTERS_LOADED = 64


@dataclass(frozen=True, slots=True)
class Writer:
    """A base model that answers, and how it is spoken to."""

    model: CausalModel
    chat: Chat


class Room:
    """What is loaded; the longest unused goes when there is no more room."""

    def __init__(self, models: dict[str, BaseModel], models_folder: Path) -> None:
        """Nothing is loaded before it is asked for."""
        self.models = models
        self.models_folder = models_folder
        self.chats = Shelf(self._chat, CHATS_LOADED)
        self.writers = Shelf(self._writer, MODELS_LOADED)
        self.vocabularies: Shelf[LLTokenizer] = Shelf(self._vocabulary, MODELS_LOADED)
        self.embedders = Shelf(self._embedder, MODELS_LOADED)
        self.adapter: Callable[[Path], lora.Adapter] = lru_cache(ADAPTERS_LOADED)(lora.read)

    def wanted(self, request: dict[str, Any]) -> Future[Any]:
        """What a request needs before it can be done, loaded aside. Raises EngineError."""
        if request["do"] == "embed":
            return self.embedders.ask(request["model"])
        name, form = request["prompt"]["base_model"], request["prompt"]["form"]
        if request["do"] == "count":
            self._offers(name, "countTokens")
            return (self.chats if self._writes(name) else self.embedders).ask(name)
        return (self.vocabularies if form else self.writers).ask(name)

    def question(self, number: int, prompt: Prompt, send: Callable[[Piece], None]) -> Question:
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
        guide = Guide(self.vocabularies.get(name), prompt.form) if prompt.form else None
        return Question(number, tuple(tokens), prompt, send, guide)

    def count(self, prompt: Prompt) -> int:
        """How many tokens a prompt has; an embedding model knows no turns."""
        name = prompt.base_model
        if self._writes(name):
            return len(self.chats.get(name).prompt(prompt.turns, prompt.system_instruction))
        return sum(self.embedders.get(name).count(turn.text) for turn in prompt.turns)

    def batch(self, questions: Sequence[Question]) -> Batch:
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

    def _writer(self, name: str) -> Writer:
        chat = self.chats.get(name)
        return Writer(causal.load(self._folder(name, "generateContent")), chat)

    def _vocabulary(self, name: str) -> LLTokenizer:
        return vocabulary(self.writers.get(name).chat)

    def _embedder(self, name: str) -> Embedder:
        return Embedder(self._folder(name, "embedContent"))
