"""Whose tokens the data commands count: those of the model that is named, of the spec's, or of a usual one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.cli.data.given import Given
    from tuner.tokens.counting import Counter


def find_counter(given: Given, model: str = "") -> Counter | None:
    """A counter for a model of the local target, if its files are here.

    Nothing is fetched, no service is asked, torch is not loaded.

    Args:
        given: Its instruction is counted; a spec that names another service has no counter.
        model: ``models/ID`` or the ID, in place of the one that the spec names.
    """
    from tuner.tokens.counting import open_counter

    target = given.draft.spec.target if given.draft and given.draft.spec else None
    if target and not model and (target.kind != "local" or target.endpoint):
        return None
    name = model or given.base_model
    return open_counter(name, given.instruction) if name else None


def counter_or_usual(given: Given, model: str = "") -> Counter | None:
    """The same, and where nothing names a model: the first of those known that is here.

    Raises:
        RequestRefused: ``model`` was named, and is not here.
    """
    from tuner.tokens.counting import open_counter

    found = find_counter(given, model)
    if found is None and model:
        from tuner.errors import RequestRefused

        fix = f"fetch it with `tuner models pull {model.removeprefix('models/')}`"
        raise RequestRefused(f"the tokenizer of {model} is not on this machine", fix)
    if found or given.draft:
        return found
    try:
        from tuner.engine import KNOWN_BASE_MODELS
    except ImportError:
        return None
    counters = (open_counter(name, given.instruction) for name in KNOWN_BASE_MODELS)
    return next(filter(None, counters), None)
