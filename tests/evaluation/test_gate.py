"""The evaluation of a model, its gate, and the interval of the difference."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from itertools import starmap

import pytest

from tests.fakes.target import Crash, FakeTarget
from tests.fakes.work import job_of, with_spec
from tuner.errors import Unavailable
from tuner.evaluation import gate
from tuner.evaluation.answering import CONCURRENCY, EMPTY_CACHE, SAVE_EVERY_ANSWERS
from tuner.evaluation.gate import interval
from tuner.job import Evaluation, Interval
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.jobspec.schema import GateSpec, MetricSpec
from tuner.types import Example, TargetConfig

ROWS = (Example("Peru", "Lima"), Example("Italy", "Rome"), Example("Japan", "Tokyo"))


WORK = replace(with_spec(), holdout=ROWS)


JOB = job_of(WORK)


@pytest.mark.parametrize("output", ["Lima", "東京", "🙂", "a" * 500])
def test_answers_may_be_as_long_as_the_longest_expected_one(output):
    rows = [Example("", "x"), Example("", output)]

    assert gate.generation_config(rows).max_output_tokens >= len(output.encode())


class Slow(FakeTarget):
    """Others get their turn while it thinks, as with a service."""

    async def generate(self, *asked):
        await asyncio.sleep(0)
        return await super().generate(*asked)


def target_answering(tuned, base):
    target = Slow()
    target.answers = {
        "models/tiny": {row.text_input: said for row, said in zip(ROWS, base, strict=True)},
        JOB.tuned_model: {row.text_input: said for row, said in zip(ROWS, tuned, strict=True)},
    }
    asyncio.run(tune(target))
    return target


async def tune(target, name=""):
    new = new_tuned_model(WORK)
    new = replace(new, id=name or new.id)
    await target.create(new)
    for _ in range(target.looks_until_done):
        await target.tuned_model(new.name)
    target.moment = 0


def evaluated(target, tell=lambda _: None, work=WORK, answers=EMPTY_CACHE):
    return asyncio.run(gate.evaluate(target, JOB, work, answers, tell))


def with_evaluation(work=WORK, **keys):
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


def test_both_models_answer_every_row():
    events = []

    result = evaluated(
        target_answering(["Lima", "Rome", "Kyoto"], ["?", "rome", ""]), events.append
    )

    assert [(row.expected, row.tuned, row.base) for row in result.rows] == [
        ("Lima", "Lima", "?"),
        ("Rome", "Rome", "rome"),
        ("Tokyo", "Kyoto", ""),
    ]
    assert result.tuned == {"exact_match": 2 / 3, "normalized_match": 2 / 3}
    assert result.base == {"exact_match": 0, "normalized_match": 1 / 3}
    assert [event.amounts for event in events] == [(done, 6) for done in range(1, 7)]


def test_an_exhausted_quota_is_waited_for():
    target = target_answering(["Lima"] * 3, [""] * 3)
    target.faults = {2: Unavailable("slow down", retry_after_s=0.0, is_quota=True)}

    assert evaluated(target).tuned["exact_match"] == 1 / 3


def test_the_digest_depends_on_the_rows_and_not_on_their_lines():
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
def test_the_digest_depends_on_prompts_and_metric_and_not_on_the_gate(keys):
    assert gate.digest(with_evaluation(**keys)) != gate.digest(WORK)
    assert gate.digest(with_evaluation(require=GateSpec(at_least=0.9))) == gate.digest(WORK)


def test_the_digest_depends_on_the_code_of_a_custom_metric(tmp_path):
    own = with_evaluation(metric=MetricSpec("grading:grade"))
    own = replace(own, spec=replace(own.spec, path=tmp_path / "job.yaml"))
    digests = []
    for body in ("1", "0"):
        (tmp_path / "grading.py").write_text(f"def grade(a, b): return {body}")
        digests.append(gate.digest(own))

    assert digests[0] != digests[1]


MANY = replace(WORK, holdout=tuple(Example(f"q{n}", f"a{n}", n) for n in range(200)))


def target_with_many_answers(**more):
    target = target_answering([""] * 3, [""] * 3)
    target.answers = {JOB.tuned_model: {row.text_input: row.output for row in MANY.holdout}}
    for name, value in more.items():
        setattr(target, name, value)
    return target


@pytest.mark.slow
def test_a_crash_loses_only_the_answers_that_were_not_saved():
    target, memory, lives = target_with_many_answers(), Memory(), 0
    for crash_at in (200, 160, 90, 80):
        target.faults, target.moment = {crash_at: Crash()}, 0
        with pytest.raises(Crash):
            evaluated(target, work=MANY, answers=memory)
        lives += 1
    target.faults = {}

    result = evaluated(target, work=MANY, answers=memory)

    assert result == evaluated(target_with_many_answers(), work=MANY)
    lost_at_most = SAVE_EVERY_ANSWERS + CONCURRENCY
    assert target.calls.count("generate") <= 400 + lives * lost_at_most
    assert memory.written < 20


def test_an_error_of_the_service_loses_no_answer():
    target, memory = target_with_many_answers(faults={300: Unavailable("gone")}), Memory()
    with pytest.raises(Unavailable):
        evaluated(target, work=MANY, answers=memory)

    evaluated(target, work=MANY, answers=memory)

    assert target.calls.count("generate") <= 400 + CONCURRENCY


def test_another_metric_uses_the_same_answers():
    target, memory = target_with_many_answers(), Memory()
    evaluated(target, work=MANY, answers=memory)

    result = evaluated(
        target, work=with_evaluation(MANY, metric=MetricSpec("token_f1")), answers=memory
    )

    assert target.calls.count("generate") == 400
    assert result.tuned == {"exact_match": 1, "normalized_match": 1, "token_f1": 1}


@pytest.mark.slow
def test_the_base_model_answers_once_for_four_jobs_at_a_time():
    target, memory = target_with_many_answers(), Memory()
    jobs = [JOB, *(replace(JOB, tuned_model=f"tunedModels/other-{n}") for n in range(3))]
    for job in jobs[1:]:
        asyncio.run(tune(target, job.tuned_model.removeprefix("tunedModels/")))

    async def all_of_them():
        await asyncio.gather(
            *(gate.evaluate(target, job, MANY, memory, lambda _: None) for job in jobs)
        )

    asyncio.run(all_of_them())

    assert target.calls.count("generate") == 5 * 200


def test_a_model_that_was_tuned_again_answers_again():
    target, memory = target_with_many_answers(), Memory()
    evaluated(target, work=MANY, answers=memory)
    target.held[JOB.tuned_model] = target.held[JOB.tuned_model]._replace(create_time=99.0)

    evaluated(target, work=MANY, answers=memory)

    assert target.calls.count("generate") == 3 * 200


def test_equal_prompts_are_requested_once():
    twice = replace(WORK, holdout=ROWS + ROWS)
    events, target = [], target_answering(["Lima", "Rome", "Kyoto"], ["?"] * 3)

    result = evaluated(target, events.append, twice)

    assert target.calls.count("generate") == 6
    assert result.tuned["exact_match"] == 2 / 3
    assert events[-1].amounts == (12, 12)


def test_only_the_base_model_gets_the_base_instruction():
    instructed = replace(
        with_evaluation(base_instruction="Name the capital of:"),
        holdout=tuple(row._replace(text_input=f"Capital?\n\n{row.text_input}") for row in ROWS),
    )
    data = replace(instructed.spec.training_data, instruction="Capital?")
    work = replace(instructed, spec=replace(instructed.spec, training_data=data))
    target = target_answering([""] * 3, [""] * 3)
    target.answers = {
        "models/tiny": {"Name the capital of:\n\nPeru": "Lima"},
        JOB.tuned_model: {"Capital?\n\nItaly": "Rome"},
    }

    rows = evaluated(target, work=work).rows

    assert [row.base for row in rows] == ["Lima", "", ""]
    assert [row.tuned for row in rows] == ["", "Rome", ""]


def scored(tuned, base, count=100, interval=None):
    return Evaluation("d", "chrf", {"chrf": tuned}, {"chrf": base}, count, interval)


BETTER, SIGNIFICANT = {"better_than_base": True}, {"better_than_base": True, "significant": True}
WIDE, NARROW = Interval(0.0, 0.2), Interval(0.04, 0.3)


@pytest.mark.parametrize(
    ("evaluation", "require", "misses"),
    [
        (scored(0.5, 0.9), {}, []),
        (scored(0.8, 0.9), {"at_least": 0.8}, []),
        (scored(0.79, 0.9), {"at_least": 0.8}, ["at_least: 0.8 is required"]),
        (scored(0.5, 0.4), BETTER, []),
        (scored(0.5, 0.5), BETTER, ["not better than"]),
        (scored(0.9, 0.8), BETTER | {"better_by": 0.1}, []),
        (scored(0.89, 0.8), BETTER | {"better_by": 0.1}, ["0.090 better than the base model's, better_by: 0.1 is required"]),
        (scored(0.4, 0.8), BETTER | {"better_by": 0.1, "at_least": 0.5}, ["at_least", "not better"]),
        (scored(0.6, 0.5, interval=NARROW), SIGNIFICANT, []),
        (scored(0.6, 0.5, interval=WIDE), SIGNIFICANT, ["0.000 to 0.200 with 95 % confidence, it must be above 0"]),
        (scored(0.7, 0.5, interval=NARROW), SIGNIFICANT | {"better_by": 0.05}, ["it must be above 0.05"]),
        (scored(1.0, 0.0, count=1), SIGNIFICANT, ["1 held-out row is too few"]),
    ],
)  # fmt: skip
def test_the_gate_names_each_requirement_that_is_not_met(evaluation, require, misses):
    found = gate.shortfalls(
        evaluation, with_evaluation(require=GateSpec(**require)).spec.evaluation
    )

    assert len(found) == len(misses)
    for miss, words in zip(found, misses, strict=True):
        assert words in miss


def test_why_a_model_may_be_shared():
    require = GateSpec(at_least=0.8, better_than_base=True, better_by=0.1, significant=True)
    asked = with_evaluation(require=require).spec.evaluation

    assert gate.why(scored(0.92, 0.5), asked) == (
        "chrf is 0.920, at_least: 0.8, better than the base model's 0.500 by 0.1, significantly"
    )
    assert (
        gate.why(scored(0.92, 0.5), with_evaluation(require=GateSpec()).spec.evaluation)
        == gate.NO_GATE
    )


def test_a_forced_gate_names_the_user_and_is_valid_for_the_same_misses_only():
    allowed = gate.forced("chrf is 0.5, at_least: 0.8 is required", "ana@laptop")

    assert allowed.startswith("forced by --force-share by ana@laptop: ")
    assert gate.was_forced(allowed, "chrf is 0.5, at_least: 0.8 is required")
    assert not gate.was_forced(allowed, "chrf is 0.4, at_least: 0.8 is required")
    assert not gate.was_forced("chrf is 0.9, at_least: 0.8", "at_least: 0.8")


def plain_bootstrap(differences, seed):
    """The percentile bootstrap in plain Python, with draws of its own."""
    chance, count = random.Random(seed), len(differences)
    means = sorted(sum(chance.choices(differences, k=count)) / count for _ in range(4000))
    return Interval(means[100], means[3899])


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_equals_that_of_a_plain_bootstrap(seed):
    chance = random.Random(seed)
    differences = [chance.choice((-1.0, 0.0, 0.0, 1.0, 1.0)) for _ in range(60)]

    found, plain = interval(differences, str(seed)), plain_bootstrap(differences, seed)

    assert found.low == pytest.approx(plain.low, abs=0.025)
    assert found.high == pytest.approx(plain.high, abs=0.025)


@pytest.mark.parametrize(
    ("rows", "expected"), [([], None), ([1.0], None), ([0.5] * 7, Interval(0.5, 0.5))]
)
def test_one_row_has_no_interval_and_equal_differences_an_exact_one(rows, expected):
    assert interval(rows, "a") == expected


def test_the_same_seed_gives_the_same_interval():
    rows = [0.0, 1.0, 1.0, 0.5, -1.0] * 8

    assert interval(rows, "a") == interval(rows, "a")
    assert interval(rows, "a").low == pytest.approx(interval(rows, "b").low, abs=0.03)


@pytest.mark.slow
def test_about_95_percent_of_intervals_contain_the_true_difference(monkeypatch):
    monkeypatch.setattr("tuner.evaluation.gate.RESAMPLES", 2000)
    chance = random.Random(5)
    sets = [[chance.gauss(0.2, 0.5) for _ in range(80)] for _ in range(400)]

    found = list(starmap(interval, ((rows, str(at)) for at, rows in enumerate(sets))))

    held = sum(each.low <= 0.2 <= each.high for each in found)
    assert 0.92 <= held / len(found) <= 0.98
