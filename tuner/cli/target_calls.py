"""Call a target from a command, and format the results."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from tuner.errors import NotFound
from tuner.types import TunedModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tuner.targets import Target
    from tuner.types import Answer, Model, Operation, Permission, TargetConfig

    T = TypeVar("T")

Record = dict[str, object]


def call(config: TargetConfig, function: Callable[[Target], Awaitable[T]]) -> T:
    """Open the target, call ``function`` with it, and close it."""
    from tuner.targets import open_target

    async def opened() -> T:
        async with open_target(config) as target:
            return await function(target)

    return asyncio.run(opened())


async def find_tuned_model(target: Target, text: str) -> TunedModel:
    """Return the tuned model with this name or ID.

    Raises:
        NotFound: There is none; the fix names models whose IDs start with the text.
    """
    from tuner.names import tuned_model

    try:
        return await target.tuned_model(tuned_model(text))
    except NotFound as error:
        prefix = tuned_model(text)
        near = [each.name for each in await target.tuned_models() if each.name.startswith(prefix)]
        fix = f"did you mean {' or '.join(near)}?" if near else error.fix
        raise NotFound(error.what, fix) from error


async def find_model(target: Target, text: str) -> Model | TunedModel:
    """Return the model with this name; a bare ID is a tuned model's or else a base model's."""
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


def model_row(model: Model | TunedModel) -> Record:
    """Return a row of ``models list``."""
    row: Record = {"name": model.name, "state": "base", "display_name": model.display_name}
    if not isinstance(model, TunedModel):
        return {**row, "from": "", "created": ""}
    source = model.tuned_model_source or model.base_model
    return {**row, "state": model.state.value, "from": source, "created": when(model.create_time)}


def model_record(model: Model | TunedModel) -> Record:
    """Return all fields of a model but the snapshots of its tuning."""
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
    parameters = model.hyperparameters
    chosen = {name: getattr(parameters, name) for name in parameters.__slots__}
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
    """Return an operation and its progress."""
    last = operation.snapshots[-1] if operation.snapshots else None
    return {
        "name": operation.name,
        "status": operation_status(operation),
        "steps": f"{operation.completed_steps}/{operation.total_steps}",
        "mean_loss": last.mean_loss if last else None,
        "error": operation.error or None,
    }


def operation_status(operation: Operation) -> str:
    """Return running, succeeded, failed or cancelled."""
    if not operation.done:
        return "running"
    if operation.cancelled:
        return "cancelled"
    return "failed" if operation.error else "succeeded"


def permission_records(permissions: Sequence[Permission]) -> list[Record]:
    """Return permissions, the owner first."""
    order = ("OWNER", "WRITER", "READER")
    return [
        permission_record(each)
        for each in sorted(permissions, key=lambda each: order.index(each.grant.role))
    ]


def permission_record(permission: Permission) -> Record:
    """Return a permission with its name, which ``permissions revoke`` accepts."""
    grant = permission.grant
    return {
        "role": grant.role.value,
        "grantee_type": grant.grantee_type.value,
        "email_address": grant.email_address or None,
        "name": permission.name,
    }


def answer_record(answer: Answer) -> Record:
    """Return an answer and its token counts."""
    return {
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "output_tokens": answer.output_tokens,
    }


def when(seconds: float) -> str:
    """Format seconds since 1970 as ISO 8601 in UTC; empty for 0, which means unknown."""
    if not seconds:
        return ""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
