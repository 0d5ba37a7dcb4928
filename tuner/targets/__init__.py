"""The protocol of a target, and the table of targets."""

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
        """The service, for messages, e.g. ``local (127.0.0.1:50051)``."""

    @property
    def caller(self) -> str:
        """The source of the credentials, for messages, e.g. ``TUNER_API_KEY``; never the secret."""

    @property
    def lacks(self) -> Mapping[Feature, str]:
        """Features that these credentials cannot use on this target, and why."""

    async def models(self) -> Sequence[Model]:
        """Return the base models."""

    async def model(self, name: str) -> Model:
        """Return one base model. Raises NotFound."""

    async def create(self, new: NewTunedModel) -> Operation:
        """Start tuning. Raises AlreadyExists if the id is in use."""

    async def tuned_models(self, query: str = "") -> Sequence[TunedModel]:
        """Return the tuned models visible to the caller; ``query`` is ``ListTunedModels.filter``."""

    async def tuned_model(self, name: str) -> TunedModel:
        """Return one tuned model. Raises NotFound, also if the caller may not see it."""

    async def update(self, name: str, changes: dict[str, str | float | int]) -> TunedModel:
        """Change display_name, description, temperature, top_p or top_k."""

    async def delete(self, name: str) -> None:
        """Delete a tuned model; one that is tuning is cancelled first."""

    async def operation(self, name: str) -> Operation:
        """Return one operation. Raises NotFound if it no longer exists."""

    async def operations(self, tuned_model: str) -> Sequence[Operation]:
        """Return the operations of a tuned model (``tunedModels/-``: of all), newest first."""

    async def followed(self, names: Collection[str]) -> Mapping[str, Operation]:
        """Return those of these operations that one listing of all operations contains.

        An unchanged one is the same object. Raises RequestRefused if there is no such listing.
        """

    async def cancel(self, operation: str) -> None:
        """Request cancellation of an operation; it ends later."""

    async def permissions(self, tuned_model: str) -> Sequence[Permission]:
        """Return the permissions of a tuned model, including the owner's."""

    async def grant(self, tuned_model: str, grant: Grant) -> Permission:
        """Create a permission. Raises AlreadyExists if the grantee has one."""

    async def change_role(self, permission: str, role: Role) -> Permission:
        """Change the role of a permission, given its name."""

    async def revoke(self, permission: str) -> None:
        """Delete a permission, given its name."""

    async def transfer(self, tuned_model: str, email_address: str) -> None:
        """Transfer ownership; the caller becomes a writer. It cannot be undone."""

    async def generate(self, model: str, prompt: str, config: GenerationConfig) -> Answer:
        """Generate the answer to one user turn."""

    def stream(self, model: str, prompt: str, config: GenerationConfig) -> AsyncIterator[Answer]:
        """Generate an answer as a stream: each Answer has the next piece of text."""

    async def count_tokens(self, model: str, text: str) -> int:
        """Return the number of tokens of a prompt with this text as its only user turn."""

    async def close(self) -> None:
        """Close the connection."""


class Kind(NamedTuple):
    """One row of the table; ``cannot`` has the features it never supports, and why."""

    opener: str
    limits: Limits
    summary: str
    cannot: Mapping[Feature, str] = MappingProxyType({})


TARGETS = {
    "local": Kind(
        "tuner.targets.local:open_local",
        Limits(None, None, 64 * 1024 * 1024),
        "tuner's own tuning service on this machine, started when needed",
    ),
    "gemini": Kind(
        "tuner.targets.google:open_google",
        Limits(40_000, 5_000, 4 * 1024 * 1024),
        "generativelanguage.googleapis.com, or any endpoint with the v1beta API",
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
    """Connect to a target until the end of the block. Raises NotAllowed or Unavailable."""
    # hides gRPC's own log of connections; gRPC reads this variable when it is imported
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    module, _, function = TARGETS[config.kind].opener.partition(":")
    target: Target = await getattr(import_module(module), function)(config)
    try:
        yield target
    finally:
        await target.close()
