"""The evaluation on held-out rows, and the gate that a model must pass before it is shared."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from tuner.evaluation import answering, metrics
from tuner.evaluation.custom_metric import code_digest
from tuner.evaluation.scorer import MAX_ROWS_WITHOUT_THREAD, Scorer
from tuner.events.events import Event, EventKind
from tuner.formatting import format_number
from tuner.job import FORCED, Evaluation, Interval, ScoredRow
from tuner.jobspec.schema import MetricSpec
from tuner.types import GenerationConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tuner.evaluation.answering import AnswerCache
    from tuner.events.events import EventHandler
    from tuner.job import Job
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.jobspec.schema import EvaluationSpec
    from tuner.targets import Target
    from tuner.types import Example, TunedModel

EXTRA_TOKENS = 8
NO_GATE = "the spec has no gate"
_LAPSED = "no longer: "


async def evaluate(
    target: Target, job: Job, work: PreparedJob, cache: AnswerCache, emit: EventHandler
) -> Evaluation:
    """Answer every held-out row with the tuned model and its base, greedily, and score the answers.

    Both get the same prompts, except for ``base_instruction``. ``emit`` gets the progress; answers
    in ``cache`` are not requested again.

    Raises:
        TunerError: As ``answering.ask`` and ``Scorer``.
    """
    rows, config = work.holdout, generation_config(work.holdout)
    scorer = Scorer(metric_of(work), work, target, cache)
    count = answer_counter(job, 2 * len(rows), emit)
    prompts = [row.text_input for row in rows]
    base_model = work.spec.base_model or work.spec.tuned_model_source
    model = await answering.identity(target, job.tuned_model)
    answers = await answering.run_all(
        [
            answering.ask(target, job.tuned_model, prompts, config, cache, count, model),
            answering.ask(target, base_model, base_prompts(work), config, cache, count),
        ]
    )
    scores = await scorer.scores(
        rows,
        answers,
        lambda done, total: emit(Event(EventKind.JUDGING, job, done=done, total=total)),
    )
    scored = tuple(
        ScoredRow(row.text_input, row.output, tuned, base, row.line, tuned_score, base_score)
        for row, tuned, base, tuned_score, base_score in zip(rows, *answers, *scores, strict=True)
    )
    summary = partial(_summarize, digest(work), metric_of(work).kind, scored, model)
    differences = {row.tuned_score - row.base_score for row in scored}
    if len(scored) <= MAX_ROWS_WITHOUT_THREAD and len(differences) <= 1:  # needs no bootstrap
        return summary()
    return await asyncio.to_thread(summary)


def answer_counter(job: Job, total: int, emit: EventHandler) -> Callable[[int], None]:
    """Return a function that adds up answered prompts and emits the progress."""
    done = 0

    def count(answered: int) -> None:
        nonlocal done
        done += answered
        emit(Event(EventKind.EVALUATING, job, done=done, total=total))

    return count


def generation_config(rows: Sequence[Example]) -> GenerationConfig:
    """Return greedy generation settings, limited to the length of the longest expected answer.

    A longer answer can only be wrong; no tokenizer makes more tokens than a text has UTF-8 bytes.
    """
    longest = max(len(row.output.encode()) for row in rows)
    return GenerationConfig(temperature=0.0, max_output_tokens=longest + EXTRA_TOKENS)


def base_prompts(work: PreparedJob) -> list[str]:
    """Return the prompts for the base model, with ``base_instruction`` if the spec has one."""
    evaluation, instruction = work.spec.evaluation, work.spec.training_data.instruction
    prompts = [row.text_input for row in work.holdout]
    if evaluation is None or not evaluation.base_instruction:
        return prompts
    prefix = f"{instruction}\n\n" if instruction else ""
    return [f"{evaluation.base_instruction}\n\n{each.removeprefix(prefix)}" for each in prompts]


def metric_of(work: PreparedJob) -> MetricSpec:
    """Return the metric of a job."""
    return work.spec.evaluation.metric if work.spec.evaluation else MetricSpec()


def digest(work: PreparedJob) -> str:
    """Return a digest of the held-out rows, the prompts and the metric, but not of the gate.

    A changed gate is checked against the same scores.
    """
    content: list[object] = [(row.text_input, row.output) for row in work.holdout]
    evaluation, metric = work.spec.evaluation, metric_of(work)
    if evaluation is not None and evaluation.base_instruction:
        content.append({"base_instruction": evaluation.base_instruction})
    if metric != MetricSpec():
        code = code_digest(metric.kind, work.spec.path.parent) if ":" in metric.kind else ""
        content.append(asdict(metric) | {"code": code})
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _summarize(name: str, metric: str, rows: tuple[ScoredRow, ...], model: str) -> Evaluation:
    def means(answers: Iterable[str], scores: Iterable[float]) -> dict[str, float]:
        pairs = [(row.expected, answer) for row, answer in zip(rows, answers, strict=True)]
        always = {
            each: sum(score(*pair) for pair in pairs) / len(rows)
            for each, score in metrics.ALWAYS.items()
        }
        return {**always, metric: sum(scores) / len(rows)}

    return Evaluation(
        digest=name,
        metric=metric,
        tuned=means((row.tuned for row in rows), (row.tuned_score for row in rows)),
        base=means((row.base for row in rows), (row.base_score for row in rows)),
        count=len(rows),
        interval=interval([row.tuned_score - row.base_score for row in rows], name),
        rows=rows,
        model=model,
    )


def is_current(evaluation: Evaluation | None, work: PreparedJob, found: TunedModel) -> bool:
    """Return whether an evaluation was made with this model, these rows, and this metric."""
    if evaluation is None or evaluation.digest != digest(work):
        return False
    return evaluation.model in ("", answering.identity_of(found))


def shortfalls(evaluation: Evaluation, spec: EvaluationSpec) -> list[str]:
    """Return the requirements of the gate that are not met, in words; empty if it is passed."""
    metric, require = evaluation.metric, spec.require
    tuned, base = evaluation.tuned[metric], evaluation.base[metric]
    is_now = f"{metric} is {format_number(tuned)}"
    misses = []
    if require.at_least is not None and tuned < require.at_least:
        misses.append(f"{is_now}, at_least: {require.at_least:g} is required")
    if not require.better_than_base:
        return misses
    if tuned <= base:
        misses.append(f"{is_now}, not better than the base model's {format_number(base)}")
    elif tuned - base < require.better_by - _ROUNDING:
        misses.append(
            f"{is_now}, {format_number(tuned - base)} better than the base model's, "
            f"better_by: {require.better_by:g} is required"
        )
    found = evaluation.interval
    if require.significant and found is None:
        misses.append(f"significant: {evaluation.count} held-out row is too few")
    elif require.significant and found and found.low <= require.better_by:
        misses.append(
            f"significant: the difference in {metric} is {format_number(found.low)} to "
            f"{format_number(found.high)} with 95 % confidence, it must be above {require.better_by:g}"
        )
    return misses


_ROUNDING = 1e-9
"""0.9 - 0.8 is slightly less than 0.1 in floating point."""


def why(evaluation: Evaluation, spec: EvaluationSpec) -> str:
    """Return why a model that passed its gate may be shared, in words."""
    metric, require = evaluation.metric, spec.require
    reasons = [f"at_least: {require.at_least:g}"] if require.at_least is not None else []
    if require.better_than_base:
        by = f" by {require.better_by:g}" if require.better_by else ""
        significantly = ", significantly" if require.significant else ""
        base = format_number(evaluation.base[metric])
        reasons.append(f"better than the base model's {base}{by}{significantly}")
    if not reasons:
        return NO_GATE
    return f"{metric} is {format_number(evaluation.tuned[metric])}, {', '.join(reasons)}"


def forced(misses: str, user: str) -> str:
    """Return why a model that missed its gate may be shared: who used ``--force-share``."""
    return f"{FORCED} by {user}: {misses}"


def lapsed(allowed: str) -> str:
    """Return why a model that misses its gate now was shared earlier; empty if it was not."""
    return allowed if not allowed or allowed.startswith(_LAPSED) else f"{_LAPSED}{allowed}"


def was_forced(allowed: str, misses: str) -> bool:
    """Return whether a user has forced the sharing already despite the same ``misses``."""
    return allowed.startswith(FORCED) and allowed.endswith(f": {misses}")


RESAMPLES = 10_000
MAX_DRAWS_AT_ONCE = 1_000_000
PERCENTILES = (2.5, 97.5)


def interval(differences: Sequence[float], seed: str) -> Interval | None:
    """Return the 95 % interval of the mean difference, by a paired percentile bootstrap (Efron 1979).

    Rows are drawn with replacement, each with both of its scores, ``RESAMPLES`` times. The same
    ``seed``, any text, gives the same interval. Less than two rows have no spread: returns None.
    """
    count = len(differences)
    if count < 2:  # noqa: PLR2004 -- explained above
        return None
    if min(differences) == max(differences):  # every draw has this mean
        return Interval(differences[0], differences[0])
    import numpy as np

    seed_number = int.from_bytes(hashlib.sha256(seed.encode()).digest())
    generator = np.random.Generator(np.random.PCG64(seed_number))
    values = np.asarray(differences, dtype=np.float64)
    at_once = max(1, MAX_DRAWS_AT_ONCE // count)
    sizes = [min(at_once, RESAMPLES - start) for start in range(0, RESAMPLES, at_once)]
    draws = [values[generator.integers(0, count, (size, count))].mean(axis=1) for size in sizes]
    low, high = np.percentile(np.concatenate(draws), PERCENTILES)
    return Interval(float(low), float(high))
