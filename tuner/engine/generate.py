"""Generate answers for a batch of prompts, one token per row and round. V is the vocabulary size."""

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

TOP_P_CANDIDATES = 1024
REPLACEMENT = "\ufffd"  # how a decoder shows a character whose bytes are incomplete


@dataclass(frozen=True, slots=True, eq=False)
class GenerationRequest:
    """A tokenized prompt; ``send`` is called with every piece of the answer, in order."""

    number: int
    tokens: tuple[int, ...]
    prompt: Prompt
    send: Callable[[Piece], None]
    constraint: Constraint | None = None


class Batch:
    """Requests to one model with one adapter, answered together; finished rows leave the batch."""

    def __init__(
        self, requests: Sequence[GenerationRequest], model: CausalModel, chat: Chat, prepared: Any
    ) -> None:
        """Read the prompts and generate each row's first token."""
        self.model = model
        self.prepared = prepared
        self.rows = [Row(request, chat, model.context) for request in requests]
        logits, self.cache = model.prefill([request.tokens for request in requests], prepared)
        self._choose(logits)

    @property
    def done(self) -> bool:
        """Whether every row is finished."""
        return not self.rows

    def advance(self, cancelled: Collection[GenerationRequest] = ()) -> None:
        """Drop cancelled rows, then generate one token for every row left."""
        if cancelled:
            self._keep([row.request not in cancelled for row in self.rows])
        if not self.done:
            logits = self.model.decode(torch.tensor(self.next), self.cache, self.prepared)
            self._choose(logits)

    def _choose(self, logits: Tensor) -> None:
        pairs = zip(self.rows, logits, strict=True)
        self.next = [row.next_token(row_logits) for row, row_logits in pairs]
        self._keep([not row.done for row in self.rows])

    def _keep(self, wanted: Sequence[bool]) -> None:
        if all(wanted):
            return
        kept = [number for number, keep in enumerate(wanted) if keep]
        self.rows = [self.rows[number] for number in kept]
        self.next = [self.next[number] for number in kept]
        self.cache.keep(torch.tensor(kept, dtype=torch.long))


class Row:
    """The state of one answer while it is generated."""

    def __init__(self, request: GenerationRequest, chat: Chat, context: int) -> None:
        """``context`` limits prompt and answer together, in tokens."""
        prompt = request.prompt
        self.request = request
        self.chat = chat
        self.sampler = new_sampler(prompt.temperature, prompt.top_p, prompt.top_k, prompt.seed)
        self.penalties = Penalties(prompt.presence_penalty, prompt.frequency_penalty)
        self.stream = TextStream(chat.text, prompt.stop_sequences)
        self.max_tokens = min(prompt.max_output_tokens, context - len(request.tokens))
        self.token_counts: Counter[int] = Counter()
        self.scores: list[Score] = []
        self.output_tokens = 0
        self.done = False

    def next_token(self, logits: Tensor) -> int:
        """Choose the next token from (V,) logits, which are changed, and send the text it completes."""
        constraint, logprobs = self.request.constraint, self.request.prompt.logprobs
        log_probabilities = logits.log_softmax(-1) if logprobs is not None else None
        if constraint and not constraint.mask(logits):
            self._send("", "OTHER")
            return self.chat.ends[0]
        self.penalties.apply(logits, self.token_counts)
        token = choose_token(logits, self.sampler)
        if log_probabilities is not None:
            score = score_token(log_probabilities, token, logprobs or 0, self.chat.name)
            self.scores.append(score)
        self._accept(token, constraint)
        return token

    def _accept(self, token: int, constraint: Constraint | None) -> None:
        self.output_tokens += 1
        self.token_counts[token] += 1
        if constraint:
            constraint.accept(token)
        is_end = token in self.chat.ends
        text = "" if is_end else self.stream.push(token)
        if is_end or self.stream.stopped or (constraint and constraint.is_complete):
            self._send(text, "STOP")
        elif self.output_tokens >= self.max_tokens:
            self._send(text, "MAX_TOKENS")
        elif text:
            self._send(text)

    def _send(self, text: str, reason: FinishReason = "") -> None:
        if reason:
            self.done = True
            text += self.stream.finish()
        scores, self.scores = tuple(self.scores), []
        prompt_tokens = len(self.request.tokens)
        self.request.send(Piece(text, reason, prompt_tokens, self.output_tokens, scores))


@dataclass(frozen=True, slots=True)
class Penalties:
    """Subtracted from the logits of tokens already generated; negative values favour repetition."""

    presence: float
    frequency: float

    def apply(self, logits: Tensor, counts: Mapping[int, int]) -> None:
        """Change (V,) logits in place; ``counts`` maps each generated token to its occurrences."""
        if counts and (self.presence or self.frequency):
            times = torch.tensor(list(counts.values()), dtype=logits.dtype)
            logits[list(counts)] -= self.presence + self.frequency * times


@dataclass(frozen=True, slots=True)
class Sampler:
    """Sampling parameters and the random generator of one answer, independent of other rows."""

    temperature: float
    top_p: float
    top_k: int
    generator: torch.Generator


def new_sampler(temperature: float, top_p: float, top_k: int, seed: int | None) -> Sampler:
    """Make a sampler; with ``seed`` None the seed is random."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return Sampler(temperature, top_p, top_k, generator)


def choose_token(logits: Tensor, sampler: Sampler) -> int:
    """Sample the next token.

    Args:
        logits: (V,), float32.
        sampler: Temperature 0 is greedy. top_k (0: no limit) is applied first, then top_p (1.0: no limit):
            the smallest set of most likely tokens whose probabilities add up to it.
    """
    if sampler.temperature == 0:
        return int(logits.argmax())
    # Subtract the maximum first, so that a tiny temperature cannot overflow to infinity.
    scaled = (logits - logits.max()) / sampler.temperature
    probabilities, tokens = _candidates(scaled, sampler)
    sums = probabilities.cumsum(-1)
    if sampler.top_p < 1:
        allowed = int((sums - probabilities < sampler.top_p).sum().clamp(min=1))
        sums = sums[:allowed]
    # Draw from (0, sum], since 0 would select a first token of probability 0.
    drawn = (1 - torch.rand(1, generator=sampler.generator)) * sums[-1]
    index = min(int(torch.searchsorted(sums, drawn)), len(sums) - 1)
    return index if tokens is None else int(tokens[index])


def _candidates(scaled: Tensor, sampler: Sampler) -> tuple[Tensor, Tensor | None]:
    """Probabilities and token IDs that may be drawn, sorted if top_k or top_p apply."""
    if 0 < sampler.top_k < len(scaled):
        values, tokens = scaled.topk(sampler.top_k)
        return values.softmax(-1), tokens
    probabilities = scaled.softmax(-1)
    if sampler.top_p >= 1:
        return probabilities, None
    # A few tokens nearly always reach top_p, and topk is ten times as fast as a full sort.
    values, tokens = probabilities.topk(min(TOP_P_CANDIDATES, len(scaled)))
    if values.sum() < sampler.top_p:
        values, tokens = probabilities.sort(descending=True)
    return values, tokens


def score_token(
    log_probabilities: Tensor, token: int, count: int, name: Callable[[int], str]
) -> Score:
    """Return a token's log probability from (V,), with those of the ``count`` most likely tokens."""
    top = log_probabilities.topk(min(count, len(log_probabilities)))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    likeliest = tuple(Score(name(other), other, value) for other, value in pairs)
    return Score(name(token), token, float(log_probabilities[token]), likeliest)


class TextStream:
    """Decodes tokens into text that is never retracted.

    Holds back incomplete characters and possible beginnings of a stop sequence, and ends before a stop
    sequence.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        self.decode = decode
        self.stops = tuple(stop for stop in stops if stop)
        self.tokens: list[int] = []
        self.sent = 0
        self.stopped = False

    def push(self, token: int) -> str:
        """Add a token; return the text that is now final, which may be empty."""
        self.tokens.append(token)
        text = self.decode(self.tokens)
        found = [index for stop in self.stops if (index := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._send(text[: min(found)])
        return self._send(text[: len(text) - self._uncertain_chars(text)])

    def finish(self) -> str:
        """Return the rest of the text; no token follows."""
        return "" if self.stopped else self._send(self.decode(self.tokens))

    def _send(self, text: str) -> str:
        piece, self.sent = text[self.sent :], max(self.sent, len(text))
        return piece

    def _uncertain_chars(self, text: str) -> int:
        """Count characters at the end that may still change or become part of a stop sequence."""
        whole = text.removesuffix(REPLACEMENT)
        counts = [len(text) - len(whole) + _overlap(whole, stop) for stop in ("", *self.stops)]
        return max([*counts, *(_overlap(text, stop) for stop in self.stops)])


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that is a beginning of ``stop``."""
    lengths = range(min(len(text), len(stop) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)
