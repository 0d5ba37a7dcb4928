"""A killed service, a killed worker and a second service: one tuning, every step once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest
from google.ai import generativelanguage_v1beta as gl
from google.longrunning import operations_pb2

from tests.sdk.process import google_clients, serving, tuner

pytestmark = pytest.mark.slow
STEPS = 120
EXAMPLES = [gl.TuningExample(text_input=str(n), output=str(n + 1)) for n in range(16)]


async def start(clients, model_id):
    task = gl.TuningTask(
        hyperparameters=gl.Hyperparameters(epoch_count=STEPS // 4, batch_size=4),
        training_data=gl.Dataset(examples=gl.TuningExamples(examples=EXAMPLES)),
    )
    operation = await clients.models.create_tuned_model(
        tuned_model=gl.TunedModel(base_model="models/tiny", tuning_task=task),
        tuned_model_id=model_id,
    )
    return operation.operation.name


async def progress(clients, name):
    request = operations_pb2.GetOperationRequest(name=name)
    operation = await clients.models.get_operation(request)
    metadata = gl.CreateTunedModelMetadata.deserialize(operation.metadata.value)
    return operation, [(each.step, each.mean_loss) for each in metadata.snapshots]


async def until(clients, name, is_so):
    while True:
        operation, steps = await progress(clients, name)
        if is_so(operation, steps):
            return operation, steps
        await clients.wait(name, 100)


async def start_and_see_it_tune(address, model_id):
    async with google_clients(address) as clients:
        name = await start(clients, model_id)
        _, steps = await until(clients, name, lambda _, steps: len(steps) >= 20)
        assert len(steps) < STEPS
        return name, steps


async def finish(address, name):
    async with google_clients(address) as clients:
        operation, steps = await until(clients, name, lambda operation, _: operation.done)
        assert operation.HasField("response"), operation.error
        return steps


def workers(server):
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, command = (folder / "stat").read_text(), (folder / "cmdline").read_text()
        except OSError:
            continue
        if stat.rpartition(")")[2].split()[1] == str(server) and "tuner.engine.worker" in command:
            yield int(folder.name)


def test_a_killed_service_goes_on_with_its_tuning_and_loses_no_step(tmp_path):
    home = tmp_path / "home"
    with serving(home) as service:
        name, seen = asyncio.run(start_and_see_it_tune(service.address, "killed"))
        service.kill()
    with serving(home) as service:
        steps = asyncio.run(finish(service.address, name))
    assert steps[: len(seen)] == seen
    assert [step for step, _ in steps] == list(range(1, STEPS + 1))


def test_a_killed_worker_is_replaced_and_the_tuning_ends_well(tmp_path):
    with serving(tmp_path / "home") as service:
        name, seen = asyncio.run(start_and_see_it_tune(service.address, "m"))
        (worker,) = workers(service.process.pid)
        os.kill(worker, signal.SIGKILL)
        steps = asyncio.run(finish(service.address, name))
    assert steps[: len(seen)] == seen
    assert [step for step, _ in steps] == list(range(1, STEPS + 1))


def test_a_second_service_on_the_same_home_is_refused_and_says_who_holds_it(tmp_path):
    home = tmp_path / "home"
    with serving(home) as service:
        second = subprocess.run(
            tuner(home, "serve", "--grpc", "127.0.0.1:0", "--rest", "off"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 5
        assert f"process {service.process.pid} holds it" in second.stderr
        assert service.address in second.stderr


def test_stop_ends_the_service_and_takes_its_address_away(tmp_path):
    home = tmp_path / "home"
    with serving(home) as service:
        subprocess.run(tuner(home, "serve", "--stop"), check=True)
        assert service.process.wait() == 0
        assert not (home / "service" / "address.json").exists()


def test_a_service_nobody_needs_leaves_by_itself(tmp_path):
    with serving(tmp_path / "home", "--idle-exit", "0.5") as service:
        assert service.process.wait(timeout=60) == 0
