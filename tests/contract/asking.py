"""Small questions that the contract of targets asks again and again."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import TYPE_CHECKING, Any

from tuner.errors import TunerError
from tuner.types import (
    Example,
    Hyperparameters,
    NewTunedModel,
    Operation,
    Role,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tuner.targets import Target

    Ask = Callable[[Callable[[Target], Awaitable[Any]]], Any]


FEW_STEPS = Hyperparameters(epoch_count=1, batch_size=4, learning_rate=1e-3)
MANY_STEPS = Hyperparameters(epoch_count=500, batch_size=4, learning_rate=2e-4)
END_S = 120.0
_ids = count(1)


def new(**fields: Any) -> NewTunedModel:
    """A tuned model with an id that no other test has."""
    examples = tuple(Example(str(number), str(number + 1)) for number in range(8))
    chosen = {"base_model": "models/tiny", "hyperparameters": FEW_STEPS} | fields
    return NewTunedModel(f"contract-{next(_ids)}", examples, **chosen)


async def end(target: Target, operation: Operation) -> Operation:
    """Wait for an operation to end."""
    deadline = time.monotonic() + END_S
    while not operation.done and time.monotonic() < deadline:
        operation = await target.operation(operation.name)
        await asyncio.sleep(0.02)
    return operation


async def refusal(call: Awaitable[Any]) -> type[TunerError] | None:
    """The error a call ends in, None when it works."""
    try:
        await call
    except TunerError as error:
        return type(error)
    return None


async def held_by(target: Target, tuned_model: str) -> dict[str, Role]:
    """Address: role, of everybody with access."""
    permissions = await target.permissions(tuned_model)
    return {each.grant.email_address: each.grant.role for each in permissions}
