"""The base models, tokenizers and adapters that the inference process has loaded."""

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

MAX_MODELS = 2
MAX_CHATS = 64
MAX_ADAPTERS = 64

Item = TypeVar("Item")


class LruLoader(Generic[Item]):
    """A thread-safe cache that loads each item once, in its own thread, and drops the least recently used."""

    def __init__(self, load: Callable[[str], Item], max_items: int) -> None:
        self._load = load
        self._max_items = max_items
        self._lock = threading.Lock()
        self._items: OrderedDict[str, Future[Item]] = OrderedDict()

    def start(self, name: str) -> Future[Item]:
        """Return the item or its failure as a future; a failed item is loaded again next time."""
        with self._lock:
            item = self._items.get(name)
            if item is None:
                item = self._items[name] = Future()
                threading.Thread(target=self._fill, args=(item, name), daemon=True).start()
            self._items.move_to_end(name)
            while len(self._items) > self._max_items:
                self._items.popitem(last=False)
            return item

    def get(self, name: str) -> Item:
        """Wait for the item and return it."""
        return self.start(name).result()

    def _fill(self, item: Future[Item], name: str) -> None:
        try:
            item.set_result(self._load(name))
        except Exception as error:  # noqa: BLE001  raised again by Future.result
            with self._lock:
                if self._items.get(name) is item:
                    del self._items[name]
            item.set_exception(error)


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A loaded base model and its chat template."""

    model: CausalModel
    chat: Chat


class ModelCache:
    """The loaded models of the inference process; each is loaded on first use."""

    def __init__(self, offered: dict[str, BaseModel], models_folder: Path) -> None:
        self._offered = offered
        self._models_folder = models_folder
        self._chats = LruLoader(
            lambda name: open_chat(self._folder(name, "generateContent")), MAX_CHATS
        )
        self._chat_models = LruLoader(self._load_chat_model, MAX_MODELS)
        self._vocabularies: LruLoader[LLTokenizer] = LruLoader(
            lambda name: constraint_vocabulary(self._chat_models.get(name).chat), MAX_MODELS
        )
        self._embedders = LruLoader(
            lambda name: Embedder(self._folder(name, "embedContent")), MAX_MODELS
        )
        self._adapter: Callable[[Path], lora.Adapter] = lru_cache(MAX_ADAPTERS)(lora.read)

    def load(self, request: dict[str, Any]) -> Future[Any]:
        """Start to load what a request needs.

        Raises:
            EngineError: No such model, or it lacks the method.
        """
        if request["do"] == "embed":
            return self._embedders.start(request["model"])
        name, form = request["prompt"]["base_model"], request["prompt"]["form"]
        if request["do"] == "count":
            self._check_offered(name, "countTokens")
            return (self._chats if self._is_generative(name) else self._embedders).start(name)
        return (self._vocabularies if form else self._chat_models).start(name)

    def request(
        self, number: int, prompt: Prompt, send: Callable[[Piece], None]
    ) -> GenerationRequest:
        """Tokenize a prompt.

        Raises:
            EngineError: The prompt leaves no room for an answer in the model's context.
        """
        name = prompt.base_model
        loaded = self._chat_models.get(name)
        tokens = loaded.chat.prompt(prompt.turns, prompt.system_instruction)
        limit = min(loaded.model.context, self._offered[name].input_token_limit or 1 << 62)
        if len(tokens) >= limit:
            raise EngineError(
                f"the prompt has {len(tokens)} tokens, and {name} takes at most"
                f" {limit} with the answer; shorten the prompt",
                is_request=True,
            )
        constraint = None
        if prompt.form:
            constraint = Constraint(self._vocabularies.get(name), prompt.form)
        return GenerationRequest(number, tuple(tokens), prompt, send, constraint)

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of a prompt; an embedding model counts each turn by itself."""
        name = prompt.base_model
        if self._is_generative(name):
            return len(self._chats.get(name).prompt(prompt.turns, prompt.system_instruction))
        return sum(self._embedders.get(name).count(turn.text) for turn in prompt.turns)

    def batch(self, requests: Sequence[GenerationRequest]) -> Batch:
        """Prefill a batch; all requests have the same base model and adapter."""
        prompt = requests[0].prompt
        loaded = self._chat_models.get(prompt.base_model)
        adapter = self._adapter(prompt.adapter) if prompt.adapter else None
        prepared = loaded.model.prepare(adapter) if adapter else None
        return Batch(requests, loaded.model, loaded.chat, prepared)

    def _is_generative(self, name: str) -> bool:
        return "generateContent" in self._offered[name].methods

    def _folder(self, name: str, method: str) -> Path:
        return base_models.pull(self._check_offered(name, method), self._models_folder)

    def _check_offered(self, name: str, method: str) -> BaseModel:
        model = self._offered.get(name)
        if model is None or method not in model.methods:
            what = f"has no {method}" if model else "does not exist here"
            able = ", ".join(each.name for each in self._offered.values() if method in each.methods)
            raise EngineError(f"{name} {what}; use one of: {able or '(none)'}", is_request=True)
        return model

    def _load_chat_model(self, name: str) -> ChatModel:
        chat = self._chats.get(name)
        return ChatModel(models.load(self._folder(name, "generateContent")), chat)
