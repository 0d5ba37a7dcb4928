"""Throw requests by chance at a service of its own, over gRPC and REST, and tell what broke.

    python -m tests.fuzz --minutes 10 [--seed 7] [--only NUMBER]

A request depends on the seed and its number alone: ``--only`` sends one again.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.fuzz import run
from tests.sdk.process import serving


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words.add_argument("--minutes", type=float, default=10)
    words.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    words.add_argument("--only", type=int, help="the number of a request")
    options = words.parse_args()
    seconds = 0.001 if options.only is not None else options.minutes * 60
    sys.stdout.write(f"seed {options.seed}\n")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "home") as service:
        log = run.follow(service.process.stderr)
        outcome = asyncio.run(run.fuzz(service, options.seed, seconds, options.only or 0))
        died = service.process.poll()
    sys.stdout.write("\n".join([run.summary(outcome), *log, ""]))
    grew = outcome.growth > run.SLACK_BYTES
    sys.exit(1 if outcome.found or log or grew or died is not None else 0)


if __name__ == "__main__":
    main()
