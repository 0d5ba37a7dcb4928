"""The v1beta API of google.ai.generativelanguage as a target."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from google.ai import generativelanguage_v1beta as gl
from google.longrunning import operations_pb2

from tuner.errors import InvalidInput, Problem, RequestRefused
from tuner.targets import wire
from tuner.targets.calls import Calls
from tuner.targets.connect import connect, google_endpoint, parse_endpoint
from tuner.targets.credentials import GOOGLE_KEYS, NOBODY, find_identity, find_key, named_key
from tuner.targets.failures import lacking
from tuner.targets.methods import Methods
from tuner.targets.seen import Seen
from tuner.targets.tunable import check_tunable
from tuner.types import Feature, Operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from tuner.targets.connect import Connection, Endpoint
    from tuner.targets.credentials import Identity
    from tuner.types import (
        Answer,
        GenerationConfig,
        Grant,
        Model,
        NewTunedModel,
        Permission,
        Role,
        TargetConfig,
        TunedModel,
    )

KNOCK_TIMEOUT_S = 10.0
CREATE_TIMEOUT_S = 120.0
TUNABLE_S = 60.0  # for so long a base model that could be tuned is not looked at again
SHORT_PAGE = 20  # and twice as many as are looked for
FEW_PAGES = 2  # whole ones of a listing after the short one, and one more for so many operations:
A_PAGE_EACH = 500


async def open_gemini(config: TargetConfig) -> GenerativeLanguage:
    """Connect to Google's endpoint, or to the one the spec names.

    Raises:
        NotAllowed: There are no credentials to be found.
        InvalidInput: The endpoint or the credentials contradict themselves.
    """
    endpoint = parse_endpoint(config.endpoint) if config.endpoint else google_endpoint()
    identity = await asyncio.to_thread(_identity, config, endpoint)
    return GenerativeLanguage(connect("gemini", endpoint, identity))


def _identity(config: TargetConfig, endpoint: Endpoint) -> Identity:
    """Tokens never travel in the clear, so a plaintext endpoint gets an API key or nothing."""
    if endpoint.tls:
        return find_identity(config)
    if config.credentials_file or config.impersonate:
        what = f"{endpoint} speaks plaintext, and Google credentials are sent over TLS alone"
        raise InvalidInput(
            [Problem("", 0, 0, what, f"write https://{endpoint}, or use an API key")]
        )
    return named_key(config.api_key_env) if config.api_key_env else find_key(GOOGLE_KEYS) or NOBODY


class GenerativeLanguage:
    """One channel, with the methods of the API on it.

    Reads are tried again while the service is UNAVAILABLE; changes are sent exactly once.
    """

    def __init__(self, connection: Connection) -> None:
        """Put the methods on the connection's channel."""
        self._connection, self._calls = connection, Calls(connection)
        self._to = Methods(connection.channel)
        self._seen = Seen()
        self._short_is_enough = True
        self._tunable_until: dict[str, float] = {}
        self._checking = asyncio.Lock()

    @property
    def address(self) -> str:
        """E.g. ``gemini (generativelanguage.googleapis.com)``."""
        return self._connection.address

    @property
    def caller(self) -> str:
        """Where the credentials were found."""
        return self._connection.identity.source or "nobody in particular"

    @property
    def lacks(self) -> dict[Feature, str]:
        """What the kind of service cannot, and what an API key cannot at Google's."""
        return lacking(self._connection)

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._connection.channel.close()

    async def knock(self) -> None:
        """One cheap call, sent once. Raises Unavailable when nothing answers."""
        request = gl.ListModelsRequest.pb()(page_size=1)
        await self._calls.send(self._to.list_models, request, KNOCK_TIMEOUT_S)

    # -- models ---------------------------------------------------------------------------------

    async def models(self) -> list[Model]:
        """Every page of ListModels."""
        request = gl.ListModelsRequest.pb()(page_size=wire.PAGE_SIZE)
        pages = self._calls.pages(self._to.list_models, request)
        return [wire.model(each) async for page in pages for each in page.models]

    async def model(self, name: str) -> Model:
        """GetModel."""
        return wire.model(
            await self._calls.read(self._to.get_model, gl.GetModelRequest.pb()(name=name))
        )

    async def create(self, new: NewTunedModel) -> Operation:
        """CreateTunedModel, after a look whether the base model can be tuned at all."""
        if new.base_model:
            await self._check_tunable(new.base_model)
        request = wire.create_bytes(new)
        started = await self._calls.send(self._to.create_tuned_model, request, CREATE_TIMEOUT_S)
        return wire.operation(started)

    async def _check_tunable(self, base_model: str) -> None:
        """Once a minute for all jobs, however many begin in one moment."""
        async with self._checking:
            if time.monotonic() > self._tunable_until.get(base_model, 0.0):
                await check_tunable(self, base_model)
                self._tunable_until[base_model] = time.monotonic() + TUNABLE_S

    async def tuned_models(self, query: str = "") -> list[TunedModel]:
        """Every page of ListTunedModels."""
        request = gl.ListTunedModelsRequest.pb()(page_size=wire.PAGE_SIZE, filter=query)
        pages = self._calls.pages(self._to.list_tuned_models, request)
        return [wire.tuned_model(each) async for page in pages for each in page.tuned_models]

    async def tuned_model(self, name: str) -> TunedModel:
        """GetTunedModel."""
        request = gl.GetTunedModelRequest.pb()(name=name)
        return wire.tuned_model(await self._calls.read(self._to.get_tuned_model, request))

    async def update(self, name: str, changes: dict[str, str | float | int]) -> TunedModel:
        """UpdateTunedModel with exactly these fields in its mask."""
        request = wire.update_request(name, changes)
        return wire.tuned_model(await self._calls.send(self._to.update_tuned_model, request))

    async def delete(self, name: str) -> None:
        """DeleteTunedModel."""
        request = gl.DeleteTunedModelRequest.pb()(name=name)
        await self._calls.send(self._to.delete_tuned_model, request)

    # -- operations -----------------------------------------------------------------------------

    async def operation(self, name: str) -> Operation:
        """GetOperation."""
        request = operations_pb2.GetOperationRequest(name=name)
        return wire.operation(await self._calls.read(self._to.get_operation, request))

    async def operations(self, tuned_model: str) -> list[Operation]:
        """Every page of ListOperations."""
        request = wire.list_operations_request(tuned_model)
        pages = self._calls.pages(self._to.list_operations, request)
        return [wire.operation(each) async for page in pages for each in page.operations]

    async def followed(self, names: Collection[str]) -> dict[str, Operation]:
        """ListOperations of all tuned models, page by page until all of ``names`` are seen.

        Ended operations pile up behind the running ones: a first page is short, until one is not
        enough, and what is not on the first pages is left out.
        """
        if why := self.lacks.get(Feature.LISTING):
            raise RequestRefused(f"{self.address} has no listing of all operations: {why}")
        wanted, found = frozenset(names), dict[str, Operation]()
        self._seen.keep(wanted)
        pages_left = 1 + FEW_PAGES + len(wanted) // A_PAGE_EACH
        request = wire.list_operations_request("tunedModels/-")
        if self._short_is_enough:
            request.page_size = min(SHORT_PAGE + 2 * len(wanted), wire.PAGE_SIZE)
        async with aclosing(self._calls.pages(self._to.list_operations, request)) as pages:
            async for page in pages:
                found |= self._seen.read(page.operations, wanted)
                pages_left -= 1
                if len(found) == len(wanted) or not pages_left:
                    break
                request.page_size, self._short_is_enough = wire.PAGE_SIZE, False
        return found

    async def cancel(self, operation: str) -> None:
        """CancelOperation."""
        request = operations_pb2.CancelOperationRequest(name=operation)
        await self._calls.send(self._to.cancel_operation, request)

    # -- permissions ----------------------------------------------------------------------------

    async def permissions(self, tuned_model: str) -> list[Permission]:
        """Every page of ListPermissions."""
        request = gl.ListPermissionsRequest.pb()(parent=tuned_model, page_size=wire.PAGE_SIZE)
        pages = self._calls.pages(self._to.list_permissions, request)
        return [wire.permission(each) async for page in pages for each in page.permissions]

    async def grant(self, tuned_model: str, grant: Grant) -> Permission:
        """CreatePermission."""
        request = wire.grant_request(tuned_model, grant)
        return wire.permission(await self._calls.send(self._to.create_permission, request))

    async def change_role(self, permission: str, role: Role) -> Permission:
        """UpdatePermission."""
        request = wire.role_request(permission, role)
        return wire.permission(await self._calls.send(self._to.update_permission, request))

    async def revoke(self, permission: str) -> None:
        """DeletePermission."""
        request = gl.DeletePermissionRequest.pb()(name=permission)
        await self._calls.send(self._to.delete_permission, request)

    async def transfer(self, tuned_model: str, email_address: str) -> None:
        """TransferOwnership."""
        request = gl.TransferOwnershipRequest.pb()(name=tuned_model, email_address=email_address)
        await self._calls.send(self._to.transfer_ownership, request)

    # -- answers --------------------------------------------------------------------------------

    async def generate(self, model: str, prompt: str, config: GenerationConfig) -> Answer:
        """GenerateContent; it changes nothing, so it is tried again like a read."""
        request = wire.generate_request(model, prompt, config)
        method = self._to.generate_content
        return wire.answer(await self._calls.generate(method, request))

    async def stream(
        self, model: str, prompt: str, config: GenerationConfig
    ) -> AsyncIterator[Answer]:
        """StreamGenerateContent."""
        request = wire.generate_request(model, prompt, config)
        method = self._to.stream_generate_content
        async for message in self._calls.stream(method, request):
            yield wire.answer(message)

    async def count_tokens(self, model: str, text: str) -> int:
        """CountTokens."""
        request = wire.count_request(model, text)
        return int((await self._calls.read(self._to.count_tokens, request)).total_tokens)
