"""Answer many prompts at a time, a token each in every round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from tuner.engine import Piece
from tuner.engine.sampling import choose, sampler
from tuner.engine.text_stream import TextStream

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tuner.engine import Prompt
    from tuner.engine.causal import CausalModel
    from tuner.engine.chat import Chat


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt as tokens; ``send`` is called with every piece of its answer, in order."""

    number: int
    tokens: tuple[int, ...]
    prompt: Prompt
    send: Callable[[Piece], None]


class Answering:
    """One answer in the making."""

    def __init__(self, question: Question, chat: Chat, context: int) -> None:
        """``context`` bounds prompt and answer together, in tokens."""
        prompt = question.prompt
        self.question = question
        self.ends = chat.ends
        self.sampler = sampler(prompt.temperature, prompt.top_p, prompt.top_k, prompt.seed)
        self.stream = TextStream(chat.text, prompt.stop_sequences)
        self.most = min(prompt.max_output_tokens, context - len(question.tokens))
        self.count = 0
        self.done = False

    def read(self, logits: torch.Tensor) -> int:
        """Choose the next token, (V,) logits, and send what it makes certain."""
        token = choose(logits, self.sampler)
        self.count += 1
        text = "" if token in self.ends else self.stream.push(token)
        if token in self.ends or self.stream.stopped:
            self._end(text, "STOP")
        elif self.count >= self.most:
            self._end(text, "MAX_TOKENS")
        elif text:
            self.question.send(Piece(text))
        return token

    def _end(self, text: str, reason: Literal["STOP", "MAX_TOKENS"]) -> None:
        self.done = True
        text += self.stream.finish()
        counts = len(self.question.tokens), self.count
        self.question.send(Piece(text, reason, *counts))


class Batch:
    """Questions to one model with one adapter, answered together; rows leave when they are done."""

    def __init__(
        self, questions: Sequence[Question], model: CausalModel, chat: Chat, prepared: Any
    ) -> None:
        """Read the prompts, and send what the first token gives."""
        self.model = model
        self.prepared = prepared
        self.answering = [Answering(question, chat, model.context) for question in questions]
        rows = [question.tokens for question in questions]
        logits, self.memory = model.prefill(rows, prepared)
        self._read(logits)

    @property
    def done(self) -> bool:
        """Whether nothing is left to answer."""
        return not self.answering

    def advance(self, dropped: Collection[Question] = ()) -> None:
        """One more token for every row, but first let go of the rows nobody waits for."""
        if dropped:
            self._keep([row.question not in dropped for row in self.answering])
        if not self.done:
            logits = self.model.decode(torch.tensor(self.next), self.memory, self.prepared)
            self._read(logits)

    def _read(self, logits: torch.Tensor) -> None:
        rows = zip(self.answering, logits, strict=True)
        self.next = [row.read(row_logits) for row, row_logits in rows]
        self._keep([not row.done for row in self.answering])

    def _keep(self, wanted: Sequence[bool]) -> None:
        if all(wanted):
            return
        rows = [number for number, keep in enumerate(wanted) if keep]
        self.answering = [self.answering[row] for row in rows]
        self.next = [self.next[row] for row in rows]
        self.memory.keep(torch.tensor(rows, dtype=torch.long))
