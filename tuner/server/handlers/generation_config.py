"""generation_config as the engine's settings: every field is honoured, or refused by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tuner.server.api_errors import Violation
from tuner.server.handlers import response_schema
from tuner.server.handlers.contents import unread
from tuner.server.handlers.model_fields import shortest
from tuner.server.handlers.shapes import MAX_TEMPERATURE

if TYPE_CHECKING:
    from tuner.engine import BaseModel
    from tuner.server.messages import Message

MAX_CANDIDATES = 8
MAX_STOP_SEQUENCES = 5
MAX_PENALTY = 2
MAX_LOGPROBS = 20
DEFAULT_OUTPUT_TOKENS = 256
TEXT_MODALITY = 1
READ = {
    *("candidate_count", "stop_sequences", "max_output_tokens", "temperature", "top_p", "top_k"),
    *("seed", "presence_penalty", "frequency_penalty", "response_logprobs", "logprobs"),
    *("response_mime_type", "response_modalities", *response_schema.SCHEMAS),
}
_FRACTIONS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_NUMBERS = ("top_k", "seed")


def settings(
    config: Message, base: BaseModel, prefix: str, wrong: list[Violation]
) -> dict[str, Any]:
    """Those fields of a Prompt that a request decides; what cannot be honoured is added to ``wrong``.

    Args:
        config: A GenerationConfig, perhaps empty.
        base: Bounds the answer's length, and decides it where the request does not.
        prefix: Stands before the names of fields in what is added, as in ``generation_config.``.
        wrong: One violation a wrong field.
    """
    wrong += unread(config, READ, prefix)
    wrong += [Violation(f"{prefix}{name}", what) for name, what in _problems(config, base)]
    given = {name for name in (*_FRACTIONS, *_NUMBERS) if config.HasField(name)}
    return {
        **{name: float(shortest(getattr(config, name))) for name in _FRACTIONS if name in given},
        **{name: getattr(config, name) for name in _NUMBERS if name in given},
        "max_output_tokens": config.max_output_tokens or default_length(base),
        "stop_sequences": tuple(config.stop_sequences),
        "logprobs": config.logprobs if config.response_logprobs else None,
        "form": response_schema.read(config, prefix, wrong),
    }


def default_length(base: BaseModel) -> int:
    """Output tokens when nobody says how many."""
    return min(DEFAULT_OUTPUT_TOKENS, base.output_token_limit or DEFAULT_OUTPUT_TOKENS)


def _problems(config: Message, base: BaseModel) -> list[tuple[str, str]]:
    longest = base.output_token_limit or base.input_token_limit or math.inf
    ranges: dict[str, tuple[float, float]] = {
        "temperature": (0, MAX_TEMPERATURE),
        "presence_penalty": (-MAX_PENALTY, MAX_PENALTY),
        "frequency_penalty": (-MAX_PENALTY, MAX_PENALTY),
        "top_k": (1, math.inf),
        "max_output_tokens": (1, longest),
        "candidate_count": (1, MAX_CANDIDATES),
        "logprobs": (0, MAX_LOGPROBS),
    }
    found = [
        (
            name,
            f"must be from {low:g} to {high:g}" if high < math.inf else f"must be {low:g} or more",
        )
        for name, (low, high) in ranges.items()
        if config.HasField(name) and not low <= getattr(config, name) <= high
    ]
    stops = config.stop_sequences
    rules = {
        "top_p": (
            not config.HasField("top_p") or 0 < config.top_p <= 1,
            "must be above 0 and at most 1",
        ),
        "stop_sequences": (
            len(stops) <= MAX_STOP_SEQUENCES and all(stops),
            f"at most {MAX_STOP_SEQUENCES}, none empty",
        ),
        "response_modalities": (
            set(config.response_modalities) <= {TEXT_MODALITY},
            "only text comes out of these models",
        ),
        "logprobs": (config.response_logprobs or not config.logprobs, "needs response_logprobs"),
    }
    return found + [(name, what) for name, (is_right, what) in rules.items() if not is_right]
