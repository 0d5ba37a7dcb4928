"""GenerateContentRequest to the engine's Prompt: every field is supported, or refused by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tuner.engine import Prompt, Turn
from tuner.server.api_errors import Violation, invalid
from tuner.server.handlers import response_schema
from tuner.server.handlers.converters import (
    MAX_TEMPERATURE,
    enum_name,
    shortest,
    unsupported_fields,
)

if TYPE_CHECKING:
    from typing import Literal

    from tuner.engine import BaseModel
    from tuner.server.handlers.models import ServedModel
    from tuner.server.messages import Message

MAX_CANDIDATES = 8
MAX_STOP_SEQUENCES = 5
MAX_PENALTY = 2
MAX_LOGPROBS = 20
DEFAULT_OUTPUT_TOKENS = 256
TEXT_MODALITY = 1
_SUPPORTED = {"model", "system_instruction", "contents", "safety_settings", "generation_config"}
_FRACTIONS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_NUMBERS = ("top_k", "seed")
_CONFIG_SUPPORTED = {
    *(*_FRACTIONS, *_NUMBERS, "candidate_count", "stop_sequences", "max_output_tokens"),
    *("response_logprobs", "logprobs", "response_mime_type", "response_modalities"),
    *response_schema.SCHEMAS,
}


def parse_prompt(request: Message, model: ServedModel, prefix: str = "") -> Prompt:
    """Return the prompt of a GenerateContentRequest.

    Args:
        request: The request.
        model: The model it names.
        prefix: Path of the request inside another, as in ``generate_content_request.``.

    Raises:
        ApiError: With all problems at once.
    """
    wrong = [
        *unsupported_fields(request, _SUPPORTED, prefix),
        *safety_problems(request, prefix),
        *content_problems(request.contents, f"{prefix}contents"),
        # Its role does not matter, and it may be empty.
        *part_problems(
            request.system_instruction, f"{prefix}system_instruction", may_be_empty=True
        ),
    ]
    config, config_prefix = request.generation_config, f"{prefix}generation_config."
    wrong += unsupported_fields(config, _CONFIG_SUPPORTED, config_prefix)
    wrong += _config_problems(config, model.base, config_prefix)
    form = response_schema.parse_form(config, config_prefix, wrong)
    if wrong:
        raise invalid(wrong)
    sampling: dict[str, Any] = {
        "temperature": model.temperature,
        "top_p": model.top_p,
        "top_k": model.top_k,
    }
    for name in _FRACTIONS:
        if config.HasField(name):
            sampling[name] = float(shortest(getattr(config, name)))
    for name in _NUMBERS:
        if config.HasField(name):
            sampling[name] = getattr(config, name)
    return Prompt(
        model.base.name,
        parse_turns(request.contents),
        system_instruction=text_of(request.system_instruction),
        adapter=model.adapter,
        max_output_tokens=config.max_output_tokens or default_output_tokens(model.base),
        stop_sequences=tuple(config.stop_sequences),
        logprobs=config.logprobs if config.response_logprobs else None,
        form=form,
        **sampling,
    )


def default_output_tokens(base: BaseModel) -> int:
    """Return the limit of an answer's length if the request has none."""
    return min(DEFAULT_OUTPUT_TOKENS, base.output_token_limit or DEFAULT_OUTPUT_TOKENS)


def parse_turns(contents: Message) -> tuple[Turn, ...]:
    """Return a conversation without problems as turns."""
    return tuple(Turn(_role(each), text_of(each)) for each in contents)


def text_of(content: Message) -> str:
    """Return the concatenated text of a content without problems."""
    return "".join(part.text for part in content.parts)


def content_problems(contents: Message, field: str) -> list[Violation]:
    """Check that a conversation is text only, by user and model, with the user last."""
    if not contents:
        return [Violation(field, "is empty: give at least one content with text")]
    found = []
    for at, content in enumerate(contents):
        if content.role not in {"", "user", "model"}:
            found.append(Violation(f"{field}[{at}].role", "must be user or model"))
        found += part_problems(content, f"{field}[{at}]")
    if not found and _role(contents[-1]) != "user":
        last = f"{field}[{len(contents) - 1}].role"
        found.append(Violation(last, "the last turn must be the user's"))
    return found


def part_problems(content: Message, field: str, *, may_be_empty: bool = False) -> list[Violation]:
    """Check that every part of a content is text."""
    if not content.parts:
        return [] if may_be_empty else [Violation(f"{field}.parts", "is empty")]
    found = []
    for at, part in enumerate(content.parts):
        wrong = unsupported_fields(part, {"text"}, f"{field}.parts[{at}].")
        if not wrong and not part.HasField("text"):
            wrong = [Violation(f"{field}.parts[{at}].text", "is missing")]
        found += wrong
    return found


def safety_problems(request: Message, prefix: str = "") -> list[Violation]:
    """Check that the safety settings ask for no filter."""
    without_filter = {"HARM_BLOCK_THRESHOLD_UNSPECIFIED", "BLOCK_NONE", "OFF"}
    what = "this service has no safety filter: give BLOCK_NONE or OFF, or leave it out"
    return [
        Violation(f"{prefix}safety_settings[{at}].threshold", what)
        for at, setting in enumerate(request.safety_settings)
        if enum_name(setting, "threshold") not in without_filter
    ]


def _role(content: Message) -> Literal["user", "model"]:
    return "model" if content.role == "model" else "user"


def _config_problems(config: Message, base: BaseModel, prefix: str) -> list[Violation]:
    max_output = base.output_token_limit or base.input_token_limit or math.inf
    ranges: dict[str, tuple[float, float]] = {
        "temperature": (0, MAX_TEMPERATURE),
        "presence_penalty": (-MAX_PENALTY, MAX_PENALTY),
        "frequency_penalty": (-MAX_PENALTY, MAX_PENALTY),
        "top_k": (1, math.inf),
        "max_output_tokens": (1, max_output),
        "candidate_count": (1, MAX_CANDIDATES),
        "logprobs": (0, MAX_LOGPROBS),
    }
    found = [
        (name, f"from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more")
        for name, (low, high) in ranges.items()
        if config.HasField(name) and not low <= getattr(config, name) <= high
    ]
    found = [(name, f"must be {what}") for name, what in found]
    if config.HasField("top_p") and not 0 < config.top_p <= 1:
        found.append(("top_p", "must be above 0 and at most 1"))
    if len(config.stop_sequences) > MAX_STOP_SEQUENCES or not all(config.stop_sequences):
        found.append(("stop_sequences", f"at most {MAX_STOP_SEQUENCES}, none empty"))
    if not set(config.response_modalities) <= {TEXT_MODALITY}:
        found.append(("response_modalities", "these models return text only"))
    if config.logprobs and not config.response_logprobs:
        found.append(("logprobs", "needs response_logprobs"))
    return [Violation(f"{prefix}{name}", what) for name, what in found]
