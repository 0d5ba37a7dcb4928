"""A whole run by one seed: clock, faults, kills, stops, a lost ledger, two runners, and other people.

``python -m tests.crash.simulator 4711`` tells the story of a seed, ``... 0 300`` goes through many and
tells the first that goes wrong. Seconds pass when everybody waits.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from tests.crash import guards, overruled, stories
from tests.crash.lives import MEMORY, prepare
from tests.crash.mortal import Mortal, MortalLoop
from tests.crash.storm import CALM, Storm, Weather
from tests.fakes import clock
from tuner import targets
from tuner.errors import TunerError
from tuner.evaluation import answering
from tuner.events.events import Event, EventKind
from tuner.jobs.runner import Runner, Timing, find_or_create_job
from tuner.jobs.store import Store
from tuner.pipelines.run import run_pipeline

STORMY_LIVES = 6
LONGEST_S = 20_000.0
TOLD = (
    EventKind.DELETION_SKIPPED,
    EventKind.WATCHING,
    EventKind.TAKEN_OVER,
    EventKind.NOTIFICATION_FAILED,
    EventKind.SKIPPED,
)
YEAR_S = 365 * 86400.0


class Trace(NamedTuple):
    """What came of a seed; ``wrong`` is empty when all is as it must be."""

    seed: int
    story: stories.Story
    wrong: list[str]
    history: list[str]
    effects: Counter[tuple[str, ...]]
    told: set[str]
    losses: int
    end: tuple[int, list[str]]


class Life(Mortal):
    """A runner, from its start to its end or to its death."""

    def __init__(self, storm: Storm, folder: Path) -> None:
        super().__init__()
        self.storm, self.folder = storm, folder
        self.kept: list[Any] = []

    async def run(self) -> tuple[int, list[str]]:
        """Its exit code, and the phases of all jobs of the ledger."""
        story, storm = self.storm.story, self.storm
        ledger = Store(self.folder / "ledger.db", self._wall, storm.moment)
        session = Runner(
            ledger, self._hear, Timing(now=clock.now, sleep=asyncio.sleep), send=self._send
        )
        self.kept += [ledger, session]
        async with session:
            storm.runners[self] = session.locks
            if story.pipeline:
                asked = {"retry": story.retry, "force": story.force}
                code = (await run_pipeline(story.pipeline, session, **asked)).exit_code
            else:
                code = await self._jobs(session, story)
        jobs = [bookmark.job for bookmark in ledger.jobs()]
        storm.wrong += overruled.unsigned(story, jobs)
        phases = sorted(job.phase.value for job in jobs)
        ledger.close()
        return code, phases

    async def _jobs(self, session: Runner, story: stories.Story) -> int:
        jobs = [(find_or_create_job(work, session.store), work) for work in story.works]
        forced = [(replace(job, force=story.force), work) for job, work in jobs]
        ended = await asyncio.gather(*(session.follow(job, work) for job, work in forced))
        return max(each.failure.exit_code if each.failure else 0 for each in ended)

    def _wall(self) -> float:
        """A clock on a wall: somebody sets it, by hours, both ways."""
        return 1.8e9 + clock.now() + self.storm.chance.uniform(-YEAR_S, YEAR_S)

    def _hear(self, event: Event) -> None:
        if event.kind is EventKind.CHANGING:
            heard = self.storm.intended.setdefault(self, {})
            heard[event["action"], event.job.tuned_model] = event["why"]
        elif event.kind in TOLD:
            words = str(event).replace(f"process {os.getpid()} ", "a process ")
            self.storm.history.append(f"  {event.job.tuned_model} {words}")

    async def _send(self, _sink: object, notice: Any) -> None:
        await self.storm.post(notice.id)


def simulate(seed: int, weather: Weather | None = None) -> Trace:
    """One seed's story, and whether its end is that of an undisturbed run."""
    plain = _told(seed, None)
    trace = _told(seed, weather or Weather())
    return trace._replace(wrong=[*plain.wrong, *trace.wrong, *_differences(plain, trace)])


def _told(seed: int, weather: Weather | None) -> Trace:
    chance = random.Random(seed)
    random.seed(seed)
    story = stories.draw(chance)
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    storm = Storm(story if weather else story.plain, chance, folder / "ledger.db")
    for file in ("capitals.yaml", "pipe.yaml"):
        (folder / file).write_text("jobs: {}\n")
    loop, end = MortalLoop(), (-1, [])
    loop.set_exception_handler(lambda *_: None)
    try:
        with chdir(folder):  # where the files are
            end = loop.run_until_complete(_lives(storm, folder, weather))
        storm.wrong += overruled.unaudited(storm, folder / "logs" / "audit.jsonl")
    except RuntimeError as error:
        storm.wrong.append(f"{error}")
    finally:
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False
            _NEVER_CLOSED.append(task)
        loop.close()
        shutil.rmtree(folder)
    wrong = [*storm.wrong, *_untrue(storm, end)]
    return Trace(
        seed,
        story,
        wrong,
        storm.history,
        Counter(storm.ours),
        set(storm.service.told),
        storm.losses,
        end,
    )


_NEVER_CLOSED: list[object] = []
"""A process that is killed says no last words, and so must not the tasks that stand for it."""


async def _lives(storm: Storm, folder: Path, weather: Weather | None) -> tuple[int, list[str]]:
    """Runners side by side, and after all of them one whom nobody disturbs."""
    if weather:
        storm.weather = weather
        seats = [_seat(storm, folder) for _ in range(storm.story.runners)]
        await asyncio.gather(*seats)
    storm.weather = CALM
    storm.history.append("-- calm")
    return await _one(storm, folder)


async def _seat(storm: Storm, folder: Path) -> None:
    for _ in range(STORMY_LIVES):
        await asyncio.sleep(storm.chance.uniform(0, 20))
        storm.history.append("-- a life")
        if (await _one(storm, folder))[0] == 0:
            return


async def _one(storm: Storm, folder: Path) -> tuple[int, list[str]]:
    """A life; -1 for one that was killed."""
    life = Life(storm, folder)
    _NEVER_CLOSED.append(life)
    life.begin(life.run())
    try:
        async with asyncio.timeout(LONGEST_S):
            await life.over.wait()
    except TimeoutError:
        storm.wrong.append("it never ends")
        life.is_dead = True
    if life.is_dead:
        if life in storm.runners:
            storm.runners[life].close()  # as the system does when a process dies
        return -1, []
    if isinstance(life.error, TunerError):
        storm.history.append(f"  {life.error.what}")
        return life.error.exit_code, []
    if life.error is not None:
        last = traceback.extract_tb(life.error.__traceback__)[-1]
        storm.wrong.append(f"a traceback: {life.error!r} in {last.name}, line {last.lineno}")
        return -1, []
    storm.history.append(f"  exit code {life.result[0]}, {' '.join(life.result[1])}")
    return life.result


def _untrue(storm: Storm, end: tuple[int, list[str]]) -> list[str]:
    """What the last life says, and the service denies."""
    story, given = storm.story, Counter(each for each in storm.ours if each[0] == "transfer")
    running = storm.service.most
    found = []
    if story.is_alone and end[1].count("DONE") > len(storm.service.held):
        found.append("the ledger has more models than the service")
    if end == (0, ["DONE"] * len(story.specs())) and story.is_alone:
        heirs = sum(bool(work.spec.transfer_ownership) for work in story.specs())
        if given.total() != heirs:
            found.append(f"{given.total()} transfers, {heirs} were asked for")
    if story.pipeline and story.runners == 1 and 0 < story.pipeline.max_parallel < running:
        found.append(f"{running} tunings at a time, {story.pipeline.max_parallel} are allowed")
    return found


def _differences(plain: Trace, trace: Trace) -> list[str]:
    """From the run of the same story that nobody disturbed."""
    if not trace.story.is_settled or trace.losses:
        return []
    found = []
    if plain.end != trace.end:
        found.append(f"it ends {trace.end}, and undisturbed {plain.end}")
    if not plain.told <= trace.told:
        found.append("somebody was not told")
    if trace.story.pipeline and trace.story.pipeline.fail_fast:
        return found
    for what, some in (
        ("too much", trace.effects - plain.effects),
        ("missing", plain.effects - trace.effects),
    ):
        found += [f"{what}: {' '.join(each)}" for each in some.elements()]
    return found


def install() -> None:
    """The storm stands in the table of targets for ``local``; done once a process."""
    prepare()
    answering.time = SimpleNamespace(monotonic=clock.now)
    local = targets.TARGETS["local"]._replace(opener="tests.crash.storm:open_storm")
    targets.TARGETS["local"] = local


def told(trace: Trace) -> str:
    """A trace for people."""
    lines = [f"seed {trace.seed}", *trace.history, *(f"WRONG: {each}" for each in trace.wrong)]
    return "\n".join([*lines, ""])


def main() -> None:
    """EventHandler of one seed, or go through many until one goes wrong; the exit code is 1 then."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of a set is a part of the story
        os.environ["PYTHONHASHSEED"] = "0"
        again = [sys.executable, "-m", "tests.crash.simulator", *sys.argv[1:]]
        os.execv(sys.executable, again)  # noqa: S606 -- itself
    given = argparse.ArgumentParser()
    given.add_argument("first", type=int, help="the seed to tell of, or the first of many")
    given.add_argument("last", type=int, nargs="?", help="go on before this one")
    given.add_argument("--without", choices=sorted(guards.BREAKS), help="a guard to take away")
    asked = given.parse_args()
    install()
    if asked.without:
        guards.BREAKS[asked.without]()
    for seed in range(asked.first, asked.last or asked.first + 1):
        trace = simulate(seed)
        if trace.wrong or asked.last is None:
            sys.stdout.write(told(trace))
        if trace.wrong:
            break
    sys.stdout.flush()
    os._exit(bool(trace.wrong))  # what was killed says no last words


if __name__ == "__main__":
    main()
