"""What is true at a target before anything is done there: its models, ours, and who may use them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tuner.errors import NotAllowed, RequestRefused
from tuner.types import Role, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from tuner.targets import Target
    from tuner.types import Feature, Model, Permission, TunedModel

    T = TypeVar("T")

AT_A_TIME = 16


class World(NamedTuple):
    """What was read of one target.

    Attributes:
        address: For people: which service this is.
        lacks: What cannot be done there, and why.
        bases: The base models on offer, by name.
        models: The tuned models that we may see, by name; of those that everyone may use only the
            wanted ones.
        mine: The names of those that we own.
        permissions: Of the wanted models that are there; one that is missing hides its own from us.
        wanted: The models that were asked about, whether they are there or not.
        error: Why tuned models cannot be read; it then looks as if there were none.
    """

    address: str
    lacks: Mapping[Feature, str]
    bases: Mapping[str, Model]
    models: Mapping[str, TunedModel]
    mine: frozenset[str] = frozenset()
    permissions: Mapping[str, Sequence[Permission]] = {}
    wanted: frozenset[str] = frozenset()
    error: NotAllowed | None = None

    def owner(self, name: str) -> str:
        """The e-mail address of a model's owner in lower case; empty where it is not told."""
        held = self.permissions.get(name, ())
        owners = [each.grant.email_address for each in held if each.grant.role is Role.OWNER]
        return owners[0].casefold() if owners else ""


async def read_world(wanted: Collection[str], target: Target) -> World:
    """Read a target: three listings, and two more calls at most for each wanted model.

    Args:
        wanted: Names of tuned models, ``tunedModels/ID``: those to be made or shared.
        target: Only reads are sent, at most ``AT_A_TIME`` of them at a time.

    Raises:
        NotAllowed, Unavailable: The target cannot be asked at all.
    """
    bases = {each.name: each for each in await target.models()}
    try:
        models = {each.name: each for each in await target.tuned_models()}
        mine = frozenset(each.name for each in await target.tuned_models("owner:me"))
    except NotAllowed as error:  # as with an API key at Google's
        return World(target.address, target.lacks, bases, {}, wanted=frozenset(wanted), error=error)
    hidden = await _each([name for name in wanted if name not in models], target.tuned_model)
    models |= hidden  # a listing leaves out what is shared with everyone
    tuned = [name for name in wanted if name in models and models[name].state is State.ACTIVE]
    return World(
        target.address,
        target.lacks,
        bases,
        models,
        mine,
        await _each(tuned, target.permissions),
        frozenset(wanted),
    )


async def _each(names: Sequence[str], ask: Callable[[str], Awaitable[T]]) -> dict[str, T]:
    """What is answered about each of them, less what the service refuses to show."""
    permits = asyncio.Semaphore(AT_A_TIME)
    answers: dict[str, T] = {}

    async def one(name: str) -> None:
        async with permits:
            try:
                answers[name] = await ask(name)
            except (NotAllowed, RequestRefused):
                return

    await asyncio.gather(*(one(name) for name in names))
    return {name: answers[name] for name in names if name in answers}
