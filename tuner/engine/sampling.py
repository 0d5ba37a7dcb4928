"""Choose the next token from logits; V vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tuner.engine import Score

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

FEW = 1024


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


def sampler(temperature: float, top_p: float, top_k: int, seed: int | None) -> Sampler:
    """A sampler; a seed of None draws one."""
    dice = torch.Generator()
    if seed is None:
        dice.seed()
    else:
        dice.manual_seed(seed)
    return Sampler(temperature, top_p, top_k, dice)


def choose(logits: Tensor, sampler: Sampler) -> int:
    """The next token.

    Args:
        logits: (V,), float32.
        sampler: Temperature 0 takes the likeliest. top_k counts first, then top_p: the fewest likeliest
            tokens whose probabilities reach it. 0 and 1.0 are no limit.
    """
    if sampler.temperature == 0:
        return int(logits.argmax())
    # The likeliest becomes 0 first: even the smallest temperature then makes no infinity.
    scaled = (logits - logits.max()) / sampler.temperature
    probabilities, tokens = _likeliest(scaled, sampler)
    sums = probabilities.cumsum(-1)
    if sampler.top_p < 1:
        allowed = int((sums - probabilities < sampler.top_p).sum().clamp(min=1))
        sums = sums[:allowed]
    # From above 0 up to the sum: a draw of 0 would fall on a first token that is impossible.
    drawn = (1 - torch.rand(1, generator=sampler.dice)) * sums[-1]
    place = min(int(torch.searchsorted(sums, drawn)), len(sums) - 1)
    return place if tokens is None else int(tokens[place])


def _likeliest(scaled: Tensor, sampler: Sampler) -> tuple[Tensor, Tensor | None]:
    """Probabilities and tokens, as many as can be drawn, the likeliest first if that matters."""
    if 0 < sampler.top_k < len(scaled):
        values, tokens = scaled.topk(sampler.top_k)
        return values.softmax(-1), tokens
    probabilities = scaled.softmax(-1)
    if sampler.top_p >= 1:
        return probabilities, None
    # Nearly always a few tokens reach top_p, and to find them is ten times as fast as to sort all.
    values, tokens = probabilities.topk(min(FEW, len(scaled)))
    if values.sum() < sampler.top_p:
        values, tokens = probabilities.sort(descending=True)
    return values, tokens


def score(likely: Tensor, token: int, most: int, name: Callable[[int], str]) -> Score:
    """What a token was worth: (V,) log probabilities, and the ``most`` likeliest tokens beside it."""
    found = likely.topk(min(most, len(likely)))
    pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
    likeliest = tuple(Score(name(other), other, value) for other, value in pairs)
    return Score(name(token), token, float(likely[token]), likeliest)
