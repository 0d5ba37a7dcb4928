"""GenerateContentRequest as the engine's Prompt; what cannot be honoured is refused by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.engine import Prompt, Turn
from tuner.server import models as base_models
from tuner.server.model_fields import shortest
from tuner.server.refusals import Code, Refused, Violation, hidden, invalid, invalid_field
from tuner.server.shapes import MAX_TEMPERATURE
from tuner.server.store import models
from tuner.types import State

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from tuner.engine import BaseModel
    from tuner.server.messages import Message
    from tuner.server.service import Service

MAX_CANDIDATES = 8
MAX_STOP_SEQUENCES = 5
DEFAULT_OUTPUT_TOKENS = 256
TEXT_MODALITY = 1
_REFUSED_IN_REQUEST = ("tools", "tool_config", "cached_content")
_REFUSED_IN_CONFIG = (
    "response_schema",
    "response_json_schema",
    "response_json_schema_ordered",
    "presence_penalty",
    "frequency_penalty",
    "response_logprobs",
    "logprobs",
    "enable_enhanced_civic_answers",
    "speech_config",
    "thinking_config",
    "image_config",
    "media_resolution",
)


@dataclass(frozen=True, slots=True)
class Runner:
    """A model that can answer: a base model, with the weights and defaults of a tuned one."""

    name: str
    base: BaseModel
    temperature: float
    top_p: float
    top_k: int
    adapter: Path | None = None

    @property
    def version(self) -> str:
        """What answers name as ``model_version``."""
        return self.name if self.adapter else f"{self.name}-{self.base.version}"


async def find_runner(service: Service, name: str, method: str = "generateContent") -> Runner:
    """The model of a request; that the caller may use it was checked before. Raises Refused."""
    if name.startswith("tunedModels/"):
        return await _tuned(service, name)
    base = base_models.find(service, name, "model")
    if method not in base.methods:
        able = ", ".join(base.methods) or "nothing"
        raise invalid_field("model", f"{name} does not offer {method}; it offers {able}")
    return Runner(name, base, base.temperature, base.top_p, base.top_k)


async def _tuned(service: Service, name: str) -> Runner:
    row = await service.store.recall(models.find, name)
    if row is None:
        raise hidden(name)
    if row.state != State.ACTIVE:
        text = f"{name} is {row.state}; only an ACTIVE model answers."
        raise Refused(Code.FAILED_PRECONDITION, text, "NOT_ACTIVE")
    base = base_models.find(service, row.base_model, "model")
    weights = service.adapter(row.uid)
    return Runner(name, base, row.temperature, row.top_p, row.top_k, weights)


def from_request(request: Message, runner: Runner) -> Prompt:
    """What to ask the engine. Raises Refused with every problem at once."""
    config = request.generation_config
    wrong = [
        *_unsupported(request, _REFUSED_IN_REQUEST, ""),
        *_unsupported(config, _REFUSED_IN_CONFIG, "generation_config."),
        *safety_problems(request),
        *_config_problems(config, runner.base),
        *content_problems(request.contents, "contents"),
        *system_problems(request),
    ]
    if wrong:
        raise invalid(wrong)
    chosen = {
        field: shortest(getattr(config, field)) if field != "top_k" else config.top_k
        for field in ("temperature", "top_p", "top_k")
        if config.HasField(field)
    }
    return Prompt(
        runner.base.name,
        turns(request.contents),
        system_instruction=text_of(request.system_instruction),
        adapter=runner.adapter,
        max_output_tokens=config.max_output_tokens or default_length(runner.base),
        temperature=float(chosen.get("temperature", runner.temperature)),
        top_p=float(chosen.get("top_p", runner.top_p)),
        top_k=int(chosen.get("top_k", runner.top_k)),
        seed=config.seed if config.HasField("seed") else None,
        stop_sequences=tuple(config.stop_sequences),
    )


def turns(contents: Message) -> tuple[Turn, ...]:
    """A checked conversation."""
    return tuple(Turn(_role(each), text_of(each)) for each in contents)


def text_of(content: Message) -> str:
    """The text of one checked content, its parts joined as they stand."""
    return "".join(part.text for part in content.parts)


def content_problems(contents: Message, field: str) -> list[Violation]:
    """What is wrong with a conversation: only text, by user and model, the user last."""
    if not contents:
        return [Violation(field, "is empty: give at least one content with text")]
    found = [
        problem
        for at, content in enumerate(contents)
        for problem in [
            *_role_problems(content, f"{field}[{at}]"),
            *part_problems(content, f"{field}[{at}]"),
        ]
    ]
    if not found and _role(contents[-1]) != "user":
        found.append(
            Violation(f"{field}[{len(contents) - 1}].role", "the last turn must be the user's")
        )
    return found


def part_problems(content: Message, field: str) -> list[Violation]:
    """What is wrong with the parts of one content."""
    found = [] if content.parts else [Violation(f"{field}.parts", "is empty")]
    for at, part in enumerate(content.parts):
        kind = part.WhichOneof("data")
        if part.thought or kind != "text":
            named = "thought" if part.thought else kind or "text"
            what = "is empty" if kind is None else "is not supported here; text is"
            found.append(Violation(f"{field}.parts[{at}].{named}", what))
    return found


def _role(content: Message) -> Literal["user", "model"]:
    return "model" if content.role == "model" else "user"


def _role_problems(content: Message, field: str) -> list[Violation]:
    is_known = content.role in {"", "user", "model"}
    return [] if is_known else [Violation(f"{field}.role", "must be user or model")]


def system_problems(request: Message) -> list[Violation]:
    """What is wrong with the system instruction; its role does not matter."""
    if not request.HasField("system_instruction"):
        return []
    return part_problems(request.system_instruction, "system_instruction")


def _unsupported(message: Message, fields: tuple[str, ...], prefix: str) -> list[Violation]:
    # A field set to what it would be anyway asks for nothing.
    is_set = {field.name for field, value in message.ListFields() if value}
    what = "is not supported by this service; leave it out"
    return [Violation(f"{prefix}{field}", what) for field in fields if field in is_set]


def safety_problems(request: Message) -> list[Violation]:
    """What is wrong with the safety settings: nothing is filtered here."""
    harmless = {"HARM_BLOCK_THRESHOLD_UNSPECIFIED", "BLOCK_NONE", "OFF"}
    what = "this service has no safety filter: only BLOCK_NONE and OFF are true of it"
    return [
        Violation(f"safety_settings[{at}].threshold", what)
        for at, setting in enumerate(request.safety_settings)
        if _threshold(setting) not in harmless
    ]


def _threshold(setting: Message) -> str:
    values = setting.DESCRIPTOR.fields_by_name["threshold"].enum_type.values_by_number
    return values[setting.threshold].name if setting.threshold in values else ""


def _config_problems(config: Message, base: BaseModel) -> list[Violation]:
    limit = base.output_token_limit or base.input_token_limit or math.inf
    candidates = f"must be from 1 to {MAX_CANDIDATES}"
    rules = {
        "temperature": (0 <= config.temperature <= MAX_TEMPERATURE, "must be from 0 to 2"),
        "top_p": (0 < config.top_p <= 1, "must be above 0 and at most 1"),
        "top_k": (config.top_k >= 1, "must be 1 or more"),
        "max_output_tokens": (1 <= config.max_output_tokens <= limit, f"must be from 1 to {limit}"),
        "candidate_count": (1 <= config.candidate_count <= MAX_CANDIDATES, candidates),
    }
    found = [
        Violation(f"generation_config.{field}", what)
        for field, (is_right, what) in rules.items()
        if config.HasField(field) and not is_right
    ]
    return [*found, *_output_problems(config)]


def _output_problems(config: Message) -> list[Violation]:
    stops = config.stop_sequences
    only_text = "only text comes out of these models"
    rules = {
        "stop_sequences": (
            len(stops) <= MAX_STOP_SEQUENCES and all(stops),
            f"at most {MAX_STOP_SEQUENCES}, none empty",
        ),
        "response_mime_type": (config.response_mime_type in {"", "text/plain"}, only_text),
        "response_modalities": (set(config.response_modalities) <= {TEXT_MODALITY}, only_text),
    }
    return [
        Violation(f"generation_config.{field}", what)
        for field, (is_right, what) in rules.items()
        if not is_right
    ]


def default_length(base: BaseModel) -> int:
    """Output tokens when nobody says how many."""
    return min(DEFAULT_OUTPUT_TOKENS, base.output_token_limit or DEFAULT_OUTPUT_TOKENS)
