"""The handlers without a door: a service over a fake engine, called as both doors call it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.fakes.engine import FakeEngine
from tuner.engine import TINY
from tuner.server import methods
from tuner.server.access import new_key
from tuner.server.api_errors import ApiError
from tuner.server.messages import raw
from tuner.server.methods import METHODS
from tuner.server.scheduler import TuningScheduler
from tuner.server.service import Service
from tuner.server.store import open_store, permissions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

FULL_NAMES = {method.short_name: name for name, method in METHODS.items()}


@dataclass
class Room:
    service: Service
    engine: FakeEngine
    key: str = ""

    async def call(self, method_name: str, /, *, key: str | None = None, **fields: Any) -> Any:
        method = METHODS[FULL_NAMES[method_name]]
        shown = self.key if key is None else key
        request = method.request(**fields)
        metadata = {"x-goog-api-key": shown} if shown else {}

        async def read() -> Any:
            return request

        call = methods.Call(method, metadata, read)
        if method.streams:
            return [each async for each in methods.call_stream(self.service, call)]
        return await methods.call(self.service, call)

    async def make_key(self, email: str) -> str:
        key, row = new_key(email, 1)
        await self.service.store.write(permissions.insert_key, row)
        return key

    async def make_group(self, email: str, *members: str) -> None:
        await self.service.store.write(permissions.create_group, email, 1)
        await self.service.store.write(permissions.add_members, email, members, 1)

    async def create(self, model_id: str = "m", **changes: Any) -> Any:
        return await self.call("CreateTunedModel", **new_model(model_id, **changes))

    async def tuned(self, model_id: str = "m", **changes: Any) -> Any:
        operation = await self.create(model_id, **changes)
        return await self.ended(operation.name)

    async def ended(self, operation: str) -> Any:
        return await self.until(operation, lambda found: found.done)

    async def until(self, operation: str, is_so: Callable[[Any], bool]) -> Any:
        while True:
            found = await self.call("GetOperation", name=operation)
            if is_so(found):
                return found
            await self.service.store.wait_for_write(0.5)


async def refusal(room: Room, method_name: str, /, **fields: Any) -> ApiError:
    try:
        await room.call(method_name, **fields)
    except ApiError as refused:
        return refused
    raise AssertionError(f"{method_name} was not refused")


def new_model(
    model_id: str | None = "m", rows: int = 4, hyperparameters: Any = None, **fields: Any
) -> dict[str, Any]:
    examples = [raw("TuningExample")(text_input=str(n), output=str(n + 1)) for n in range(rows)]
    data = raw("Dataset")(examples=raw("TuningExamples")(examples=examples))
    task = raw("TuningTask")(training_data=data, hyperparameters=hyperparameters)
    if "tuned_model_source" not in fields:
        fields.setdefault("base_model", TINY.name)
    return {
        "tuned_model_id": model_id,
        "tuned_model": raw("TunedModel")(tuning_task=task, **fields),
    }


@asynccontextmanager
async def open_room(
    folder: Path, engine: FakeEngine | None = None, database: str | None = None
) -> AsyncIterator[Room]:
    engine = engine or FakeEngine()
    store = open_store(folder, database, exclusive=True)
    tunings = TuningScheduler(store, engine, store.tunings)
    await tunings.prepare()
    work = asyncio.create_task(tunings.run())
    try:
        yield Room(Service(store, engine, tunings, store.tunings), engine)
    finally:
        work.cancel()
        await asyncio.wait([work])
        store.close()
