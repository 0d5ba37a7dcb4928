"""The service, put together and run until it is stopped."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from tuner.engine import open_engine
from tuner.home import models_folder, service_folder
from tuner.server import grpc, lifecycle, rest, telemetry
from tuner.server.lifecycle import Addresses
from tuner.server.scheduler import TuningScheduler
from tuner.server.service import Service
from tuner.server.settings import check_exposure, exposed_addresses, local_address
from tuner.server.store import open_store, permissions, queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tuner.engine import Engine
    from tuner.server.settings import Settings

CLOSE_S = 1.0  # for what is not a tracked call: health watches, responses on their way
log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT or the end of an idle time.

    Raises InvalidInput (TLS or keys are missing), Unavailable or StoreFailed.
    """
    folder = service_folder()
    check_exposure(settings, folder)
    with lifecycle.service_lock(folder):
        engine = open_engine(
            "process", settings.base_models, models_folder(), settings.checkpoint_s
        )
        asyncio.run(_serve(settings, engine, folder))


@asynccontextmanager
async def running(
    settings: Settings, engine: Engine, folder: Path
) -> AsyncIterator[tuple[Service, Addresses]]:
    """Serve and tune until the end of the block; yield the service and its addresses."""
    store = open_store(folder, settings.database, exclusive=True)
    scheduler = TuningScheduler(store, engine, store.tunings, workers=settings.workers)
    service = Service(
        store,
        engine,
        scheduler,
        store.tunings,
        limits=settings.limits,
        requires_key=bool(exposed_addresses(settings)),
    )
    try:
        await scheduler.prepare()
        async with _listening(service, settings) as addresses:
            work = asyncio.create_task(scheduler.run())
            try:
                yield service, addresses
            finally:
                work.cancel()
                await service.calls.drain(settings.grace_s)
                await asyncio.wait([work])
    finally:
        await engine.close()
        store.close()


async def _serve(settings: Settings, engine: Engine, folder: Path) -> None:
    stopped = _stopped_by_signal()
    asyncio.get_running_loop().set_exception_handler(telemetry.log_loop_error)
    async with running(settings, engine, folder) as (service, addresses):
        try:
            lifecycle.write_addresses(folder, addresses)
            sys.stderr.write(await _startup_text(settings, service, addresses, folder))
            gc.freeze()  # what is loaded now stays; each collection would spend 0.1 s on it
            await _until_stopped(settings, service, stopped)
        finally:
            lifecycle.remove_addresses(folder)
    log.info("stopped")


async def _startup_text(
    settings: Settings, service: Service, addresses: Addresses, folder: Path
) -> str:
    tls = "without TLS" if settings.tls is None else "with TLS"
    if settings.tls and settings.tls.client_ca:
        tls += ", for client certificates only"
    return lifecycle.startup_text(
        addresses,
        list(settings.base_models.values()),
        tls=tls,
        has_keys=await service.store.read(permissions.count_keys) > 0,
        exposed=exposed_addresses(settings),
        state=f"{folder} and {service.store.name}" if settings.database else str(folder),
        queued=await service.store.read(queue.count),
        home=folder.parent,
    )


@asynccontextmanager
async def _listening(service: Service, settings: Settings) -> AsyncIterator[Addresses]:
    """Serve gRPC and REST until the end of the block; calls in progress are then aborted."""
    tls = settings.tls
    server = grpc.new_server(service)
    grpc_address = grpc.bind(server, settings.grpc, tls)
    async with AsyncExitStack() as stack:
        rest_address = None
        if settings.rest is not None:
            rest_address = await stack.enter_async_context(
                rest.serving(rest.new_app(service), settings.rest, tls)
            )
        await server.start()
        stack.push_async_callback(server.stop, CLOSE_S)
        yield Addresses(
            local_address(grpc_address),
            rest_address and local_address(rest_address),
            tls=tls is not None,
            ca=str(tls.ca) if tls and tls.ca else None,
        )


def _stopped_by_signal() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; a second signal kills, which loses nothing."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def stop() -> None:
        stopped.set()
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        loop.add_signal_handler(number, stop)
    return stopped


async def _until_stopped(settings: Settings, service: Service, stopped: asyncio.Event) -> None:
    taken = asyncio.create_task(service.store.wait_until_lost())
    ends: list[asyncio.Task[object]] = [taken, asyncio.create_task(stopped.wait())]
    if settings.idle_exit_s is not None:
        idle = service.calls.until_idle(settings.idle_exit_s, service.scheduler.is_busy)
        ends.append(asyncio.create_task(idle))
    done, others = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for each in others:
        each.cancel()
    for each in done:
        each.result()
