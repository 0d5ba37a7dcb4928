"""One question to a target, from a command's own thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from tuner.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tuner.targets import Target
    from tuner.types import Model, TargetConfig, TunedModel

    T = TypeVar("T")


def ask(config: TargetConfig, question: Callable[[Target], Awaitable[T]]) -> T:
    """Open the target, ask, close it."""
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
