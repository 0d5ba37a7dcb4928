"""kill -9 of the service, of its worker or of both, again and again: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from google.ai import generativelanguage_v1beta as gl
from google.longrunning import operations_pb2
from safetensors import safe_open

from tests.fakes import postgresql
from tests.sdk.process import google_clients, serving

pytestmark = pytest.mark.slow

EXAMPLES = [gl.TuningExample(text_input=str(n), output=str(n + 1)) for n in range(16)]
EPOCHS = 20
STEPS = EPOCHS * 4
OFTEN = ("--checkpoint-every", "0.1")
SEEDS = [int(seed) for seed in os.environ.get("TUNER_SEEDS", "1").split()]


class Watcher:
    """Somebody who polls one operation through every crash, and believes what was said once."""

    def __init__(self, operation):
        self.operation = operation
        self.kills = []
        self.steps = []
        self.is_done = False

    async def look(self, clients):
        request = operations_pb2.GetOperationRequest(name=self.operation)
        found = await clients.models.get_operation(request, timeout=10)
        metadata = gl.CreateTunedModelMetadata.deserialize(found.metadata.value)
        steps = [(each.step, each.mean_loss) for each in metadata.snapshots]
        assert steps[: len(self.steps)] == self.steps
        assert metadata.completed_steps == len(steps)
        assert found.done or not self.is_done
        assert not found.HasField("error"), found.error
        self.steps, self.is_done = steps, found.done

    async def until(self, clients, count):
        """Watch until so many steps are done, or all."""
        while len(self.steps) < count and not self.is_done:
            await clients.wait(self.operation, 50)
            await self.look(clients)


async def create(clients, model_id, **how):
    task = gl.TuningTask(
        hyperparameters=gl.Hyperparameters(epoch_count=EPOCHS, batch_size=4),
        training_data=gl.Dataset(examples=gl.TuningExamples(examples=EXAMPLES)),
    )
    operation = await clients.models.create_tuned_model(
        tuned_model=gl.TunedModel(base_model="models/tiny", tuning_task=task),
        tuned_model_id=model_id,
        **how,
    )
    return operation.operation.name


async def share(clients, model, email):
    permission = gl.Permission(grantee_type="USER", email_address=email, role="READER")
    await clients.permissions.create_permission(parent=model, permission=permission)


async def shared_with(clients, model):
    request = gl.ListPermissionsRequest(parent=model, page_size=99)
    found = await clients.permissions.list_permissions(request)
    return {each.email_address async for each in found}


def checkpoint(home):
    """The step that the only tuning of this home would go on from."""
    for file in (home / "service").glob("tunings*/*/checkpoint.safetensors"):
        with safe_open(file, "np") as opened:
            return json.loads(opened.metadata()["about"])["step"]
    return 0


def assert_nothing_done_twice(home, kills):
    """What a checkpoint held at a kill was not computed again: its worker's record of it is older."""
    (record,) = (home / "service").glob("tunings*/*/steps.jsonl")
    times = [json.loads(line)["compute_time"] for line in record.read_text().splitlines()]
    assert any(0 < step < STEPS for step, _ in kills)
    assert all(max(times[:step], default=0) < killed for step, killed in kills)


def kill(service, what):
    """The worker first: it would save a checkpoint at the end of its service. A frozen one cannot."""
    if what != "service":
        signal_workers(service.home, signal.SIGSTOP if what == "frozen" else signal.SIGKILL)
    if what != "worker":
        service.kill()


def signal_workers(home, number):
    for worker in workers(home):
        with suppress(ProcessLookupError):
            os.kill(worker, number)


def workers(home):
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (folder / "cmdline").read_text()
            if "tuner.engine.worker" in command and str(home) in command:
                yield int(folder.name)


def adapters(home):
    """What came out of each tuning of this home."""
    files = (home / "service").glob("tunings*/*/adapter/adapter_model.safetensors")
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def place(request, kind):
    if kind == "sqlite":
        return OFTEN
    return *OFTEN, "--database", postgresql.new_database(request.getfixturevalue("postgres"))


async def begin(service):
    async with google_clients(service.address) as clients:
        watcher = Watcher(await create(clients, "m"))
        kill(service, "service")
        return watcher


async def live(service, watcher, chance, acknowledged, how):
    """One life of a service: look, work, and die in the middle of it."""
    async with google_clients(service.address) as clients:
        await watcher.look(clients)
        assert await shared_with(clients, "tunedModels/m") >= acknowledged
        signal_workers(service.home, signal.SIGCONT)  # one thought dead wakes up beside the new one
        await watcher.until(clients, len(watcher.steps) + chance.choice([0, 1, 10, 30]))
        email = f"{len(acknowledged)}@example.com"
        await share(clients, "tunedModels/m", email)
        acknowledged.add(email)
        watcher.kills.append((checkpoint(service.home), time.time()))
        kill(service, how)


async def end(service, watcher, acknowledged):
    """Lose a worker, see the end, and tune the same once more without any trouble."""
    async with google_clients(service.address) as clients:
        signal_workers(service.home, signal.SIGCONT)
        await watcher.until(clients, len(watcher.steps) + 5)
        watcher.kills.append((checkpoint(service.home), time.time()))
        kill(service, "worker")
        await watcher.until(clients, STEPS + 1)
        assert_nothing_done_twice(service.home, watcher.kills)
        assert await shared_with(clients, "tunedModels/m") > acknowledged
        await Watcher(await create(clients, "unkilled")).until(clients, STEPS + 1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("kind", "lives"), [("sqlite", 2), ("postgresql", 1)])
def test_a_service_killed_again_and_again_loses_nothing_and_tunes_the_same_weights(
    tmp_path, request, kind, lives, seed
):
    home, chance, acknowledged = tmp_path / "home", random.Random(seed), set()
    options = place(request, kind)
    with serving(home, *options) as service:
        watcher = asyncio.run(begin(service))
    for how in chance.sample(["service", "both", "frozen"], lives):
        with serving(home, *options) as service:
            asyncio.run(live(service, watcher, chance, acknowledged, how))
    with serving(home, *options) as service:
        asyncio.run(end(service, watcher, acknowledged))
    assert [step for step, _ in watcher.steps] == list(range(1, STEPS + 1))
    killed, unkilled = adapters(home)
    assert killed == unkilled
