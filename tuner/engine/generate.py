"""Answer many prompts at a time, a token each in every round."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tuner.engine import Piece, Score

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from torch import Tensor

    from tuner.engine import FinishReason, Prompt
    from tuner.engine.chat import Chat
    from tuner.engine.constrained import Constraint
    from tuner.engine.models import CausalModel


@dataclass(frozen=True, slots=True, eq=False)
class GenerationRequest:
    """A prompt as tokens; ``send`` is called with every piece of its answer, in order."""

    number: int
    tokens: tuple[int, ...]
    prompt: Prompt
    send: Callable[[Piece], None]
    guide: Constraint | None = None


class GenerationState:
    """One answer in the making."""

    def __init__(self, question: GenerationRequest, chat: Chat, context: int) -> None:
        """``context`` bounds prompt and answer together, in tokens."""
        prompt = question.prompt
        self.question = question
        self.chat = chat
        self.sampler = new_sampler(prompt.temperature, prompt.top_p, prompt.top_k, prompt.seed)
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
        token = choose_token(logits, self.sampler)
        if likely is not None:
            self.scores.append(score_token(likely, token, logprobs or 0, self.chat.name))
        self._take(token, guide)
        return token

    def _take(self, token: int, guide: Constraint | None) -> None:
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
        self, questions: Sequence[GenerationRequest], model: CausalModel, chat: Chat, prepared: Any
    ) -> None:
        """Read the prompts, and send what the first token gives."""
        self.model = model
        self.prepared = prepared
        self.answering = [GenerationState(question, chat, model.context) for question in questions]
        rows = [question.tokens for question in questions]
        logits, self.memory = model.prefill(rows, prepared)
        self._read(logits)

    @property
    def done(self) -> bool:
        """Whether nothing is left to answer."""
        return not self.answering

    def advance(self, dropped: Collection[GenerationRequest] = ()) -> None:
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


TOP_P_CANDIDATES = 1024


@dataclass(frozen=True, slots=True)
class Penalties:
    """What a token loses of its logit for having been said; negative ones invite repetition."""

    presence: float
    frequency: float

    def apply(self, logits: Tensor, said: Mapping[int, int]) -> None:
        """Change (V,) logits in place; ``said`` counts tokens."""
        if said and (self.presence or self.frequency):
            counts = torch.tensor(list(said.values()), dtype=logits.dtype)
            logits[list(said)] -= self.presence + self.frequency * counts


@dataclass(frozen=True, slots=True)
class Sampler:
    """How one answer is sampled; ``dice`` is its own, so its neighbours cannot change it."""

    temperature: float
    top_p: float
    top_k: int
    dice: torch.Generator


def new_sampler(temperature: float, top_p: float, top_k: int, seed: int | None) -> Sampler:
    """A new_sampler; a seed of None draws one."""
    dice = torch.Generator()
    if seed is None:
        dice.seed()
    else:
        dice.manual_seed(seed)
    return Sampler(temperature, top_p, top_k, dice)


def choose_token(logits: Tensor, new_sampler: Sampler) -> int:
    """The next token.

    Args:
        logits: (V,), float32.
        new_sampler: Temperature 0 takes the likeliest. top_k counts first, then top_p: the fewest likeliest
            tokens whose probabilities reach it. 0 and 1.0 are no limit.
    """
    if new_sampler.temperature == 0:
        return int(logits.argmax())
    # The likeliest becomes 0 first: even the smallest temperature then makes no infinity.
    scaled = (logits - logits.max()) / new_sampler.temperature
    probabilities, tokens = _likeliest(scaled, new_sampler)
    sums = probabilities.cumsum(-1)
    if new_sampler.top_p < 1:
        allowed = int((sums - probabilities < new_sampler.top_p).sum().clamp(min=1))
        sums = sums[:allowed]
    # From above 0 up to the sum: a draw of 0 would fall on a first token that is impossible.
    drawn = (1 - torch.rand(1, generator=new_sampler.dice)) * sums[-1]
    place = min(int(torch.searchsorted(sums, drawn)), len(sums) - 1)
    return place if tokens is None else int(tokens[place])


def _likeliest(scaled: Tensor, new_sampler: Sampler) -> tuple[Tensor, Tensor | None]:
    """Probabilities and tokens, as many as can be drawn, the likeliest first if that matters."""
    if 0 < new_sampler.top_k < len(scaled):
        values, tokens = scaled.topk(new_sampler.top_k)
        return values.softmax(-1), tokens
    probabilities = scaled.softmax(-1)
    if new_sampler.top_p >= 1:
        return probabilities, None
    # Nearly always a few tokens reach top_p, and to find them is ten times as fast as to sort all.
    values, tokens = probabilities.topk(min(TOP_P_CANDIDATES, len(scaled)))
    if values.sum() < new_sampler.top_p:
        values, tokens = probabilities.sort(descending=True)
    return values, tokens


def score_token(likely: Tensor, token: int, most: int, name: Callable[[int], str]) -> Score:
    """What a token was worth: (V,) log probabilities, and the ``most`` likeliest tokens beside it."""
    found = likely.topk(min(most, len(likely)))
    pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
    likeliest = tuple(Score(name(other), other, value) for other, value in pairs)
    return Score(name(token), token, float(likely[token]), likeliest)


INCOMPLETE = "\ufffd"  # what a decoder shows for a character whose bytes have not all come


class TextStream:
    """Holds back half characters, and what may become a stop sequence; ends before a stop sequence."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        """Take the tokens' decoder, and the stop sequences, of which empty ones do not count."""
        self.decode = decode
        self.stops = tuple(stop for stop in stops if stop)
        self.tokens: list[int] = []
        self.sent = 0
        self.stopped = False

    def push(self, token: int) -> str:
        """Take a token. Returns the text that is now certain, which may be empty."""
        self.tokens.append(token)
        text = self.decode(self.tokens)
        found = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._send(text[: min(found)])
        return self._send(text[: len(text) - self._unsure(text)])

    def finish(self) -> str:
        """The rest, when no token will follow."""
        return "" if self.stopped else self._send(self.decode(self.tokens))

    def _send(self, text: str) -> str:
        piece, self.sent = text[self.sent :], max(self.sent, len(text))
        return piece

    def _unsure(self, text: str) -> int:
        """How many characters at the end may still change or become part of a stop sequence."""
        whole = text.removesuffix(INCOMPLETE)
        unsure = [len(text) - len(whole) + _overlap(whole, stop) for stop in ("", *self.stops)]
        return max([*unsure, *(_overlap(text, stop) for stop in self.stops)])


def _overlap(text: str, stop: str) -> int:
    """How long the end of ``text`` is that begins ``stop``."""
    lengths = range(min(len(text), len(stop) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)
