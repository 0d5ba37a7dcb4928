"""The disk fills up under a running service and its worker, and is made room on."""

from __future__ import annotations

import asyncio
import json
import resource

import pytest
from google.ai import generativelanguage_v1beta as gl
from google.api_core.exceptions import ServiceUnavailable

from tests.crash.test_service_kill import STEPS, Watcher, create, workers
from tests.sdk.process import google_clients, serving

pytestmark = pytest.mark.slow


def fill_the_disk(process):
    """From now on no file of this process grows, as if there was no room."""
    _, most = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (1, most))


def make_room(process):
    _, most = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (most, most))


def test_a_service_without_room_refuses_loses_nothing_and_goes_on_when_there_is_some(tmp_path):
    home = tmp_path / "home"

    async def go(service):
        async with google_clients(service.address) as clients:
            watcher = Watcher(await create(clients, "m"))
            await watcher.until(clients, 10)
            fill_the_disk(service.process.pid)
            for worker in workers(home):
                fill_the_disk(worker)
            with pytest.raises(ServiceUnavailable, match=r"service\.db: .*(full|I/O)"):
                await create(clients, "n", retry=None)
            line = next(line for line in service.process.stderr if "waits for disk space" in line)
            assert "no space left on the disk" in json.loads(line)["reason"]
            await watcher.look(clients)
            assert not watcher.is_done
            make_room(service.process.pid)
            await watcher.until(clients, STEPS + 1)
            assert len(watcher.steps) == STEPS
            found = await clients.models.list_tuned_models(gl.ListTunedModelsRequest())
            assert [each.name async for each in found] == ["tunedModels/m"]

    with serving(home) as service:
        asyncio.run(go(service))
