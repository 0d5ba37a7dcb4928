"""A target as one job of a run may use it: not too fast, and changing nothing that another has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from tuner.jobs.running.follower import Follower
    from tuner.jobs.running.limits import Rate
    from tuner.targets import Target
    from tuner.types import (
        Answer,
        Feature,
        GenerationConfig,
        Grant,
        Model,
        NewTunedModel,
        Operation,
        Permission,
        Role,
        TunedModel,
    )

FRESH_S = 1.0


class Guarded:
    """All of ``Target``; each call waits for its turn, and a changing one is allowed first.

    ``allow`` raises what forbids a change, such as Superseded; nothing awaits between it and the
    call. With a ``follower`` an operation is looked at together with those of all other jobs. With
    ``now`` who has access is not asked again within ``FRESH_S`` seconds, unless the job changed it.
    """

    def __init__(
        self,
        target: Target,
        rate: Rate,
        allow: Callable[[], None] = lambda: None,
        follower: Follower | None = None,
        now: Callable[[], float] | None = None,
    ) -> None:
        """Guard ``target``; closing it is left to whoever opened it."""
        self._target, self._rate, self._allow, self._follower = target, rate, allow, follower
        self._now = now
        self._listed: tuple[str, float, Sequence[Permission]] = ("", 0.0, ())

    async def _change(self) -> Target:
        await self._rate()
        self._allow()
        self._listed = ("", 0.0, ())
        return self._target

    async def _read(self) -> Target:
        await self._rate()
        return self._target

    @property
    def address(self) -> str:
        """As the target's."""
        return self._target.address

    @property
    def caller(self) -> str:
        """As the target's."""
        return self._target.caller

    @property
    def lacks(self) -> Mapping[Feature, str]:
        """As the target's."""
        return self._target.lacks

    async def models(self) -> Sequence[Model]:
        """As the target's."""
        return await (await self._read()).models()

    async def model(self, name: str) -> Model:
        """As the target's."""
        return await (await self._read()).model(name)

    async def create(self, new: NewTunedModel) -> Operation:
        """As the target's."""
        operation = await (await self._change()).create(new)
        if self._follower:
            self._follower.saw(operation)
        return operation

    async def tuned_models(self, query: str = "") -> Sequence[TunedModel]:
        """As the target's."""
        return await (await self._read()).tuned_models(query)

    async def tuned_model(self, name: str) -> TunedModel:
        """As the target's."""
        return await (await self._read()).tuned_model(name)

    async def update(self, name: str, changes: dict[str, str | float | int]) -> TunedModel:
        """As the target's."""
        return await (await self._change()).update(name, changes)

    async def delete(self, name: str) -> None:
        """As the target's."""
        await (await self._change()).delete(name)

    async def operation(self, name: str) -> Operation:
        """As the target's, or what the follower saw last, which asks at its own time."""
        if self._follower:
            return await self._follower.operation(name)
        return await (await self._read()).operation(name)

    async def operations(self, tuned_model: str) -> Sequence[Operation]:
        """As the target's."""
        return await (await self._read()).operations(tuned_model)

    async def followed(self, names: Collection[str]) -> Mapping[str, Operation]:
        """As the target's."""
        return await (await self._read()).followed(names)

    async def cancel(self, operation: str) -> None:
        """As the target's."""
        await (await self._change()).cancel(operation)

    async def permissions(self, tuned_model: str) -> Sequence[Permission]:
        """As the target's, or as it was a moment ago."""
        model, seen_at, listed = self._listed
        if self._now is None or model != tuned_model or self._now() - seen_at > FRESH_S:
            listed = await (await self._read()).permissions(tuned_model)
            self._listed = (tuned_model, self._now() if self._now else 0.0, listed)
        return listed

    async def grant(self, tuned_model: str, grant: Grant) -> Permission:
        """As the target's."""
        return await (await self._change()).grant(tuned_model, grant)

    async def change_role(self, permission: str, role: Role) -> Permission:
        """As the target's."""
        return await (await self._change()).change_role(permission, role)

    async def revoke(self, permission: str) -> None:
        """As the target's."""
        await (await self._change()).revoke(permission)

    async def transfer(self, tuned_model: str, email_address: str) -> None:
        """As the target's."""
        await (await self._change()).transfer(tuned_model, email_address)

    async def generate(self, model: str, prompt: str, config: GenerationConfig) -> Answer:
        """As the target's."""
        return await (await self._read()).generate(model, prompt, config)

    async def stream(
        self, model: str, prompt: str, config: GenerationConfig
    ) -> AsyncIterator[Answer]:
        """As the target's."""
        async for answer in (await self._read()).stream(model, prompt, config):
            yield answer

    async def count_tokens(self, model: str, text: str) -> int:
        """As the target's."""
        return await (await self._read()).count_tokens(model, text)

    async def close(self) -> None:
        """Nothing: the session closes what it opened."""
