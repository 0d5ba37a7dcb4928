"""Answer many prompts at a time, a token each in every round."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tuner.engine import Piece
from tuner.engine.sampling import Penalties, choose, sampler, score
from tuner.engine.text_stream import TextStream

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tuner.engine import FinishReason, Prompt, Score
    from tuner.engine.causal import CausalModel
    from tuner.engine.chat import Chat
    from tuner.engine.guide import Guide


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A prompt as tokens; ``send`` is called with every piece of its answer, in order."""

    number: int
    tokens: tuple[int, ...]
    prompt: Prompt
    send: Callable[[Piece], None]
    guide: Guide | None = None


class Answering:
    """One answer in the making."""

    def __init__(self, question: Question, chat: Chat, context: int) -> None:
        """``context`` bounds prompt and answer together, in tokens."""
        prompt = question.prompt
        self.question = question
        self.chat = chat
        self.sampler = sampler(prompt.temperature, prompt.top_p, prompt.top_k, prompt.seed)
        self.penalties = Penalties(prompt.presence_penalty, prompt.frequency_penalty)
        self.stream = TextStream(chat.text, prompt.stop_sequences)
        self.most = min(prompt.max_output_tokens, context - len(question.tokens))
        self.said: Counter[int] = Counter()
        self.scores: list[Score] = []
        self.count = 0
        self.done = False

    def read(self, logits: torch.Tensor) -> int:
        """Choose the next token, (V,) logits, and send what it makes certain."""
        guide, logprobs = self.question.guide, self.question.prompt.logprobs
        likely = logits.log_softmax(-1) if logprobs is not None else None
        if guide and not guide.forbid(logits):
            self._send("", "OTHER")
            return self.chat.ends[0]
        self.penalties.apply(logits, self.said)
        token = choose(logits, self.sampler)
        if likely is not None:
            self.scores.append(score(likely, token, logprobs or 0, self.chat.name))
        self._take(token, guide)
        return token

    def _take(self, token: int, guide: Guide | None) -> None:
        self.count += 1
        self.said[token] += 1
        if guide:
            guide.take(token)
        is_end = token in self.chat.ends
        text = "" if is_end else self.stream.push(token)
        if is_end or self.stream.stopped or (guide and guide.ended):
            self._send(text, "STOP")
        elif self.count >= self.most:
            self._send(text, "MAX_TOKENS")
        elif text:
            self._send(text)

    def _send(self, text: str, reason: FinishReason = "") -> None:
        if reason:
            self.done = True
            text += self.stream.finish()
        scores, self.scores = tuple(self.scores), []
        counts = len(self.question.tokens), self.count
        self.question.send(Piece(text, reason, *counts, scores))


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
