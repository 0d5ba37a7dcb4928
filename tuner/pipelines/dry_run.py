"""Reads the state of a target, and answers from it in a dry run that changes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from tuner.errors import NotAllowed, NotFound, RequestRefused, TunerError
from tuner.pipelines.select import owner_of
from tuner.targets import TARGETS
from tuner.targets.google import check_tunable
from tuner.types import Feature, Grant, Operation, Permission, Role, State, TunedModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tuner.targets import Target
    from tuner.types import Model, NewTunedModel, TargetConfig

    OpenTarget = Callable[[TargetConfig], Awaitable[Target]]
    T = TypeVar("T")

MAX_PARALLEL_READS = 16
_ASK_OWNER = "ask its owner, or tune your own copy with `tuner run --new`"


class TargetState(NamedTuple):
    """What was read of one target.

    Attributes:
        address: For people; empty if nothing could be read.
        lacks: What cannot be done there, and why.
        models: The visible tuned models; of those shared with everyone only the wanted.
        mine: The names of those we own.
        permissions: Of the wanted models; missing for a model that hides them from us.
        error: Why tuned models cannot be read; there seem to be none then.
    """

    address: str
    lacks: Mapping[Feature, str]
    bases: Mapping[str, Model] = {}
    models: Mapping[str, TunedModel] = {}
    mine: frozenset[str] = frozenset()
    permissions: Mapping[str, Sequence[Permission]] = {}
    wanted: frozenset[str] = frozenset()
    error: TunerError | None = None


async def read_target(
    config: TargetConfig, wanted: Sequence[str], open_target: OpenTarget
) -> TargetState:
    """Read a target: three listings, and at most two more calls for each wanted model."""
    state = TargetState("", TARGETS[config.kind].cannot, wanted=frozenset(wanted))
    try:
        target = await open_target(config)
        bases = {each.name: each for each in await target.models()}
        state = state._replace(address=target.address, lacks=target.lacks, bases=bases)
        models = {each.name: each for each in await target.tuned_models()}
        mine = frozenset(each.name for each in await target.tuned_models("owner:me"))
    except TunerError as error:  # an API key at Google cannot list tuned models, but base models
        return state._replace(error=error)
    # a listing leaves out what is shared with everyone
    models |= await _read_each([name for name in wanted if name not in models], target.tuned_model)
    tuned = [name for name in wanted if name in models and models[name].state is State.ACTIVE]
    permissions = await _read_each(tuned, target.permissions)
    return state._replace(models=models, mine=mine, permissions=permissions)


async def _read_each(wanted: Sequence[str], read: Callable[[str], Awaitable[T]]) -> dict[str, T]:
    slots = asyncio.Semaphore(MAX_PARALLEL_READS)
    found: dict[str, T] = {}

    async def one(name: str) -> None:
        async with slots:
            try:
                found[name] = await read(name)
            except (NotAllowed, RequestRefused):
                return

    await asyncio.gather(*map(one, wanted))
    return found


class DryRunTarget:
    """A target that answers from a ``TargetState`` and records the changes and features used.

    A recorded change is assumed to succeed, and is visible to later reads.
    """

    def __init__(self, state: TargetState, name: str) -> None:
        self.changes: list[str] = []
        self.used: set[Feature] = set()
        self.address = state.address
        self._state, self._name = state, name
        self.found = state.models.get(name)
        self.held = state.permissions.get(name)
        self._is_mine = name in state.mine
        if self.found and self.found.state is not State.ACTIVE:
            self.held = ()  # not read while it is tuning

    async def models(self) -> Sequence[Model]:
        return list(self._state.bases.values())

    async def model(self, name: str) -> Model:
        if name not in self._state.bases:
            raise NotFound(f"{self.address} has no base model {name}")
        return self._state.bases[name]

    async def tuned_model(self, name: str) -> TunedModel:
        if self.found is None:
            raise NotFound(f"{name} does not exist")
        return self.found

    async def operation(self, name: str) -> Operation:
        raise RequestRefused(f"{name} is not read: the state of the model is enough")

    async def operations(self, _tuned_model: str) -> Sequence[Operation]:
        return ()

    async def permissions(self, name: str) -> Sequence[Permission]:
        if self.held is None:
            what = f"{name} has another owner, and its permissions are hidden from you"
            raise NotAllowed(what, _ASK_OWNER)
        return self.held

    async def create(self, new: NewTunedModel) -> Operation:
        source = new.tuned_model_source
        if source:
            self.used.add(Feature.CHAINING)
        else:
            await check_tunable(cast("Target", self), new.base_model)
        if source and source not in self._state.models and source not in self._state.wanted:
            what = f"{source} does not exist, or is hidden from you"
            raise NotFound(what, "see `tuner models list`")
        self.changes.append("tune")
        self.found = TunedModel(new.name, State.ACTIVE, new.base_model)
        self.held, self._is_mine = (), True
        return Operation(f"{new.name}/operations/planned", new.name)

    async def delete(self, _name: str) -> None:
        self.changes.append("delete")
        self.found = None

    async def grant(self, name: str, grant: Grant) -> Permission:
        self.used.add(Feature.SHARING)
        self.changes.append(f"grant {grant}")
        permission = Permission(f"{name}/permissions/planned-{len(self.changes)}", grant)
        self.held = (*(self.held or ()), permission)
        return permission

    async def change_role(self, permission: str, role: Role) -> Permission:
        self.used.add(Feature.SHARING)
        held = {each.name: each for each in self.held or ()}
        grant = held[permission].grant
        who = grant.email_address or "everyone"
        self.changes.append(f"change {who} from {grant.role.lower()} to {role.lower()}")
        held[permission] = held[permission]._replace(grant=replace(grant, role=role))
        self.held = tuple(held.values())
        return held[permission]

    async def transfer(self, name: str, email_address: str) -> None:
        self.used.add(Feature.TRANSFER)
        owner = owner_of(self.held or ())
        if not self._is_mine:
            what = f"owner is {owner or 'another'}, the spec says {email_address}"
            raise NotAllowed(what, _ASK_OWNER)
        self.changes.append(f"transfer to {email_address}")
        others = [each for each in self.held or () if each.grant.role is not Role.OWNER]
        grant = Grant(Role.OWNER, email_address=email_address)
        self.held = (*others, Permission(f"{name}/permissions/owner", grant))

    def finish_tuning(self) -> None:
        if self.found:
            self.found, self._is_mine = self.found._replace(state=State.ACTIVE), True
