"""The service, put together and run until it is stopped."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tuner.engine import open_engine
from tuner.home import models_folder, service_folder
from tuner.server import banner, lifecycle, logs
from tuner.server.access import exposure, hosts
from tuner.server.activity import until_idle
from tuner.server.grpc.door import bind, new_server
from tuner.server.lifecycle import Addresses
from tuner.server.rest import http_server
from tuner.server.rest.door import new_app
from tuner.server.service import Service
from tuner.server.store import keys, queue
from tuner.server.store.database import open_store
from tuner.server.tuning import Tunings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tuner.engine import Engine
    from tuner.server.access.tls import Tls
    from tuner.server.settings import Settings

CLOSE_S = 1.0  # for what is no call of ours: a watch of the health, answers on their way
log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT or the end of an idle time.

    Raises:
        InvalidInput: Others could reach it, and TLS or keys are missing.
        Unavailable: Another service holds the folder, or the port is taken.
        StoreFailed: The database cannot be used.
    """
    folder = service_folder()
    exposure.check(settings, folder)
    with lifecycle.locked(folder):
        engine = open_engine(
            "process", settings.base_models, models_folder(), settings.checkpoint_s
        )
        asyncio.run(_serve(settings, engine, folder))


async def _serve(settings: Settings, engine: Engine, folder: Path) -> None:
    stopped = _stopped_by_signal()
    asyncio.get_running_loop().set_exception_handler(logs.note_loop)
    async with running(settings, engine, folder) as (service, addresses):
        try:
            lifecycle.publish(folder, addresses)
            made = await service.store.read(keys.count)
            waiting = await service.store.read(queue.count)
            name = service.store.name if settings.database else ""
            sys.stderr.write(banner.text(settings, folder, addresses, made, waiting, name))
            gc.freeze()  # what is loaded now stays; each look through it for garbage costs 0.1 s
            await _until_stopped(settings, service, stopped)
        finally:
            lifecycle.withdraw(folder)
    log.info("stopped")


@asynccontextmanager
async def running(
    settings: Settings, engine: Engine, folder: Path
) -> AsyncIterator[tuple[Service, Addresses]]:
    """A service that answers and tunes for the length of the block, and where."""
    store = open_store(folder, settings.database, alone=True)
    tunings = Tunings(store, engine, store.tunings, workers=settings.workers)
    service = Service(
        store,
        engine,
        tunings,
        store.tunings,
        limits=settings.limits,
        wants_keys=bool(exposure.exposed(settings)),
    )
    try:
        await tunings.prepare()
        async with _doors(service, settings) as addresses:
            work = asyncio.create_task(tunings.run())
            try:
                yield service, addresses
            finally:
                work.cancel()
                await service.activity.drain(settings.grace_s)
                await asyncio.wait([work])
    finally:
        await engine.close()
        store.close()


@asynccontextmanager
async def _doors(service: Service, settings: Settings) -> AsyncIterator[Addresses]:
    """Both doors, open for the length of the block; whoever is still in one then is cut off."""
    server = new_server(service)
    address = bind(server, settings.grpc, settings.tls)
    async with _rest_door(service, settings) as rest_address:
        await server.start()
        try:
            yield _addresses(settings.tls, address, rest_address)
        finally:
            await server.stop(CLOSE_S)


def _addresses(tls: Tls | None, grpc_address: str, rest_address: str | None) -> Addresses:
    return Addresses(
        hosts.from_here(grpc_address),
        rest_address and hosts.from_here(rest_address),
        tls=tls is not None,
        ca=str(tls.ca) if tls and tls.ca else None,
    )


@asynccontextmanager
async def _rest_door(service: Service, settings: Settings) -> AsyncIterator[str | None]:
    if settings.rest is None:
        yield None
        return
    listener = http_server.bind(settings.rest)
    async with http_server.serving(new_app(service), listener, settings.tls):
        yield http_server.address_of(listener, settings.rest)


def _stopped_by_signal() -> asyncio.Event:
    """Set by SIGTERM or SIGINT; a second one then kills: all that matters survives that."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def note() -> None:
        stopped.set()
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        loop.add_signal_handler(number, note)
    return stopped


async def _until_stopped(settings: Settings, service: Service, stopped: asyncio.Event) -> None:
    taken = asyncio.create_task(service.store.until_taken())
    ends: list[asyncio.Task[object]] = [taken, asyncio.create_task(stopped.wait())]
    if settings.idle_exit_s is not None:
        idle = until_idle(service.activity, settings.idle_exit_s, service.tunings.is_busy)
        ends.append(asyncio.create_task(idle))
    done, others = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for each in others:
        each.cancel()
    for each in done:
        each.result()
