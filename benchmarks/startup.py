"""How long a light command takes, against importing click alone and against others' CLIs.

    python benchmarks/startup.py [--rounds 15]

Every round runs each command once, in turn, so that a noisy moment hits them all; the fastest round
counts, since noise only ever adds. Others are measured when they are on the PATH.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = 500
OTHERS = ("together", "dvc", "prefect")
ENV = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
"""An installed tuner has its bytecode; a checkout may keep what the warm-up wrote."""
SPEC = """\
job: startup
base_model: models/smollm2-135m-instruct
training_data: {path: rows.csv, text_input: text, output: label}
evaluation: {holdout: 0.1}
permissions: [{role: READER, email_address: ana@example.com}]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        compare(_commands(Path(folder)), rounds)


def compare(commands: dict[str, list[str]], rounds: int) -> dict[str, float]:
    """Print the best time of each, and return how many times the first command's it is."""
    for command in commands.values():
        _seconds(command)  # the first run writes bytecode and fills the disk cache
    times = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(_seconds(command))
    best = {name: min(measured) for name, measured in times.items()}
    first = next(iter(best))
    print(f"\n{'command':38} {'best ms':>8} {'x':>6}")
    for name, seconds in best.items():
        print(f"{name:38} {1000 * seconds:8.0f} {seconds / best[first]:6.2f}")
    return {name: seconds / best[first] for name, seconds in best.items()}


def light_commands(folder: Path) -> dict[str, list[str]]:
    """Validating, and importing what it cannot do without."""
    imports = "import click, yaml, csv"
    return {
        f"python -c '{imports}'": [sys.executable, "-c", imports],
        f"tuner validate ({ROWS} rows)": [
            sys.executable,
            "-m",
            "tuner",
            "validate",
            str(_spec(folder)),
        ],
    }


def _commands(folder: Path) -> dict[str, list[str]]:
    tuner = [sys.executable, "-m", "tuner"]
    return {
        "python -c 'import click'": [sys.executable, "-c", "import click"],
        **light_commands(folder),
        "tuner --help": [*tuner, "--help"],
        "tuner status": [*tuner, "status"],
        **{f"{name} --help": [name, "--help"] for name in OTHERS if shutil.which(name)},
    }


def _spec(folder: Path) -> Path:
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(
            [f"row {n}: a sentence of about the usual length, {n * n}", f"label {n % 7}"]
            for n in range(ROWS)
        )
    spec = folder / "startup.yaml"
    spec.write_text(SPEC)
    return spec


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, env=ENV)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
