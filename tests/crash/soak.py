"""``python -m tests.crash.soak --seeds 10000``: the simulator on all cores; the first bad seed is told."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

AT_ONCE = 100


def go_through(first: int, last: int) -> str:
    """Some seeds in a process of their own; the story of the first bad one, empty when all are good."""
    command = [sys.executable, "-m", "tests.crash.simulator", str(first), str(last)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return done.stdout or f"seeds {first} to {last}: {done.stderr}"


def main() -> None:
    """Every seed; exit code 1 when one is bad."""
    given = argparse.ArgumentParser()
    given.add_argument("--seeds", type=int, default=10_000)
    given.add_argument("--from", type=int, default=0, dest="first")
    asked = given.parse_args()
    starts = range(asked.first, asked.first + asked.seeds, AT_ONCE)
    end, began = asked.first + asked.seeds, time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as cores:
        told = cores.map(lambda first: go_through(first, min(first + AT_ONCE, end)), starts)
        for start, story in zip(starts, told, strict=True):
            if story:
                cores.shutdown(wait=False, cancel_futures=True)
                sys.exit(story)
            seconds = time.monotonic() - began
            sys.stdout.write(f"{min(start + AT_ONCE, end)} seeds, {seconds:.0f} s\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
