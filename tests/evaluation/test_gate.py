"""What counts as a right answer, and what opens the gate."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.fakes.target import Crash, FakeTarget
from tests.fakes.work import job_of, with_spec
from tuner.errors import InvalidInput, NotFound, Unavailable
from tuner.evaluation import gate
from tuner.evaluation.answering import CONCURRENCY, EMPTY_CACHE, SAVE_EVERY_ANSWERS
from tuner.job import Evaluation, Interval
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.jobspec.schema import GateSpec, MetricSpec
from tuner.types import Example, TargetConfig

ROWS = (Example("Peru", "Lima"), Example("Italy", "Rome"), Example("Japan", "Tokyo"))
WORK = replace(with_spec(), holdout=ROWS)
JOB = job_of(WORK)


@pytest.mark.parametrize("output", ["Lima", "東京", "🙂", "a" * 500])
def test_the_answer_may_be_as_long_as_any_right_one(output):
    rows = [Example("", "x"), Example("", output)]

    assert gate.generation_config(rows).max_output_tokens >= len(output.encode())


class Slow(FakeTarget):
    """Others get their turn while it thinks, as with a service."""

    async def generate(self, *asked):
        await asyncio.sleep(0)
        return await super().generate(*asked)


def answering(tuned, base):
    target = Slow()
    target.answers = {
        "models/tiny": {row.text_input: said for row, said in zip(ROWS, base, strict=True)},
        JOB.tuned_model: {row.text_input: said for row, said in zip(ROWS, tuned, strict=True)},
    }
    asyncio.run(has_tuned(target))
    return target


async def has_tuned(target, name=""):
    new = new_tuned_model(WORK)
    new = replace(new, id=name or new.id)
    await target.create(new)
    for _ in range(target.looks_until_done):
        await target.tuned_model(new.name)
    target.moment = 0


def evaluated(target, tell=lambda _: None, work=WORK, answers=EMPTY_CACHE):
    return asyncio.run(gate.evaluate(target, JOB, work, answers, tell))


def asking(work=WORK, **keys):
    return replace(work, spec=replace(work.spec, evaluation=replace(work.spec.evaluation, **keys)))


class Memory:
    """AnswerCache in a dict."""

    def __init__(self):
        self.held = {}
        self.written = self.largest = 0

    def find(self, model, questions):
        return {key: self.held[model, key] for key in questions if (model, key) in self.held}

    async def keep(self, model, answers):
        self.written += 1
        self.largest = max(self.largest, len(answers))
        self.held |= {(model, key): text for key, text in answers.items()}


def test_both_models_answer_every_row_and_each_answer_stands_beside_its_row():
    told = []

    result = evaluated(answering(["Lima", "Rome", "Kyoto"], ["?", "rome", ""]), told.append)

    assert [(row.expected, row.tuned, row.base) for row in result.rows] == [
        ("Lima", "Lima", "?"),
        ("Rome", "Rome", "rome"),
        ("Tokyo", "Kyoto", ""),
    ]
    assert result.tuned == {"exact_match": 2 / 3, "normalized_match": 2 / 3}
    assert result.base == {"exact_match": 0, "normalized_match": 1 / 3}
    assert [event.amounts for event in told] == [(done, 6) for done in range(1, 7)]


def test_out_of_quota_for_a_moment_loses_no_answer():
    target = answering(["Lima"] * 3, [""] * 3)
    target.faults = {2: Unavailable("slow down", retry_after_s=0.0, is_quota=True)}

    assert evaluated(target).tuned["exact_match"] == 1 / 3


def test_an_error_of_the_service_comes_through_as_itself():
    target = answering([""] * 3, [""] * 3)
    target.base_models = ()

    with pytest.raises(NotFound):
        evaluated(target)


def test_the_digest_names_the_rows_and_not_their_lines():
    moved = tuple(row._replace(line=9) for row in ROWS)
    digests = [
        gate.digest(replace(WORK, holdout=rows)) for rows in (ROWS, moved, ROWS[::-1], ROWS[:2])
    ]

    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    "keys",
    [
        {"metric": MetricSpec("token_f1")},
        {"metric": MetricSpec("numeric", tolerance=0.1)},
        {"metric": MetricSpec("judge", model="models/tiny", target=TargetConfig("gemini"))},
        {"base_instruction": "Name the capital."},
    ],
)
def test_the_digest_names_how_rows_are_asked_and_compared_and_not_what_the_gate_requires(keys):
    assert gate.digest(asking(**keys)) != gate.digest(WORK)
    assert gate.digest(asking(require=GateSpec(at_least=0.9))) == gate.digest(WORK)


def test_a_metric_of_one_s_own_is_another_one_when_its_code_changes(tmp_path):
    own = asking(metric=MetricSpec("grading:grade"))
    own = replace(own, spec=replace(own.spec, path=tmp_path / "job.yaml"))
    digests = []
    for body in ("1", "0"):
        (tmp_path / "grading.py").write_text(f"def grade(a, b): return {body}")
        digests.append(gate.digest(own))

    assert digests[0] != digests[1]


MANY = replace(WORK, holdout=tuple(Example(f"q{n}", f"a{n}", n) for n in range(200)))


def knowing_many(**more):
    target = answering([""] * 3, [""] * 3)
    target.answers = {JOB.tuned_model: {row.text_input: row.output for row in MANY.holdout}}
    for name, value in more.items():
        setattr(target, name, value)
    return target


@pytest.mark.slow
def test_a_crash_loses_no_more_answers_than_are_written_down_at_once():
    target, memory, lives = knowing_many(), Memory(), 0
    for crash_at in (200, 160, 90, 80):
        target.faults, target.moment = {crash_at: Crash()}, 0
        with pytest.raises(Crash):
            evaluated(target, work=MANY, answers=memory)
        lives += 1
    target.faults = {}

    result = evaluated(target, work=MANY, answers=memory)

    assert result == evaluated(knowing_many(), work=MANY)
    lost_at_most = SAVE_EVERY_ANSWERS + CONCURRENCY
    assert target.calls.count("generate") <= 400 + lives * lost_at_most
    assert memory.written < 20


def test_no_more_answers_wait_to_be_written_than_a_crash_may_lose():
    memory = Memory()

    evaluated(knowing_many(), work=MANY, answers=memory)

    assert memory.largest <= SAVE_EVERY_ANSWERS


def test_an_error_of_the_service_loses_no_answer_at_all():
    target, memory = knowing_many(faults={300: Unavailable("gone")}), Memory()
    with pytest.raises(Unavailable):
        evaluated(target, work=MANY, answers=memory)

    evaluated(target, work=MANY, answers=memory)

    assert target.calls.count("generate") <= 400 + CONCURRENCY


def test_a_change_of_metric_asks_nobody_again():
    target, memory = knowing_many(), Memory()
    evaluated(target, work=MANY, answers=memory)

    result = evaluated(target, work=asking(MANY, metric=MetricSpec("token_f1")), answers=memory)

    assert target.calls.count("generate") == 400
    assert result.tuned == {"exact_match": 1, "normalized_match": 1, "token_f1": 1}


@pytest.mark.slow
def test_the_base_answers_once_for_a_matrix_of_four_side_by_side():
    target, memory = knowing_many(), Memory()
    jobs = [JOB, *(replace(JOB, tuned_model=f"tunedModels/other-{n}") for n in range(3))]
    for job in jobs[1:]:
        asyncio.run(has_tuned(target, job.tuned_model.removeprefix("tunedModels/")))

    async def all_of_them():
        await asyncio.gather(
            *(gate.evaluate(target, job, MANY, memory, lambda _: None) for job in jobs)
        )

    asyncio.run(all_of_them())

    assert target.calls.count("generate") == 5 * 200


def test_a_model_tuned_anew_under_its_old_name_is_asked_anew():
    target, memory = knowing_many(), Memory()
    evaluated(target, work=MANY, answers=memory)
    target.held[JOB.tuned_model] = target.held[JOB.tuned_model]._replace(create_time=99.0)

    evaluated(target, work=MANY, answers=memory)

    assert target.calls.count("generate") == 3 * 200


def test_rows_with_one_question_ask_it_once():
    twice = replace(WORK, holdout=ROWS + ROWS)
    told, target = [], answering(["Lima", "Rome", "Kyoto"], ["?"] * 3)

    result = evaluated(target, told.append, twice)

    assert target.calls.count("generate") == 6
    assert result.tuned["exact_match"] == 2 / 3
    assert told[-1].amounts == (12, 12)


def test_only_the_base_is_told_the_task_anew():
    instructed = replace(
        asking(base_instruction="Name the capital of:"),
        holdout=tuple(row._replace(text_input=f"Capital?\n\n{row.text_input}") for row in ROWS),
    )
    data = replace(instructed.spec.training_data, instruction="Capital?")
    work = replace(instructed, spec=replace(instructed.spec, training_data=data))
    target = answering([""] * 3, [""] * 3)
    target.answers = {
        "models/tiny": {"Name the capital of:\n\nPeru": "Lima"},
        JOB.tuned_model: {"Capital?\n\nItaly": "Rome"},
    }

    rows = evaluated(target, work=work).rows

    assert [row.base for row in rows] == ["Lima", "", ""]
    assert [row.tuned for row in rows] == ["", "Rome", ""]


def test_a_metric_of_one_s_own_that_fails_names_the_row(tmp_path):
    (tmp_path / "grading.py").write_text("def grade(a, b): return 2 if a == 'Rome' else 1")
    work = asking(metric=MetricSpec("grading:grade"))
    work = replace(work, spec=replace(work.spec, path=tmp_path / "job.yaml"))
    work = replace(work, holdout=tuple(row._replace(line=at) for at, row in enumerate(ROWS, 2)))

    with pytest.raises(InvalidInput, match=r"returned 2, not a number from 0 to 1, .* line 3"):
        evaluated(answering(["x"] * 3, ["y"] * 3), work=work)


def scored(tuned, base, count=100, interval=None):
    return Evaluation("d", "chrf", {"chrf": tuned}, {"chrf": base}, count, interval)


@pytest.mark.parametrize(
    ("evaluation", "require", "misses"),
    [
        (scored(0.5, 0.9), GateSpec(), []),
        (scored(0.8, 0.9), GateSpec(at_least=0.8), []),
        (scored(0.79, 0.9), GateSpec(at_least=0.8), ["at_least: 0.8 is required"]),
        (scored(0.5, 0.4), GateSpec(better_than_base=True), []),
        (scored(0.5, 0.5), GateSpec(better_than_base=True), ["not better than"]),
        (scored(0.9, 0.8), GateSpec(better_than_base=True, better_by=0.1), []),
        (
            scored(0.89, 0.8),
            GateSpec(better_than_base=True, better_by=0.1),
            ["0.090 better than the base model's, better_by: 0.1 is required"],
        ),
        (
            scored(0.4, 0.8),
            GateSpec(better_than_base=True, better_by=0.1, at_least=0.5),
            ["at_least", "not better"],
        ),
        (
            scored(0.6, 0.5, interval=Interval(0.01, 0.2)),
            GateSpec(better_than_base=True, significant=True),
            [],
        ),
        (
            scored(0.6, 0.5, interval=Interval(0.0, 0.2)),
            GateSpec(better_than_base=True, significant=True),
            ["0.000 to 0.200 with 95 % confidence, it must be above 0"],
        ),
        (
            scored(0.7, 0.5, interval=Interval(0.04, 0.3)),
            GateSpec(better_than_base=True, significant=True, better_by=0.05),
            ["it must be above 0.05"],
        ),
        (
            scored(1.0, 0.0, count=1),
            GateSpec(better_than_base=True, significant=True),
            ["1 held-out row is too few"],
        ),
    ],
)
def test_the_gate_opens_for_what_it_requires_and_says_what_is_missed(evaluation, require, misses):
    found = gate.shortfalls(evaluation, asking(require=require).spec.evaluation)

    assert len(found) == len(misses)
    for miss, words in zip(found, misses, strict=True):
        assert words in miss


def test_why_a_model_may_be_shared_is_said_in_words():
    require = GateSpec(at_least=0.8, better_than_base=True, better_by=0.1, significant=True)
    asked = asking(require=require).spec.evaluation

    assert gate.why(scored(0.92, 0.5), asked) == (
        "chrf is 0.920, at_least: 0.8, better than the base model's 0.500 by 0.1, significantly"
    )
    assert gate.why(scored(0.92, 0.5), asking(require=GateSpec()).spec.evaluation) == gate.NO_GATE


def test_an_overruled_gate_says_who_did_it_and_holds_for_the_same_misses_alone():
    allowed = gate.forced("chrf is 0.5, at_least: 0.8 is required")

    assert allowed.startswith("forced by --force-share by ")
    assert gate.was_forced(allowed, "chrf is 0.5, at_least: 0.8 is required")
    assert not gate.was_forced(allowed, "chrf is 0.4, at_least: 0.8 is required")
    assert not gate.was_forced("chrf is 0.9, at_least: 0.8", "at_least: 0.8")
