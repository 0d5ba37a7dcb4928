"""The v1beta API of google.ai.generativelanguage as a target."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from google.ai import generativelanguage_v1beta as gl
from google.longrunning import operations_pb2

from tuner.errors import InvalidInput, NotFound, Problem, RequestRefused
from tuner.targets import protos
from tuner.targets.auth import (
    ANONYMOUS,
    GOOGLE_KEYS,
    connect,
    find_identity,
    find_key,
    google_endpoint,
    named_key,
    parse_endpoint,
)
from tuner.targets.failures import lacking
from tuner.targets.rpc import Calls, Methods
from tuner.types import Feature, Operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Sequence

    from tuner.targets import Target
    from tuner.targets.auth import Connection, Endpoint, Identity
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

REACHABLE_TIMEOUT_S = 10.0
CREATE_TIMEOUT_S = 120.0
TUNABLE_S = 60.0  # a base model found to be tunable is not checked again for this long
SHORT_PAGE = 20  # operations on the short first page, plus two for each wanted operation
FEW_PAGES = 2  # full pages read after the first one, plus one per OPERATIONS_PER_EXTRA_PAGE
OPERATIONS_PER_EXTRA_PAGE = 500


async def open_google(config: TargetConfig) -> GoogleTarget:
    """Connect to Google's endpoint, or to the spec's. Raises NotAllowed or InvalidInput."""
    endpoint = parse_endpoint(config.endpoint) if config.endpoint else google_endpoint()
    identity = await asyncio.to_thread(_identity, config, endpoint)
    return GoogleTarget(connect("gemini", endpoint, identity))


def _identity(config: TargetConfig, endpoint: Endpoint) -> Identity:
    """Return the credentials; only an API key may be sent in plaintext."""
    if endpoint.tls:
        return find_identity(config)
    if config.credentials_file or config.impersonate:
        what = f"{endpoint} is not encrypted, and Google credentials are sent over TLS only"
        raise InvalidInput(
            [Problem("", 0, 0, what, f"write https://{endpoint}, or use an API key")]
        )
    return (
        named_key(config.api_key_env) if config.api_key_env else find_key(GOOGLE_KEYS) or ANONYMOUS
    )


class GoogleTarget:
    """The methods of the API on one channel; the protocol ``Target`` describes them."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._calls = connection, Calls(connection)
        self._methods = Methods(connection.channel)
        self._cache = OperationCache()
        self._short_is_enough = True
        self._tunable_until: dict[str, float] = {}
        self._checking = asyncio.Lock()

    @property
    def address(self) -> str:
        return self._connection.address

    @property
    def caller(self) -> str:
        return self._connection.identity.source or "no credentials"

    @property
    def lacks(self) -> dict[Feature, str]:
        return lacking(self._connection)

    async def close(self) -> None:
        await self._connection.channel.close()

    async def check_reachable(self) -> None:
        """Send one cheap call. Raises Unavailable if the service does not answer."""
        request = gl.ListModelsRequest.pb()(page_size=1)
        await self._calls.send(self._methods.list_models, request, REACHABLE_TIMEOUT_S)

    # -- models ---------------------------------------------------------------------------------

    async def models(self) -> list[Model]:
        request = gl.ListModelsRequest.pb()(page_size=protos.PAGE_SIZE)
        pages = self._calls.pages(self._methods.list_models, request)
        return [protos.model(each) async for page in pages for each in page.models]

    async def model(self, name: str) -> Model:
        request = gl.GetModelRequest.pb()(name=name)
        return protos.model(await self._calls.read(self._methods.get_model, request))

    async def create(self, new: NewTunedModel) -> Operation:
        if new.base_model:
            await self._check_tunable(new.base_model)
        request = protos.serialized(protos.create_request(new))
        started = await self._calls.send(
            self._methods.create_tuned_model, request, CREATE_TIMEOUT_S
        )
        return protos.operation(started)

    async def _check_tunable(self, base_model: str) -> None:
        async with self._checking:
            if time.monotonic() > self._tunable_until.get(base_model, 0.0):
                await check_tunable(self, base_model)
                self._tunable_until[base_model] = time.monotonic() + TUNABLE_S

    async def tuned_models(self, query: str = "") -> list[TunedModel]:
        request = gl.ListTunedModelsRequest.pb()(page_size=protos.PAGE_SIZE, filter=query)
        pages = self._calls.pages(self._methods.list_tuned_models, request)
        return [protos.tuned_model(each) async for page in pages for each in page.tuned_models]

    async def tuned_model(self, name: str) -> TunedModel:
        request = gl.GetTunedModelRequest.pb()(name=name)
        return protos.tuned_model(await self._calls.read(self._methods.get_tuned_model, request))

    async def update(self, name: str, changes: dict[str, str | float | int]) -> TunedModel:
        request = protos.update_request(name, changes)
        return protos.tuned_model(await self._calls.send(self._methods.update_tuned_model, request))

    async def delete(self, name: str) -> None:
        request = gl.DeleteTunedModelRequest.pb()(name=name)
        await self._calls.send(self._methods.delete_tuned_model, request)

    # -- operations -----------------------------------------------------------------------------

    async def operation(self, name: str) -> Operation:
        request = operations_pb2.GetOperationRequest(name=name)
        return protos.operation(await self._calls.read(self._methods.get_operation, request))

    async def operations(self, tuned_model: str) -> list[Operation]:
        request = protos.list_operations_request(tuned_model)
        pages = self._calls.pages(self._methods.list_operations, request)
        return [protos.operation(each) async for page in pages for each in page.operations]

    async def followed(self, names: Collection[str]) -> dict[str, Operation]:
        """Read ListOperations of all tuned models page by page until all of ``names`` are found.

        Ended operations follow the running ones: the first page is short as long as that is enough,
        and operations beyond the first pages are left out.
        """
        if why := self.lacks.get(Feature.LISTING):
            raise RequestRefused(f"{self.address} cannot list all operations: {why}")
        wanted, found = frozenset(names), dict[str, Operation]()
        self._cache.keep(wanted)
        pages_left = 1 + FEW_PAGES + len(wanted) // OPERATIONS_PER_EXTRA_PAGE
        request = protos.list_operations_request("tunedModels/-")
        if self._short_is_enough:
            request.page_size = min(SHORT_PAGE + 2 * len(wanted), protos.PAGE_SIZE)
        async with aclosing(self._calls.pages(self._methods.list_operations, request)) as pages:
            async for page in pages:
                found |= self._cache.read(page.operations, wanted)
                pages_left -= 1
                if len(found) == len(wanted) or not pages_left:
                    break
                request.page_size, self._short_is_enough = protos.PAGE_SIZE, False
        return found

    async def cancel(self, operation: str) -> None:
        request = operations_pb2.CancelOperationRequest(name=operation)
        await self._calls.send(self._methods.cancel_operation, request)

    # -- permissions ----------------------------------------------------------------------------

    async def permissions(self, tuned_model: str) -> list[Permission]:
        request = gl.ListPermissionsRequest.pb()(parent=tuned_model, page_size=protos.PAGE_SIZE)
        pages = self._calls.pages(self._methods.list_permissions, request)
        return [protos.permission(each) async for page in pages for each in page.permissions]

    async def grant(self, tuned_model: str, grant: Grant) -> Permission:
        request = protos.grant_request(tuned_model, grant)
        return protos.permission(await self._calls.send(self._methods.create_permission, request))

    async def change_role(self, permission: str, role: Role) -> Permission:
        request = protos.role_request(permission, role)
        return protos.permission(await self._calls.send(self._methods.update_permission, request))

    async def revoke(self, permission: str) -> None:
        request = gl.DeletePermissionRequest.pb()(name=permission)
        await self._calls.send(self._methods.delete_permission, request)

    async def transfer(self, tuned_model: str, email_address: str) -> None:
        request = gl.TransferOwnershipRequest.pb()(name=tuned_model, email_address=email_address)
        await self._calls.send(self._methods.transfer_ownership, request)

    # -- answers --------------------------------------------------------------------------------

    async def generate(self, model: str, prompt: str, config: GenerationConfig) -> Answer:
        request = protos.generate_request(model, prompt, config)
        method = self._methods.generate_content
        return protos.answer(await self._calls.generate(method, request))

    async def stream(
        self, model: str, prompt: str, config: GenerationConfig
    ) -> AsyncIterator[Answer]:
        request = protos.generate_request(model, prompt, config)
        method = self._methods.stream_generate_content
        async for message in self._calls.stream(method, request):
            yield protos.answer(message)

    async def count_tokens(self, model: str, text: str) -> int:
        request = protos.count_request(model, text)
        return int((await self._calls.read(self._methods.count_tokens, request)).total_tokens)


class OperationCache:
    """Operations by name, each with the bytes it was decoded from."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[bool, bytes, Operation]] = {}

    def read(
        self, page: Iterable[operations_pb2.Operation], names: Collection[str]
    ) -> dict[str, Operation]:
        """Return the operations of a page that are in ``names``; unchanged ones as the same object."""
        return {raw.name: self._read(raw) for raw in page if raw.name in names}

    def keep(self, names: Collection[str]) -> None:
        """Drop all other operations."""
        for name in [each for each in self._last if each not in names]:
            del self._last[name]

    def _read(self, raw: operations_pb2.Operation) -> Operation:
        done, metadata, known = self._last.get(raw.name, (False, b"", None))
        if known is None or (raw.done, raw.metadata.value) != (done, metadata):
            known = protos.operation(raw, known)
            self._last[raw.name] = raw.done, raw.metadata.value, known
        return known


TUNING_METHOD = "createTunedModel"
MAX_MODELS_SHOWN = 5


async def check_tunable(target: Target, base_model: str) -> None:
    """Check that ``createTunedModel`` is among the methods of a base model.

    Raises NotFound or RequestRefused; the fix names models that can be tuned.
    """
    try:
        found = await target.model(base_model)
    except NotFound as error:
        what = f"{target.address} has no base model {base_model}"
        raise NotFound(what, suggest_base_model(await target.models(), target.address)) from error
    if TUNING_METHOD not in found.supported_generation_methods:
        why = f"{TUNING_METHOD} is not among its methods"
        what = f"{target.address} cannot tune {base_model}: {why}"
        raise RequestRefused(what, suggest_base_model(await target.models(), target.address))


def suggest_base_model(models: Sequence[Model], address: str) -> str:
    """Return what to do if a base model cannot be tuned at a service with these models."""
    tunable = [each.name for each in models if TUNING_METHOD in each.supported_generation_methods]
    if tunable:
        more = ", ..." if len(tunable) > MAX_MODELS_SHOWN else ""
        return f"set base_model to one it can tune: {', '.join(tunable[:MAX_MODELS_SHOWN])}{more}"
    if "googleapis.com" in address:
        return (
            "since May 2025 Google does not tune models at this endpoint: use `target: local` to tune an "
            "open model on this machine; Gemini models are tuned on Vertex AI"
        )
    return "this service has no base model to tune: start it with `tuner serve --base-model ...`"
