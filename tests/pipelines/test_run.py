"""Pipelines: in order, so many at a time, the best one kept, and nothing twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count

import pytest

from tests.fakes.one_target import OneTarget
from tests.fakes.pipelines import RATES, PipelineTarget, grid, model, pipeline, single
from tests.fakes.target import Crash
from tests.fakes.work import GRANTS, job_of
from tuner import targets
from tuner.errors import NotAllowed, NotFinished, RequestRefused, TuningFailed
from tuner.events.events import EventKind
from tuner.jobs import pipeline_store, runner
from tuner.jobs.runner import Runner, Timing
from tuner.jobs.store import Store
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.pipelines.run import run_pipeline
from tuner.types import Phase, State

pytestmark = pytest.mark.slow

GOOD = {0.001: 1, 0.002: 2, 0.003: 1}
"""The second of the matrix is the best."""


class Bench:
    """Runs pipelines one after another over one store file and one target."""

    def __init__(self, folder, target):
        self.file, self.target = folder / "store.db", target
        self.told = []
        self.around = lambda _moment: None
        OneTarget.target = target

    def run(self, made, *, deadline=None, **asked):
        return asyncio.run(self._run(made, deadline, asked))

    async def _run(self, made, deadline, asked):
        clock = Clock()
        self.target.is_dead = False
        pace = Timing(now=clock.now, sleep=clock.sleep, deadline=deadline)
        with Store(self.file, clock.now, self.around) as store:
            async with Runner(store, self.told.append, pace) as session:
                return await run_pipeline(made, session, **asked)

    def phase(self, stage):
        with Store(self.file, float) as store:
            return store.find("local", model(stage)).phase

    def heard(self, kind):
        return [event for event in self.told if event.kind is kind]


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return self.seconds

    async def sleep(self, seconds):
        self.seconds += seconds
        await asyncio.sleep(0)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    local = targets.TARGETS["local"]._replace(opener="tests.fakes.one_target:open_fake")
    monkeypatch.setitem(targets.TARGETS, "local", local)
    monkeypatch.setitem(runner.POLL_S, "local", 0.1)
    monkeypatch.chdir(tmp_path)  # where the pipeline's tuner.lock is
    (tmp_path / "capitals.yaml").touch()  # beside its spec
    return lambda target=None: Bench(tmp_path, target or PipelineTarget(GOOD))


def shared(target):
    """The models that somebody else than their first owner may use."""
    return {name for name, held in target.shared.items() if len(held) > 1}


def test_only_the_best_of_a_matrix_is_shared_and_transferred(bench):
    made = pipeline(grid())
    run = bench()

    outcome = run.run(made)

    best = made.stages[1]
    assert outcome.exit_code == 0
    assert outcome.winners == {"grid": best.name}
    assert list(outcome.states.values()) == ["NOT SELECTED", "SELECTED", "NOT SELECTED"]
    assert shared(run.target) == {model(best)}
    assert (run.target.creates, run.target.transfers, run.target.grants) == (3, 1, len(GRANTS))
    assert [run.phase(stage) for stage in made.stages] == [
        Phase.NOT_SELECTED,
        Phase.DONE,
        Phase.NOT_SELECTED,
    ]


def test_a_second_run_changes_nothing(bench):
    made = pipeline(grid(losers="delete"), single("polish", after=("grid",), source="grid"))
    run = bench()
    first = run.run(made)
    before = (run.target.creates, run.target.grants, run.target.transfers)

    again = run.run(made)

    assert (run.target.creates, run.target.grants, run.target.transfers) == before
    assert again.states == first.states
    assert again.winners == first.winners


def test_a_stage_starts_after_its_dependencies_and_tunes_the_best_variant(bench):
    made = pipeline(
        grid(), single("polish", after=("grid",), source="grid"), single("alone", after=("polish",))
    )
    run = bench()

    outcome = run.run(made)

    assert set(outcome.states.values()) == {"SELECTED", "NOT SELECTED", "DONE"}
    polish = next(m for m in run.target.held.values() if m.name.startswith("tunedModels/polish-"))
    assert polish.tuned_model_source == model(made.stages[1])
    order = [event.job.name for event in run.heard(EventKind.SUBMITTED)]
    assert order == ["grid", "grid", "grid", "polish", "alone"]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_max_parallel_limits_concurrent_tunings(bench, most):
    run = bench()

    run.run(pipeline(grid([n / 1000 for n in range(1, 8)]), max_parallel=most))

    assert run.target.most == most


def test_a_restart_counts_running_tunings(bench):
    made = pipeline(grid([n / 1000 for n in range(1, 7)]), max_parallel=2)
    run = bench()
    for moment in range(8, 400, 7):
        run.target.faults = {run.target.moment + moment: Crash()}
        try:
            run.run(made)
            break
        except Crash:
            run.file.unlink(missing_ok=True)

    assert run.target.most == 2
    assert run.target.creates == 6


@pytest.mark.parametrize("source", ["", "grid"])
def test_a_restart_counts_running_tunings_of_later_stages(bench, source):
    parts = [grid(RATES[:2]), single("polish", after=("grid",), source=source)]
    run = bench()
    for moment in count():
        run.target.faults = {run.target.moment + moment: Crash()}
        with pytest.raises(Crash):
            run.run(pipeline(*parts, max_parallel=1))
        if run.target.creates == 3:  # polish is tuning
            break
    run.file.unlink()

    run.run(pipeline(*parts, single("other"), max_parallel=1))

    assert run.target.creates == 4
    assert run.target.most == 1


def test_jobs_after_a_failed_one_are_skipped(bench):
    made = pipeline(
        single("first", after=()),
        grid([0.001], name="bad", keep="all", after=("first",)),
        single("after", after=("bad",)),
        single("last", after=("after",)),
    )
    run = bench(PipelineTarget(failing=[0.001]))

    outcome = run.run(made)

    assert list(outcome.states.values()) == ["DONE", "FAILED", "SKIPPED", "SKIPPED"]
    assert outcome.exit_code == 1
    assert isinstance(outcome.failure, TuningFailed)
    whys = [event["why"] for event in run.heard(EventKind.SKIPPED)]
    assert whys == ["bad did not succeed", "after was skipped"]


def test_fail_fast_starts_nothing_more_and_follows_running_tunings(bench):
    made = pipeline(grid(keep="all"), single("other"), fail_fast=True, max_parallel=1)
    run = bench(PipelineTarget(failing=[0.001]))

    outcome = run.run(made)

    assert list(outcome.states.values()) == ["FAILED", "SKIPPED", "SKIPPED", "SKIPPED"]
    assert run.target.creates == 1
    assert list(run.run(made).states.values()) == list(outcome.states.values())
    assert run.target.creates == 1


def test_nothing_is_selected_if_fail_fast_skipped_a_variant(bench):
    made = pipeline(grid(), fail_fast=True, max_parallel=1)
    run = bench(PipelineTarget(failing=[0.002]))

    outcome = run.run(made)

    assert outcome.winners == {}
    assert shared(run.target) == set()


ENDS = [
    ({0.001: 0, 0.002: 0, 0.003: 0}, [], 3, ["REJECTED", "REJECTED", "REJECTED"]),
    ({0.001: 0, 0.002: 2, 0.003: 1}, [], 0, ["REJECTED", "SELECTED", "NOT SELECTED"]),
    ({0.001: 0, 0.002: 2, 0.003: 0}, [], 0, ["REJECTED", "SELECTED", "REJECTED"]),
    (GOOD, [0.001], 1, ["FAILED", "SELECTED", "NOT SELECTED"]),
    (GOOD, [0.002], 1, ["SELECTED", "FAILED", "NOT SELECTED"]),
    (GOOD, RATES, 1, ["FAILED", "FAILED", "FAILED"]),
    ({0.001: 0, 0.002: 0, 0.003: 2}, [0.003], 1, ["REJECTED", "REJECTED", "FAILED"]),
]


@pytest.mark.parametrize(("rights", "failing", "code", "states"), ENDS)
def test_every_combination_of_results_has_its_states_and_exit_code(
    bench, rights, failing, code, states
):
    outcome = bench(PipelineTarget(rights, failing)).run(pipeline(grid()))

    assert list(outcome.states.values()) == states
    assert outcome.exit_code == code


def test_of_equal_variants_the_first_is_selected(bench):
    made = pipeline(grid())

    outcome = bench(PipelineTarget()).run(made)

    assert outcome.winners == {"grid": made.stages[0].name}


def test_other_variants_are_deleted_when_the_selected_one_is_done(bench):
    made = pipeline(grid(losers="delete"))
    run = bench()

    outcome = run.run(made)

    assert set(run.target.held) == {model(made.stages[1])}
    assert list(outcome.states.values()) == ["DELETED", "SELECTED", "DELETED"]
    calls = [call for call in run.target.calls if call in {"transfer", "delete"}]
    assert calls == ["transfer", "delete", "delete"]


def test_a_model_older_than_the_pipeline_is_not_deleted(bench):
    made = pipeline(grid(losers="delete"))
    run = bench()
    run.run(pipeline(grid([0.001], name="own", keep="all", grants=(), transfer_ownership="")))
    run.file.unlink()

    run.run(made)

    assert set(run.target.held) == {model(stage) for stage in made.stages[:2]}
    assert whys(run) == {"it existed before this pipeline"}


def test_a_model_of_two_pipelines_is_not_deleted(bench):
    run = bench()
    run.run(pipeline(grid(losers="keep"), path="other.yaml")._replace(name="other"))

    run.run(pipeline(grid(losers="delete")))

    assert len(run.target.held) == 3
    assert whys(run) == {"it belongs to the pipeline other as well"}


def whys(run):
    return {event["why"] for event in run.heard(EventKind.DELETION_SKIPPED)}


def test_a_model_shared_with_others_is_not_deleted(bench):
    made = pipeline(grid(losers="delete"))
    run = bench()
    grants = iter([replace(GRANTS[1], email_address="bo@example.com")])
    real = run.target.transfer

    async def transfer(name, heir):
        run.target._shares(model(made.stages[0])).hold(next(grants))
        await real(name, heir)

    run.target.transfer = transfer

    run.run(made)

    assert set(run.target.held) == {model(stage) for stage in made.stages[:2]}


def test_an_extended_matrix_tunes_new_variants_and_selects_again(bench):
    run = bench(PipelineTarget({0.001: 1, 0.002: 0, 0.003: 1, 0.004: 2}))
    run.run(pipeline(grid(transfer_ownership="")))

    outcome = run.run(pipeline(grid([*RATES, 0.004], transfer_ownership="")))

    assert run.target.creates == 4
    assert outcome.winners == {"grid": "grid[r=0.004]"}
    assert list(outcome.states.values()) == ["NOT SELECTED", "REJECTED", "NOT SELECTED", "SELECTED"]


def test_retry_tunes_only_failed_stages_and_those_after_them(bench):
    made = pipeline(grid(keep="all"), single("polish", after=("grid",)))
    run = bench(PipelineTarget(failing=[0.002]))
    assert list(run.run(made).states.values()) == ["DONE", "FAILED", "DONE", "SKIPPED"]
    run.target.failing = []

    assert list(run.run(made).states.values()) == ["DONE", "FAILED", "DONE", "SKIPPED"]
    outcome = run.run(made, retry=True)

    assert list(outcome.states.values()) == ["DONE", "DONE", "DONE", "DONE"]
    assert run.target.creates == 5
    assert [event.job.attempt for event in run.heard(EventKind.RETRYING)] == [2]


@pytest.mark.parametrize("losers", ["keep", "delete"])
def test_a_retried_variant_does_not_replace_the_selected_one(bench, losers):
    made = pipeline(grid(losers=losers))
    run = bench(PipelineTarget(GOOD, failing=(0.002,)))
    first = run.run(made)
    run.target.failing = ()

    again = run.run(made, retry=True)

    assert run.target.creates == 4
    assert again.winners == first.winners == {"grid": made.stages[0].name}
    assert (run.target.transfers, run.target.grants) == (1, len(GRANTS))


def test_force_shares_the_best_variant_that_missed_its_gate(bench):
    made = pipeline(grid())
    run = bench(PipelineTarget({0.001: 0, 0.002: 0, 0.003: 0}))
    assert run.run(made).exit_code == 3

    outcome = run.run(made, force=True)

    assert outcome.exit_code == 0
    assert shared(run.target) == {model(made.stages[0])}


def test_a_selected_variant_that_cannot_be_transferred_stays_selected(bench):
    made = pipeline(grid(losers="delete"), single("polish", after=("grid",), source="grid"))
    run = bench()

    async def transfer(_name, _heir):
        raise NotAllowed("you may not transfer")

    run.target.transfer = transfer

    outcome = run.run(made)

    assert outcome.exit_code == 4
    assert outcome.winners == {"grid": made.stages[1].name}
    assert len(run.target.held) == 3


def test_an_error_of_one_variant_prevents_the_selection(bench):
    run = bench()
    real = run.target.create

    async def create(new):
        if new.hyperparameters.learning_rate == 0.003:
            raise RequestRefused("the learning rate is too high")
        return await real(new)

    run.target.create = create

    outcome = run.run(pipeline(grid()))

    assert outcome.exit_code == 2
    assert outcome.winners == {}
    assert shared(run.target) == set()


def test_after_the_deadline_nothing_more_is_started(bench):
    run = bench(PipelineTarget(looks_until_done=1000))

    outcome = run.run(pipeline(grid(), max_parallel=1), deadline=1.0)

    assert run.target.creates == 1
    assert outcome.exit_code == 6
    assert isinstance(outcome.failure, NotFinished)


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_tuning_that_cannot_be_read_counts_as_running(bench, is_lost):
    run = bench()

    async def operation(_name):
        if is_lost:
            run.file.unlink(missing_ok=True)
        raise NotAllowed("the key has run out")

    run.target.operation = operation

    outcome = run.run(pipeline(grid(), max_parallel=1))

    assert run.target.creates == 1
    assert outcome.exit_code == 4


def test_the_stages_are_stored_before_the_first_change(bench):
    made = pipeline(grid(), single("polish", after=("grid",), source="grid"))
    run = bench(PipelineTarget(crash_at=2))

    with pytest.raises(Crash):
        run.run(made)

    with Store(run.file, float) as store:
        members = pipeline_store.members(store, made.id)
    assert run.target.creates == 0
    assert list(members) == [stage.name for stage in made.stages]
    assert members["grid[r=0.001]"].tuned_model == model(made.stages[0])
    assert members["polish"].tuned_model == ""


SMALL = pipeline(
    grid([0.001, 0.002], losers="delete"),
    single("polish", after=("grid",), source="grid", transfer_ownership="heir@example.com"),
)


def test_two_runners_on_one_pipeline_do_the_work_of_one(bench):
    made = pipeline(grid(losers="delete"), single("polish", after=("grid",)), max_parallel=2)
    run = bench()

    async def both():
        return await asyncio.gather(run._run(made, None, {}), run._run(made, None, {}))

    first, second = asyncio.run(both())

    assert (run.target.creates, run.target.transfers) == (4, 2)
    assert run.target.most == 2
    assert first.winners == second.winners == {"grid": made.stages[1].name}
    assert set(run.target.held) == {model(made.stages[1]), model(made.stages[3])}
    assert (first.exit_code, second.exit_code) == (0, 0)


@pytest.mark.parametrize("keep", [True, False], ids=["store kept", "store lost"])
def test_a_crash_at_any_call_does_not_change_the_result(bench, tmp_path, keep):
    for moment in range(undisturbed_moments(bench, tmp_path)):
        run = bench(PipelineTarget(GOOD, crash_at=moment))
        run.file = tmp_path / f"{keep}{moment}.db"
        try:
            run.run(SMALL)
        except Crash:
            if not keep:
                run.file.unlink()
        run.run(SMALL)

        assert run.target.creates == 3, moment
        assert run.target.transfers == 2, moment
        assert run.target.grants == 2 * len(GRANTS), moment
        if keep:
            assert model(SMALL.stages[0]) not in run.target.held, moment


def undisturbed_moments(bench, tmp_path):
    run = bench()
    run.file = tmp_path / "undisturbed.db"
    run.run(SMALL)
    return run.target.moment


KEPT = ("grid[r=0.002]", "polish")


def test_the_store_may_be_deleted_after_any_commit(bench, tmp_path):
    commits = count()

    def around(moment):
        if moment == "committed" and next(commits) == last:
            (tmp_path / "store.db").unlink()

    for last in range(200):
        commits, run = count(), bench()
        run.around = around

        outcome = run.run(SMALL)

        assert outcome.exit_code == 0, last
        assert run.target.creates == 3, last
        assert shared(run.target) == {outcome.outcomes[name].job.tuned_model for name in KEPT}
        if next(commits) <= last:
            return
        for file in tmp_path.glob("store.db*"):
            file.unlink()
    raise AssertionError("it never ends")


def test_without_a_store_deleted_variants_are_not_tuned_again(bench):
    made = pipeline(grid(losers="delete"))
    run = bench()
    run.run(made)
    run.file.unlink()

    outcome = run.run(made)

    assert run.target.creates == 3
    assert outcome.winners == {"grid": made.stages[1].name}
    assert list(outcome.states.values()) == ["DELETED", "SELECTED", "DELETED"]


def test_without_a_store_the_transferred_variant_stays_selected(bench):
    made = pipeline(grid())
    run = bench()
    run.run(made)
    run.file.unlink()
    run.target.answers = {}
    for stage in made.stages:
        known = run.target.answers.setdefault(model(stage), {})
        known.update({row.text_input: row.output for row in stage.work.holdout})

    outcome = run.run(made)

    assert outcome.winners == {"grid": made.stages[1].name}
    assert run.target.transfers == 1


def test_without_a_store_tuner_lock_keeps_the_selection(bench):
    bare = {"grants": (), "transfer_ownership": ""}
    made = pipeline(grid(losers="delete", **bare))
    made.path.write_text("pipeline: pipe\njobs: []\n")  # a lock stands beside a file
    run = bench()
    run.run(made)
    run.file.unlink()

    outcome = run.run(made)

    assert run.target.creates == 3
    assert outcome.winners == {"grid": made.stages[1].name}


def test_a_separate_job_that_is_not_selected_stays_done(bench):
    made = pipeline(grid(losers="delete"))
    run = bench()
    with Store(run.file, float) as store:
        own = replace(job_of(made.stages[0].work), phase=Phase.DONE)
        store.save(own)
    run.target.held[own.tuned_model] = done_model(run, made.stages[0])

    outcome = run.run(made)

    assert outcome.winners == {"grid": made.stages[1].name}
    assert run.phase(made.stages[0]) is Phase.DONE
    assert own.tuned_model in run.target.held


def done_model(run, stage):
    """As if somebody had tuned it before."""
    new = new_tuned_model(stage.work)
    asyncio.run(run.target.create(new))
    run.target.running = {}
    run.target.creates = 0
    return run.target.held[new.name]._replace(state=State.ACTIVE)
