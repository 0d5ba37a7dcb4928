"""One question to a target, from a command's own thread."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from tuner.errors import NotFound
from tuner.types import TunedModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tuner.targets import Target
    from tuner.types import Model, TargetConfig

    T = TypeVar("T")
    from collections.abc import Sequence

    from tuner.types import Answer, Operation, Permission


def call(config: TargetConfig, question: Callable[[Target], Awaitable[T]]) -> T:
    """Open the target, call, close it."""
    from tuner.targets import open_target

    async def asked() -> T:
        async with open_target(config) as target:
            return await question(target)

    return asyncio.run(asked())


async def find_tuned_model(target: Target, text: str) -> TunedModel:
    """The tuned model of that name or id.

    Raises:
        NotFound: There is none; the fix names those whose ids begin alike.
    """
    from tuner.names import tuned_model

    try:
        return await target.tuned_model(tuned_model(text))
    except NotFound as error:
        begin = tuned_model(text)
        near = [each.name for each in await target.tuned_models() if each.name.startswith(begin)]
        fix = f"did you mean {' or '.join(near)}?" if near else error.fix
        raise NotFound(error.what, fix) from error


async def find_model(target: Target, text: str) -> Model | TunedModel:
    """The base or tuned model of that name; of a bare id the tuned model, else the base model."""
    if text.startswith("models/"):
        return await target.model(text)
    try:
        return await find_tuned_model(target, text)
    except NotFound:
        if "/" in text or not (found := await _base_model(target, text)):
            raise
        return found


async def _base_model(target: Target, text: str) -> Model | None:
    try:
        return await target.model(f"models/{text}")
    except NotFound:
        return None


Record = dict[str, object]


def model_row(model: Model | TunedModel) -> Record:
    """One line of ``models list``."""
    row: Record = {"name": model.name, "state": "base", "display_name": model.display_name}
    if not isinstance(model, TunedModel):
        return {**row, "from": "", "created": ""}
    source = model.tuned_model_source or model.base_model
    return {**row, "state": model.state.value, "from": source, "created": when(model.create_time)}


def model_record(model: Model | TunedModel) -> Record:
    """Everything the service says about a model, but a tuning's single steps."""
    return _tuned_record(model) if isinstance(model, TunedModel) else _base_record(model)


def _base_record(model: Model) -> Record:
    return {
        "name": model.name,
        "display_name": model.display_name,
        "description": model.description,
        "input_token_limit": model.input_token_limit,
        "output_token_limit": model.output_token_limit,
        "supported_generation_methods": list(model.supported_generation_methods),
    }


def _tuned_record(model: TunedModel) -> Record:
    asked = model.hyperparameters
    chosen = {name: getattr(asked, name) for name in asked.__slots__}
    last = model.snapshots[-1] if model.snapshots else None
    return {
        "name": model.name,
        "state": model.state.value,
        "base_model": model.base_model,
        "tuned_model_source": model.tuned_model_source or None,
        "display_name": model.display_name,
        "description": model.description,
        "temperature": model.temperature,
        "top_p": model.top_p,
        "top_k": model.top_k,
        "hyperparameters": {name: value for name, value in chosen.items() if value is not None},
        "create_time": when(model.create_time) or None,
        "update_time": when(model.update_time) or None,
        "steps": last.step if last else None,
        "mean_loss": last.mean_loss if last else None,
    }


def operation_record(operation: Operation) -> Record:
    """An operation and how far it is."""
    last = operation.snapshots[-1] if operation.snapshots else None
    return {
        "name": operation.name,
        "status": operation_status(operation),
        "steps": f"{operation.completed_steps}/{operation.total_steps}",
        "mean_loss": last.mean_loss if last else None,
        "error": operation.error or None,
    }


def operation_status(operation: Operation) -> str:
    """``running``, ``succeeded``, ``failed`` or ``cancelled``."""
    if not operation.done:
        return "running"
    if operation.cancelled:
        return "cancelled"
    return "failed" if operation.error else "succeeded"


def permission_records(permissions: Sequence[Permission]) -> list[Record]:
    """Who has access, the owner first."""
    order = ("OWNER", "WRITER", "READER")
    return [
        permission_record(each)
        for each in sorted(permissions, key=lambda each: order.index(each.grant.role))
    ]


def permission_record(permission: Permission) -> Record:
    """One permission with its name, which ``permissions revoke`` takes."""
    grant = permission.grant
    return {
        "role": grant.role.value,
        "grantee_type": grant.grantee_type.value,
        "email_address": grant.email_address or None,
        "name": permission.name,
    }


def answer_record(answer: Answer) -> Record:
    """An answer and what it took."""
    return {
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "output_tokens": answer.output_tokens,
    }


def when(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC; empty for 0, which is "not known"."""
    if not seconds:
        return ""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
