"""Many jobs by one runner: python orchestrate.py flow|pipeline ADDRESS JOBS [MAX_PARALLEL]."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from meter import measured, tell

from tuner.events.events import Event, EventKind
from tuner.jobs.runner import Runner, Timing, find_or_create_job
from tuner.jobs.store import Store
from tuner.jobspec.prepared_job import PreparedJob
from tuner.jobspec.schema import EvaluationSpec, GateSpec, JobSpec, TrainingData
from tuner.pipelines.model import Grouping, Pipeline, Stage
from tuner.pipelines.run import run_pipeline
from tuner.types import Example, Grant, Phase, Role, TargetConfig

ROWS = [Example(f"question {number}", f"answer {number}", number + 2) for number in range(12)]
GATE = EvaluationSpec(holdout=0.3, require=GateSpec(at_least=0.5, better_than_base=True))


def works(address: str, count: int, home: Path, *, whole: bool) -> list[PreparedJob]:
    """Jobs that differ in one example each; the whole flow has a gate, a grant and a transfer."""
    grants = (Grant(Role.READER, email_address="ana@example.com"),) if whole else ()
    return [
        PreparedJob(
            JobSpec(
                job=f"job-{number}",
                training_data=TrainingData((home / "rows.csv",)),
                base_model="models/tiny",
                target=TargetConfig("local", endpoint=address),
                evaluation=GATE if whole else None,
                grants=grants,
                transfer_ownership="lead@example.com" if whole else "",
                path=home / f"job-{number}.yaml",
            ),
            (*ROWS[:7], Example("number", str(number), 9)),
            tuple(ROWS[8:]) if whole else (),
            (),
        )
        for number in range(count)
    ]


async def flow(given: list[PreparedJob], home: Path) -> dict[str, float]:
    """When each tuning's end was heard of."""
    heard = {}

    def note(event: Event) -> None:
        if event.kind is EventKind.TUNED:
            heard[event.job.operation] = time.monotonic()

    with Store(home / "ledger.sqlite", time.time) as ledger:
        async with Runner(ledger, note, Timing()) as session:
            outcomes = await asyncio.gather(
                *(session.follow(find_or_create_job(work, ledger), work) for work in given)
            )
    bad = [each for each in outcomes if each.job.phase is not Phase.DONE]
    if bad:
        sys.exit(f"{len(bad)} did not end well, among them {bad[0]}")
    return heard


async def pipeline(given: list[PreparedJob], home: Path, max_parallel: int) -> dict[str, float]:
    """How long it took, in seconds."""
    stages = tuple(Stage(w.spec.job, "", w, (), "", w.spec.job) for w in given)
    groupings = tuple(Grouping(stage.name, (stage.name,)) for stage in stages)
    whole = Pipeline("many", home / "many.yaml", stages, groupings, max_parallel, False, ())
    begun = time.monotonic()
    with Store(home / "ledger.sqlite", time.time) as ledger:
        async with Runner(ledger, lambda _: None, Timing()) as session:
            outcome = await run_pipeline(whole, session)
            wall_s = time.monotonic() - begun
    if outcome.exit_code:
        sys.exit(f"the pipeline ended with {outcome.exit_code}: {outcome.failure}")
    return {"wall_s": wall_s}


if __name__ == "__main__":
    what, address, count, *rest = sys.argv[1:]
    import_module("tuner.targets.local")  # otherwise loaded when it is opened
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        given = works(address, int(count), home, whole=what == "flow")
        if what == "flow":
            answer, costs = measured(lambda: asyncio.run(flow(given, home)))
        else:
            answer, costs = measured(lambda: asyncio.run(pipeline(given, home, int(rest[0]))))
    tell(costs, answer)
