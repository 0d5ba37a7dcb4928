"""What following many jobs costs the one who follows them.

    python benchmarks/orchestrator.py [--jobs 300] [--rounds 1] [--interval 1.0]

A stub service in its own process says when tunings end; each contestant is a process of its own. First the same
wait three ways, in turns: tuner's follower, a task each as google-api-core's AsyncOperation.result() does it, and
a thread each; late is the time from a tuning's end to the moment at which its end was heard of. Then the whole flow:
create, follow, evaluate 4 rows, grant, transfer, by one runner. Then 300 tunings of half a second, 20 at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES = Path(__file__).parent / "processes"
WAYS = {
    "tuner": "tuner's follower",
    "api_core": "google-api-core, a task each",
    "threads": "a thread each",
}
SHORT_JOBS, SHORT_S, MAX_PARALLEL = 300, 0.5, 20


class Service:
    """The stub, as those who measure see it."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address
        self._channel = grpc.insecure_channel(address)

    def reset(self, tunings: int = 0) -> None:
        """Begin anew with so many under way."""
        self._channel.unary_unary("/stub.Stub/Reset")(str(tunings).encode())

    def stats(self) -> dict[str, Any]:
        """What it was asked since, and when its tunings ended."""
        return json.loads(self._channel.unary_unary("/stub.Stub/Stats")(b""))


class Result(NamedTuple):
    """What one contestant cost, and how late it heard of each end."""

    cpu_s: float
    peak_mb: float
    requests: int
    late_s: list[float]


@contextlib.contextmanager
def service(*options: str) -> Iterator[Service]:
    command = [sys.executable, str(PROCESSES / "stub_service.py"), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        if not line.startswith("ready"):
            sys.exit(f"the stub ended with {process.wait()}: {line}")
        threading.Thread(target=process.stderr.read, daemon=True).start()  # it must not fill up
        try:
            yield Service(process, line.split()[1])
        finally:
            process.terminate()


def asked(program: str, *arguments: object) -> dict[str, Any]:
    """One line of JSON from a process of its own."""
    command = [sys.executable, str(PROCESSES / program), *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def result(told: dict[str, Any], stats: dict[str, Any]) -> Result:
    """Every end must have been heard of, and none before it came."""
    ends, heard = stats["ends"], told["answer"]
    late = sorted(heard[name] - end for name, end in ends.items() if name in heard)
    if heard.keys() != ends.keys() or late[0] < 0:
        sys.exit(f"of {len(ends)} ends {len(heard)} were heard of, the first {late[0]} s after it")
    return Result(told["cpu_s"], told["peak_mb"], sum(stats["calls"].values()), late)


def row(name: str, found: Result, base: float) -> str:
    late = [found.late_s[round(part * (len(found.late_s) - 1))] for part in (0.5, 0.95, 1)]
    cells = (f"{found.cpu_s:.2f}", f"{base / found.cpu_s:.1f}", f"{found.requests:,}")
    return " | ".join(
        (f"| {name}", *cells, *(f"{each:.2f}" for each in late), f"{found.peak_mb:.0f} |")
    )


def compare_waits(jobs: int, rounds: int, interval_s: float) -> None:
    found: dict[str, list[Result]] = {way: [] for way in WAYS}
    with service() as stub:
        for _ in range(rounds):
            for way, results in found.items():
                stub.reset(jobs)
                told = asked("follow.py", way, stub.address, jobs, interval_s)
                results.append(result(told, stub.stats()))
    print(f"\n{jobs:,} tunings that end within 20 s, looked at every {interval_s:g} s\n")
    print("| who waits | CPU s | against api-core | requests | late s: half | 95 % | all | MB |")
    print("|---|---|---|---|---|---|---|---|")
    middle = {
        way: sorted(each, key=lambda one: one.cpu_s)[rounds // 2] for way, each in found.items()
    }
    for way, name in WAYS.items():
        print(row(name, middle[way], middle["api_core"].cpu_s))


def whole_flow(jobs: int) -> None:
    with service() as stub:
        stub.reset()
        told = asked("orchestrate.py", "flow", stub.address, jobs)
        found = result(told, stub.stats())
    print(f"\nThe whole flow of {jobs:,} jobs by one runner")
    print(
        f"CPU a job: {1000 * found.cpu_s / jobs:.1f} ms, requests a job: {found.requests / jobs:.1f}"
    )
    print(f"late: half {statistics.median(found.late_s):.2f} s, all {found.late_s[-1]:.2f} s")
    print(f"peak: {found.peak_mb:.0f} MB")


def short_jobs() -> None:
    ideal_s = SHORT_JOBS * SHORT_S / MAX_PARALLEL
    with service("--each", str(SHORT_S)) as stub:
        stub.reset()
        told = asked("orchestrate.py", "pipeline", stub.address, SHORT_JOBS, MAX_PARALLEL)
        most = stub.stats()["most"]
    wall_s = told["answer"]["wall_s"]
    print(f"\n{SHORT_JOBS} tunings of {SHORT_S} s, max_parallel {MAX_PARALLEL}")
    print(f"{wall_s:.1f} s, {wall_s / ideal_s:.2f} of the ideal {ideal_s} s")
    print(
        f"at most {most} at a time, as the service counts; CPU a job: {1000 * told['cpu_s'] / SHORT_JOBS:.1f} ms"
    )
    if most > MAX_PARALLEL:
        sys.exit("that is more than was allowed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks")
    chosen = parser.parse_args()
    compare_waits(chosen.jobs, chosen.rounds, chosen.interval)
    whole_flow(chosen.jobs)
    short_jobs()
