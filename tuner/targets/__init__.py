"""Where a job can run: what every target does, and the table of targets."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tuner.types import Feature, Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from tuner.types import (
        Answer,
        GenerationConfig,
        Grant,
        Model,
        NewTunedModel,
        Operation,
        Permission,
        Role,
        TargetConfig,
        TunedModel,
    )


class Target(Protocol):
    """A tuning service. Every method may raise NotAllowed, Unavailable and RequestRefused.

    Reads retry by themselves while the service is UNAVAILABLE. Changes are sent once: after
    Unavailable, read the state of the service before sending them again.
    """

    @property
    def address(self) -> str:
        """For people: which service this is, e.g. ``local (127.0.0.1:50051)``."""

    @property
    def caller(self) -> str:
        """For people: whose credentials these are, e.g. ``TUNER_API_KEY``; never the secret."""

    @property
    def lacks(self) -> Mapping[Feature, str]:
        """What cannot be done there with these credentials, and why."""

    async def models(self) -> Sequence[Model]:
        """The base models on offer."""

    async def model(self, name: str) -> Model:
        """One base model. Raises NotFound."""

    async def create(self, new: NewTunedModel) -> Operation:
        """Start tuning. Raises AlreadyExists when the id is taken."""

    async def tuned_models(self, query: str = "") -> Sequence[TunedModel]:
        """The tuned models we may see, filtered as ``ListTunedModels.filter`` says."""

    async def tuned_model(self, name: str) -> TunedModel:
        """One tuned model. Raises NotFound, also when it is hidden from us."""

    async def update(self, name: str, changes: dict[str, str | float | int]) -> TunedModel:
        """Change display_name, description, temperature, top_p or top_k."""

    async def delete(self, name: str) -> None:
        """Delete a tuned model; one that is tuning is cancelled first."""

    async def operation(self, name: str) -> Operation:
        """One operation. Raises NotFound when it is gone."""

    async def operations(self, tuned_model: str) -> Sequence[Operation]:
        """The operations of a tuned model (``tunedModels/-`` for all of them), newest first."""

    async def followed(self, names: Collection[str]) -> Mapping[str, Operation]:
        """Return those of these operations that a listing of all shows.

        An unchanged one is the same object. Raises RequestRefused if there is no such listing.
        """

    async def cancel(self, operation: str) -> None:
        """Request the end of an operation; it ends later."""

    async def permissions(self, tuned_model: str) -> Sequence[Permission]:
        """Everyone with access, including the owner."""

    async def grant(self, tuned_model: str, grant: Grant) -> Permission:
        """Create a permission. Raises AlreadyExists when the grantee has one."""

    async def change_role(self, permission: str, role: Role) -> Permission:
        """Change the role of a permission, given its name."""

    async def revoke(self, permission: str) -> None:
        """Delete a permission, given its name."""

    async def transfer(self, tuned_model: str, email_address: str) -> None:
        """Hand the model over; we become a writer. It cannot be undone."""

    async def generate(self, model: str, prompt: str, config: GenerationConfig) -> Answer:
        """One answer to one user turn."""

    def stream(self, model: str, prompt: str, config: GenerationConfig) -> AsyncIterator[Answer]:
        """The same, in pieces: each Answer holds the next bit of text."""

    async def count_tokens(self, model: str, text: str) -> int:
        """Tokens of a prompt with this text as its one user turn."""

    async def close(self) -> None:
        """Close the connection."""


class Kind(NamedTuple):
    """One row of the table; ``cannot`` holds what nobody can do there, and why."""

    opener: str
    limits: Limits
    summary: str
    cannot: Mapping[Feature, str] = MappingProxyType({})


TARGETS = {
    "local": Kind(
        "tuner.targets.local:open_local",
        Limits(None, None, 64 * 1024 * 1024),
        "the tuning service in the box, on this machine, started when needed",
    ),
    "gemini": Kind(
        "tuner.targets.google:open_google",
        Limits(40_000, 5_000, 4 * 1024 * 1024),
        "generativelanguage.googleapis.com, or any endpoint that speaks v1beta",
        MappingProxyType(
            {
                Feature.CHAINING: "it tunes base models only",
                Feature.LISTING: "it lists the operations of one tuned model at a time",
            }
        ),
    ),
}


@asynccontextmanager
async def open_target(config: TargetConfig) -> AsyncIterator[Target]:
    """Connect to a target for the length of the block. Raises NotAllowed or Unavailable."""
    # gRPC's own notes on connections are no news for a user; it reads this when it is imported
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    module, _, function = TARGETS[config.kind].opener.partition(":")
    target: Target = await getattr(import_module(module), function)(config)
    try:
        yield target
    finally:
        await target.close()
