"""What checking and encoding examples costs, compared with the obvious alternatives.

    python benchmarks/data.py [request check near validate] [--mib 64] [--near-rows 100000] [--rounds 1]

    request   a CSV file to the bytes of CreateTunedModelRequest: ours checked, the others' not
    check     the same findings about repetitions, conflicts, leaks and lengths as a pydantic model a row
    near      nearly the same rows, with what was missed and wrongly reported, against datasketch
    validate  `tuner validate` of 500 rows against importing click, yaml and csv

Every contestant is a process, in its own environment where it needs one (.venvs/). They run one after
the other; of several rounds the least CPU counts, imports left out, and the peak of memory with them.
Answers are compared before costs are: a difference ends the run. Aims are printed with what was measured.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import startup
from examples import labelled, made

ROOT = Path(__file__).parents[1]
PROCESSES = Path(__file__).parent / "processes"
REQUIREMENTS = Path(__file__).parent / "requirements"

sys.path.insert(0, str(ROOT))

from tests.sdk.environments import python  # noqa: E402 -- it stands in no package that is installed

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(sys.executable)
SEED = 4
NEAR_RECALL, NEAR_PRECISION = 0.994, 0.986


def main() -> None:
    parts: dict[str, Callable[[argparse.Namespace, Path], None]] = {
        "request": request,
        "check": check,
        "near": near,
        "validate": validate,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(parts))
    parser.add_argument("--mib", type=int, default=64, help="size of the CSV file")
    parser.add_argument("--near-rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            parts[part](options, Path(folder))


def request(options: argparse.Namespace, folder: Path) -> None:
    path = folder / "rows.csv"
    rows = made.write(path, made.rows(SEED), options.mib)
    contestants = {
        "tuner, checked": [HERE, "quick", path],
        "tuner, near-duplicates too": [HERE, "ours", path],
        "google-generativeai 0.8.6": [python("legacy"), "legacy", path],
        "proto-plus": [HERE, "proto_plus", path],
        "google-genai, pydantic": [python("genai"), "genai", path],
    }
    results = run("data_request.py", contestants, options.rounds)
    same("examples", {name: each["answer"] for name, each in results.items()})
    show(f"{options.mib} MiB of CSV ({rows:,} rows) to the bytes of a request", results)
    ours, theirs = results["tuner, checked"], results["google-generativeai 0.8.6"]
    aim("CPU of google-generativeai", ours["cpu_s"] / theirs["cpu_s"], at_most=1)
    aim("memory of google-generativeai", ours["peak_mb"] / theirs["peak_mb"], at_most=0.5)


def check(options: argparse.Namespace, folder: Path) -> None:
    train, held = folder / "rows.csv", folder / "held.csv"
    rows = made.write(train, made.faulty(SEED), options.mib)
    made.write(held, made.held_out(SEED, rows // 20))
    contestants = {
        "tuner": [HERE, "ours", train, held],
        "a pydantic model a row": [HERE, "pydantic", train, held],
        "tuner, all rules but near": [HERE, "far_rules", train, held],
        "tuner, every rule": [HERE, "every_rule", train, held],
    }
    results = run("data_check.py", contestants, options.rounds)
    same("findings", {name: each["answer"] for name, each in results.items()})
    count = len(results["tuner"]["answer"])
    show(f"{options.mib} MiB of CSV ({rows:,} rows) checked, {count:,} findings", results)


def near(options: argparse.Namespace, folder: Path) -> None:
    path = folder / "texts.json"
    texts = labelled.make(options.near_rows)
    path.write_text(json.dumps(texts.texts))
    theirs = python("datasketch", REQUIREMENTS)
    contestants = {"tuner": [HERE, "ours", path], "datasketch 2.0": [theirs, "datasketch", path]}
    results = run("data_near.py", contestants, options.rounds)
    show(f"nearly the same among {len(texts.texts):,} rows", results)
    for name, result in results.items():
        recall, precision, faults = labelled.judged(texts, result["answer"])
        print(f"  {name:28} recall {recall:.4f}, precision {precision:.4f}")
        for fault, count in faults.most_common():
            print(f"      {count:5} {fault}")
    recall, precision, _ = labelled.judged(texts, results["tuner"]["answer"])
    aim("recall", recall, at_least=NEAR_RECALL)
    aim("precision", precision, at_least=NEAR_PRECISION)


def validate(options: argparse.Namespace, folder: Path) -> None:
    ratios = startup.compare(startup.light_commands(folder), 5 * options.rounds)
    aim("imports", [*ratios.values()][-1], at_most=5)


def run(script: str, contestants: dict[str, list[Any]], rounds: int) -> dict[str, dict[str, Any]]:
    """Every contestant once a round, in turn; the least CPU and the least memory of each."""
    results: dict[str, dict[str, Any]] = {}
    for _ in range(rounds):
        for name, (interpreter, *arguments) in contestants.items():
            command = [interpreter, "-W", "ignore", PROCESSES / script, *arguments]
            done = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE)
            result = json.loads(done.stdout)
            best = results.setdefault(name, result)
            if result["answer"] != best["answer"]:
                sys.exit(f"{name} answers differently each time")
            for cost in ("cpu_s", "peak_mb"):
                best[cost] = min(best[cost], result[cost])
    return results


def same(what: str, answers: dict[str, Any]) -> None:
    """End when they are not."""
    first = next(iter(answers.values()))
    different = [name for name, answer in answers.items() if answer != first]
    if different:
        sys.exit(
            f"the {what} of {', '.join(different)} are others than those of {next(iter(answers))}"
        )


def aim(
    what: str, measured: float, *, at_most: float = math.inf, at_least: float = -math.inf
) -> None:
    """Print a ratio, or a share, and whether it is where it should be."""
    wanted = f"at most {at_most}" if at_most < math.inf else f"at least {at_least}"
    verdict = "met" if at_least <= measured <= at_most else "MISSED"
    print(f"  {what}: {measured:.3f}, aim {wanted}: {verdict}")


def show(title: str, results: dict[str, dict[str, Any]]) -> None:
    """Ratios are to the first."""
    first = next(iter(results.values()))
    print(f"\n{title}\n  {'':28} {'CPU s':>8} {'x':>6} {'MB':>7} {'x':>6}")
    for name, each in results.items():
        cpu, peak = each["cpu_s"], each["peak_mb"]
        ratios = cpu / first["cpu_s"], peak / first["peak_mb"]
        print(f"  {name:28} {cpu:8.2f} {ratios[0]:6.1f} {peak:7.0f} {ratios[1]:6.1f}")


if __name__ == "__main__":
    main()
