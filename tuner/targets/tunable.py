"""Whether a target can tune a base model, asked before anything is sent to be tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import NotFound, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.targets import Target
    from tuner.types import Model

METHOD = "createTunedModel"
SHOWN = 5


async def check_tunable(target: Target, base_model: str) -> None:
    """Read the base model and look for ``createTunedModel`` among its methods.

    Raises:
        NotFound: The target has no such model; the fix names those it can tune.
        RequestRefused: It has, and cannot tune it; the fix says what can be done instead.
    """
    try:
        found = await target.model(base_model)
    except NotFound as error:
        what = f"{target.address} has no base model {base_model}"
        raise NotFound(what, way_out(await target.models(), target.address)) from error
    if METHOD not in found.supported_generation_methods:
        what = f"{target.address} cannot tune {base_model}: {METHOD} is not among its methods"
        raise RequestRefused(what, way_out(await target.models(), target.address))


def way_out(models: Sequence[Model], address: str) -> str:
    """What to do where a base model cannot be tuned at a service with these models."""
    tunable = [each.name for each in models if METHOD in each.supported_generation_methods]
    if tunable:
        more = ", ..." if len(tunable) > SHOWN else ""
        return f"set base_model to one it can tune: {', '.join(tunable[:SHOWN])}{more}"
    if "googleapis.com" in address:
        return (
            "since May 2025 Google tunes no model at this endpoint: use `target: local` to tune an "
            "open model on this machine; Gemini models are tuned on Vertex AI"
        )
    return "this service tunes nothing: start it with a base model, `tuner serve --base-model ...`"
