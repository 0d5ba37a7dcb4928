"""GenerateContentRequest as the engine's Prompt; what cannot be honoured is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.engine import Prompt
from tuner.server.api_errors import ApiError, Code, Violation, hidden, invalid, invalid_field
from tuner.server.handlers import contents, generation_config
from tuner.server.handlers import models as base_models
from tuner.server.store import models
from tuner.types import State

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.engine import BaseModel
    from tuner.server.messages import Message
    from tuner.server.service import Service

_READ = {
    *("model", "system_instruction", "contents", "safety_settings", "generation_config"),
}


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
    """The model of a request; that the caller may use it was checked before. Raises ApiError."""
    if name.startswith("tunedModels/"):
        return await _tuned(service, name)
    base = base_models.find(service, name, "model")
    if method not in base.methods:
        able = ", ".join(base.methods) or "nothing"
        raise invalid_field("model", f"{name} does not offer {method}; it offers {able}")
    return Runner(name, base, base.temperature, base.top_p, base.top_k)


async def _tuned(service: Service, name: str) -> Runner:
    row = await service.store.read_cached(models.find, name)
    if row is None:
        raise hidden(name)
    if row.state != State.ACTIVE:
        text = f"{name} is {row.state}; only an ACTIVE model answers."
        raise ApiError(Code.FAILED_PRECONDITION, text, "NOT_ACTIVE")
    base = base_models.find(service, row.base_model, "model")
    weights = service.adapter(row.uid)
    return Runner(name, base, row.temperature, row.top_p, row.top_k, weights)


def from_request(request: Message, runner: Runner, prefix: str = "") -> Prompt:
    """What to ask the engine.

    Args:
        request: A GenerateContentRequest.
        runner: The model it names.
        prefix: Where the request stands inside another, as in ``generate_content_request.``.

    Raises:
        ApiError: With every problem at once.
    """
    wrong = [
        *contents.unread(request, _READ, prefix),
        *safety_problems(request, prefix),
        *contents.problems(request.contents, f"{prefix}contents"),
        # Its role does not matter, and an empty one says nothing.
        *contents.part_problems(
            request.system_instruction, f"{prefix}system_instruction", may_be_empty=True
        ),
    ]
    chosen = generation_config.settings(
        request.generation_config, runner.base, f"{prefix}generation_config.", wrong
    )
    if wrong:
        raise invalid(wrong)
    own = {"temperature": runner.temperature, "top_p": runner.top_p, "top_k": runner.top_k}
    return Prompt(
        runner.base.name,
        contents.turns(request.contents),
        system_instruction=contents.text_of(request.system_instruction),
        adapter=runner.adapter,
        **{**own, **chosen},
    )


def safety_problems(request: Message, prefix: str = "") -> list[Violation]:
    """What is wrong with the safety settings: nothing is filtered here."""
    harmless = {"HARM_BLOCK_THRESHOLD_UNSPECIFIED", "BLOCK_NONE", "OFF"}
    what = "this service has no safety filter: give BLOCK_NONE or OFF, or leave it out"
    return [
        Violation(f"{prefix}safety_settings[{at}].threshold", what)
        for at, setting in enumerate(request.safety_settings)
        if _threshold(setting) not in harmless
    ]


def _threshold(setting: Message) -> str:
    values = setting.DESCRIPTOR.fields_by_name["threshold"].enum_type.values_by_number
    return values[setting.threshold].name if setting.threshold in values else ""
