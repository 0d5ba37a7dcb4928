"""What answering costs the service: idle, with a tuning and a generation running, and beside bare handlers.

    python benchmarks/service.py [--model smollm2-135m-instruct] [--calls 2000] [--rounds 5]

CPU: what the kernel charges the serving process for a GetOperation, beside a grpc.aio handler and an ASGI
application that return the same bytes and do nothing else. Creates: 4 MB of examples through both doors.
Both in turns, so that a busy machine is busy for all. Latency: GetOperation from a process of its own, one
call after the other, first of the idle service, then while it tunes and a model writes without end.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from google.longrunning import operations_pb2
from google.protobuf import json_format

from tuner.home import models_folder
from tuner.server.messages import PACKAGE, raw

if TYPE_CHECKING:
    from collections.abc import Iterator

GET, WAIT = (f"/google.longrunning.Operations/{name}Operation" for name in ("Get", "Wait"))
CREATE, DELETE = (f"/{PACKAGE}.ModelService/{name}TunedModel" for name in ("Create", "Delete"))
STREAM = f"/{PACKAGE}.GenerativeService/StreamGenerateContent"
LARGE = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
CREATE_BYTES = 4_000_000
DOORS = ("grpc", "rest")
PROCESSES = Path(__file__).parent / "processes"


class Serving:
    """A process that answers; ``addresses`` are those of its doors."""

    def __init__(self, process: subprocess.Popen[str], addresses: dict[str, str]) -> None:
        self.process, self.addresses = process, addresses
        if "grpc" in addresses:
            self.channel = grpc.insecure_channel(addresses["grpc"], LARGE)

    @property
    def cpu_s(self) -> float:
        """What the kernel charged all its threads."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / 1e9

    def call(self, method: str, request: object) -> bytes:
        """Over gRPC."""
        return self.channel.unary_unary(method)(request.SerializeToString())

    def fetch(self, path: str, method: str = "GET", body: bytes | None = None) -> bytes:
        """Over REST."""
        with contextlib.closing(http.client.HTTPConnection(self.addresses["rest"])) as link:
            link.request(method, path, body, {"content-type": "application/json"})
            answer = link.getresponse()
            content = answer.read()
        if answer.status != http.HTTPStatus.OK:
            sys.exit(f"{method} {path}: {answer.status} {content.decode()}")
        return content


@contextlib.contextmanager
def service(home: Path) -> Iterator[Serving]:
    """`tuner serve` over the tiny model and those that are fetched already."""
    models_folder().mkdir(parents=True, exist_ok=True)
    (home / "models").symlink_to(models_folder())
    words = ["--grpc", "127.0.0.1:0", "--rest", "127.0.0.1:0", "--log-level", "warning"]
    models = ["--base-model", "tiny=builtin:tiny", "--home", str(home)]
    command = [sys.executable, "-m", "tuner", "serve", *words, *models]
    with started(command, "  stop") as (process, _):
        addresses = json.loads((home / "service" / "address.json").read_text())
        yield Serving(process, addresses)


@contextlib.contextmanager
def started(command: list[str], sign: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process, and the line on stderr that begins with ``sign`` and tells that it is ready."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        ready = next((line for line in process.stderr if line.startswith(sign)), None)
        if ready is None:
            sys.exit(f"{' '.join(command)} ended with {process.wait()}")
        threading.Thread(target=process.stderr.read, daemon=True).start()  # it must not fill up
        try:
            yield process, ready
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def bare(door: str, body: bytes, folder: Path) -> Iterator[Serving]:
    (folder / door).write_bytes(body)
    command = [sys.executable, str(PROCESSES / "bare.py"), door, str(folder / door)]
    with started(command, "ready") as (process, line):
        yield Serving(process, {door: line.split()[1]})


def timed(work: object) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def polled(door: str, serving: Serving, name: str, calls: int) -> list[float]:
    """Seconds a call, one after the other, asked from a process of its own."""
    command = [
        sys.executable,
        str(PROCESSES / "poll.py"),
        door,
        serving.addresses[door],
        name,
        str(calls),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


# What is compared.


def finished_tuning(serving: Serving) -> str:
    """The operation of a tiny tuning of 100 steps that is done."""
    rows = [(str(number), str(number + 1)) for number in range(16)]
    serving.call(CREATE, new_model("finished", "tiny", rows, epochs=25))
    return ended(serving, "finished")


def new_model(model_id: str, base: str, rows: list[tuple[str, str]], epochs: int) -> object:
    examples = [{"text_input": one, "output": other} for one, other in rows]
    task = {
        "hyperparameters": {"epoch_count": epochs, "batch_size": 4},
        "training_data": {"examples": {"examples": examples}},
    }
    model = {"base_model": f"models/{base}", "tuning_task": task}
    return raw("CreateTunedModelRequest")(tuned_model_id=model_id, tuned_model=model)


def operation_of(serving: Serving, model_id: str) -> operations_pb2.Operation:
    asked = operations_pb2.ListOperationsRequest(name=f"tunedModels/{model_id}/operations")
    answer = serving.call("/google.longrunning.Operations/ListOperations", asked)
    return operations_pb2.ListOperationsResponse.FromString(answer).operations[0]


def ended(serving: Serving, model_id: str) -> str:
    name = operation_of(serving, model_id).name
    while not operation_of(serving, model_id).done:
        serving.call(WAIT, operations_pb2.WaitOperationRequest(name=name, timeout={"seconds": 1}))
    return name


def compare_cpu(serving: Serving, name: str, options: argparse.Namespace, folder: Path) -> None:
    """Microseconds of CPU a call, ours and the bare handlers', in turns."""
    request = operations_pb2.GetOperationRequest(name=name)
    bodies = {"grpc": serving.call(GET, request), "rest": serving.fetch(f"/v1beta/{name}")}
    parsed = json_format.Parse(bodies["rest"], operations_pb2.Operation())
    if parsed != operations_pb2.Operation.FromString(bodies["grpc"]):
        sys.exit("the doors answer differently")
    print(f"CPU of a GetOperation, {len(bodies['grpc'])} bytes of protobuf")
    for door in DOORS:
        with bare(door, bodies[door], folder) as plain:
            costs = {"tuner": [], "bare": []}
            for _ in range(options.rounds + 1):
                for who, each in (("tuner", serving), ("bare", plain)):
                    costs[who].append(cpu_us(door, each, name, options.calls))
        tuner, plain_us = (statistics.median(each[1:]) for each in costs.values())
        ratio = tuner / plain_us
        print(f"  {door}  tuner {tuner:5.0f} us   bare {plain_us:5.0f} us   ratio {ratio:.2f}")


def cpu_us(door: str, serving: Serving, name: str, calls: int) -> float:
    before = serving.cpu_s
    polled(door, serving, name, calls)
    return (serving.cpu_s - before) / calls * 1e6


def compare_creates(serving: Serving, rounds: int) -> None:
    """Seconds of a create of 4 MB, through one door and the other."""
    text = "What does this customer want? " * 8
    rows = [(f"{text} {number}", "a refund") for number in range(CREATE_BYTES // (len(text) + 20))]
    seconds = {door: [] for door in DOORS}
    for number in range(rounds):
        for door in DOORS:
            request = new_model(f"big-{number}-{door}", "tiny", rows, epochs=1)
            seconds[door].append(create_s(serving, door, request))
            name = f"tunedModels/{request.tuned_model_id}"
            serving.call(DELETE, raw("DeleteTunedModelRequest")(name=name))
    over_grpc, over_rest = (statistics.median(each) for each in seconds.values())
    print(f"Create of {request.ByteSize() / 1e6:.1f} MB, {len(rows)} examples")
    print(f"  grpc {over_grpc * 1000:4.0f} ms   rest {over_rest * 1000:4.0f} ms   ", end="")
    print(f"ratio {over_rest / over_grpc:.2f}")


def create_s(serving: Serving, door: str, request: object) -> float:
    if door == "grpc":
        return timed(lambda: serving.call(CREATE, request))
    body = json_format.MessageToJson(request.tuned_model, indent=None).encode()
    path = f"/v1beta/tunedModels?tunedModelId={request.tuned_model_id}"
    return timed(lambda: serving.fetch(path, "POST", body))


def compare_latency(serving: Serving, name: str, options: argparse.Namespace) -> None:
    """GetOperation of the idle service, and of one that tunes and writes."""
    idle = {door: polled(door, serving, name, options.calls) for door in DOORS}
    with busy(serving, options.model) as tuned:
        loaded = {door: polled(door, serving, tuned, options.calls) for door in DOORS}
    print(f"GetOperation, one call after the other, {os.cpu_count()} processors")
    for door in DOORS:
        for state, found in (
            ("idle", idle[door]),
            (f"tuning and writing {options.model}", loaded[door]),
        ):
            p50, p99 = (1000 * statistics.quantiles(found, n=100)[each] for each in (49, 98))
            rate = len(found) / sum(found)
            print(f"  {door}  {rate:6.0f}/s   p50 {p50:5.2f} ms   p99 {p99:6.2f} ms   {state}")


@contextlib.contextmanager
def busy(serving: Serving, model: str) -> Iterator[str]:
    """A tuning that goes on, by its operation, and an answer that never ends."""
    rows = [(f"Is {number} greater than {number // 2}? " * 4, "yes") for number in range(400)]
    serving.call(CREATE, new_model("busy", model, rows, epochs=100))
    over = threading.Event()
    writer = threading.Thread(target=write_on, args=(serving, model, over))
    writer.start()
    operation = operation_of(serving, "busy")
    while not raw("CreateTunedModelMetadata").FromString(operation.metadata.value).snapshots:
        asked = operations_pb2.WaitOperationRequest(name=operation.name, timeout={"seconds": 1})
        operation = operations_pb2.Operation.FromString(serving.call(WAIT, asked))
    try:
        yield operation.name
    finally:
        over.set()
        writer.join()
        serving.call(DELETE, raw("DeleteTunedModelRequest")(name="tunedModels/busy"))


def write_on(serving: Serving, model: str, over: threading.Event) -> None:
    contents = [{"role": "user", "parts": [{"text": "Tell a very long story."}]}]
    config = {"max_output_tokens": 512}
    request = raw("GenerateContentRequest")(
        model=f"models/{model}", contents=contents, generation_config=config
    )
    while not over.is_set():
        answer = serving.channel.unary_stream(STREAM)(request.SerializeToString())
        for _ in answer:
            if over.is_set():
                answer.cancel()
                return


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words.add_argument("--model", default="smollm2-135m-instruct", help="what tunes and writes")
    words.add_argument("--calls", type=int, default=2000, help="in every measurement")
    words.add_argument("--rounds", type=int, default=5, help="of CPU and of creates")
    options = words.parse_args()
    with tempfile.TemporaryDirectory() as folder, service(Path(folder)) as serving:
        name = finished_tuning(serving)
        compare_cpu(serving, name, options, Path(folder))
        compare_creates(serving, options.rounds)
        compare_latency(serving, name, options)


if __name__ == "__main__":
    main()
