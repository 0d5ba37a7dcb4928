"""The gate: the tuned model must beat its base on held-out rows before anything is shared."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import json
import socket
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from tuner.evaluation import answering, metrics
from tuner.evaluation.custom_metric import code_of
from tuner.evaluation.scorer import FEW, Scorer
from tuner.events.events import Event, EventKind
from tuner.formatting import format_number
from tuner.job import FORCED, Evaluation, Interval, ScoredRow
from tuner.jobspec.schema import MetricSpec
from tuner.types import GenerationConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.evaluation.answering import AnswerCache
    from tuner.events.events import EventHandler
    from tuner.job import Job
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.jobspec.schema import EvaluationSpec as Wanted
    from tuner.targets import Target
    from tuner.types import Example, TunedModel

SPARE_TOKENS = 8
NO_GATE = "no gate was asked for"
_LAPSED = "no longer: "


async def evaluate(
    target: Target, job: Job, work: PreparedJob, answers: AnswerCache, tell: EventHandler
) -> Evaluation:
    """Answer every held-out row with the tuned model and its base, greedily, and score the answers.

    Both get the very same prompt, but for ``base_instruction``. ``tell`` hears of every answer;
    what is in ``answers`` already is not asked again.

    Raises:
        TunerError: As ``answering.ask`` and ``Scorer``.
    """
    rows, config = work.holdout, settings(work.holdout)
    scorer = Scorer(metric_of(work), work, target, answers)
    done = 0

    def count(answered: int) -> None:
        nonlocal done
        done += answered
        tell(Event(EventKind.EVALUATING, job, done=done, total=2 * len(rows)))

    prompts = [row.text_input for row in rows]
    base_model = work.spec.base_model or work.spec.tuned_model_source
    who = await answering.identity(target, job.tuned_model)
    tuned, base = await answering.run_all(
        [
            answering.ask(target, job.tuned_model, prompts, config, answers, count, who),
            answering.ask(target, base_model, base_prompts(work), config, answers, count),
        ]
    )
    by_tuned, by_base = await scorer.scores(
        rows,
        [tuned, base],
        lambda judged, of: tell(Event(EventKind.JUDGING, job, done=judged, total=of)),
    )
    judged = tuple(
        ScoredRow(row.text_input, row.output, *each, row.line, *scores)
        for row, each, scores in zip(
            rows, zip(tuned, base, strict=True), zip(by_tuned, by_base, strict=True), strict=True
        )
    )
    name, kind = digest(work), metric_of(work).kind
    if _is_quick(judged):
        return replace(_summed_up(name, kind, judged), model=who)
    return replace(await asyncio.to_thread(_summed_up, name, kind, judged), model=who)


def _is_quick(judged: Sequence[ScoredRow]) -> bool:
    """Whether it is summed up before a thread has begun: few rows, of which every draw is the same."""
    return len(judged) <= FEW and len({row.tuned_score - row.base_score for row in judged}) <= 1


def settings(rows: Sequence[Example]) -> GenerationConfig:
    """Return greedy generation settings, limited to the length of the longest expected answer."""
    return GenerationConfig(temperature=0.0, max_output_tokens=answer_tokens(rows))


def answer_tokens(rows: Sequence[Example]) -> int:
    """How far an answer may go: past the longest right one it can only be wrong.

    No tokenizer makes more tokens than a text has UTF-8 bytes.
    """
    return max(len(row.output.encode()) for row in rows) + SPARE_TOKENS


def base_prompts(work: PreparedJob) -> list[str]:
    """Return the prompts for the base model, with ``base_instruction`` if the spec has one."""
    asked, instruction = work.spec.evaluation, work.spec.training_data.instruction
    prompts = [row.text_input for row in work.holdout]
    if asked is None or not asked.base_instruction:
        return prompts
    prefix = f"{instruction}\n\n" if instruction else ""
    return [f"{asked.base_instruction}\n\n{prompt.removeprefix(prefix)}" for prompt in prompts]


def metric_of(work: PreparedJob) -> MetricSpec:
    """Return the metric of a job."""
    return work.spec.evaluation.metric if work.spec.evaluation else MetricSpec()


def digest(work: PreparedJob) -> str:
    """A name for the held-out rows, and for how they are asked and compared.

    What the gate requires is no part of it: other numbers are held against the same scores.
    """
    content: list[object] = [(row.text_input, row.output) for row in work.holdout]
    asked, metric = work.spec.evaluation, metric_of(work)
    if asked is not None and asked.base_instruction:
        content.append({"base_instruction": asked.base_instruction})
    if metric != MetricSpec():
        code = code_of(metric.kind, work.spec.path.parent) if ":" in metric.kind else ""
        content.append(asdict(metric) | {"code": code})
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _summed_up(name: str, metric: str, judged: tuple[ScoredRow, ...]) -> Evaluation:
    differences = [row.tuned_score - row.base_score for row in judged]
    return Evaluation(
        digest=name,
        metric=metric,
        tuned=means(metric, [(row.expected, row.tuned, row.tuned_score) for row in judged]),
        base=means(metric, [(row.expected, row.base, row.base_score) for row in judged]),
        count=len(judged),
        interval=interval(differences, name),
        rows=judged,
    )


def means(metric: str, answered: Sequence[tuple[str, str, float]]) -> dict[str, float]:
    """Mean scores by metric, of rows with what was expected, the answer, and its score."""
    count = len(answered)
    always = {
        name: sum(score(expected, answer) for expected, answer, _ in answered) / count
        for name, score in metrics.ALWAYS.items()
    }
    return {**always, metric: sum(score for _, _, score in answered) / count}


def stands(evaluation: Evaluation | None, work: PreparedJob, found: TunedModel) -> bool:
    """Whether an evaluation is of these rows, asked and compared like this, and of this model."""
    if evaluation is None or evaluation.digest != digest(work):
        return False
    return evaluation.model in ("", answering.identity_of(found))


def shortfalls(evaluation: Evaluation, asked: Wanted) -> list[str]:
    """Return the requirements of the gate that are not met, in words; empty if it is passed."""
    metric, require = evaluation.metric, asked.require
    tuned, base = evaluation.tuned[metric], evaluation.base[metric]
    misses = []
    if require.at_least is not None and tuned < require.at_least:
        misses.append(
            f"{metric} is {format_number(tuned)}, at_least: {require.at_least:g} is required"
        )
    if require.better_than_base and tuned <= base:
        misses.append(
            f"{metric} is {format_number(tuned)}, not better than the base model's {format_number(base)}"
        )
    elif require.better_than_base and tuned - base < require.better_by - _ROUNDING:
        misses.append(
            f"{metric} is {format_number(tuned)}, {format_number(tuned - base)} better than the base model's, "
            f"better_by: {require.better_by:g} is required"
        )
    if require.better_than_base and require.significant:
        misses.extend(_not_significant(evaluation, require.better_by))
    return misses


_ROUNDING = 1e-9
"""0.9 less 0.8 is a hair less than 0.1."""


def _not_significant(evaluation: Evaluation, better_by: float) -> list[str]:
    found = evaluation.interval
    if found is None:
        return [f"significant: {evaluation.count} held-out row says nothing of chance"]
    if found.low > better_by:
        return []
    span = f"{format_number(found.low)} to {format_number(found.high)} with 95 % confidence"
    what = f"the difference in {evaluation.metric} is {span}, it must lie above {better_by:g}"
    return [f"significant: {what}"]


def why(evaluation: Evaluation, asked: Wanted) -> str:
    """Return why a model that passed its gate may be shared, in words."""
    metric, require = evaluation.metric, asked.require
    reasons = [f"at_least: {require.at_least:g}"] if require.at_least is not None else []
    if require.better_than_base:
        by = f" by {require.better_by:g}" if require.better_by else ""
        surely = ", significantly" if require.significant else ""
        base = evaluation.base[metric]
        reasons.append(f"better than the base model's {format_number(base)}{by}{surely}")
    if not reasons:
        return NO_GATE
    return f"{metric} is {format_number(evaluation.tuned[metric])}, {', '.join(reasons)}"


def forced(misses: str) -> str:
    """Why a model that missed its gate may be shared nevertheless: who said so."""
    return f"{FORCED} by {getpass.getuser()}@{socket.gethostname()}: {misses}"


def lapsed(allowed: str) -> str:
    """Why a model might be shared until a gate refused it; empty for one that never might."""
    return allowed if not allowed or allowed.startswith(_LAPSED) else f"{_LAPSED}{allowed}"


def was_forced(allowed: str, misses: str) -> bool:
    """Whether somebody allowed the sharing already although these same things were missed."""
    return allowed.startswith(FORCED) and allowed.endswith(f": {misses}")


RESAMPLES = 10_000
DRAWS_AT_ONCE = 1_000_000
PERCENTILES = (2.5, 97.5)


def interval(differences: Sequence[float], seed: str) -> Interval | None:
    """The 95 % interval of the mean difference, by a paired percentile bootstrap (Efron 1979).

    Rows are drawn with replacement, each with both of its scores, ``RESAMPLES`` times; ``seed`` is
    any text, the same one gives the same interval. None for less than two rows, which say nothing
    about spread.
    """
    count = len(differences)
    if count < 2:  # noqa: PLR2004 -- said above
        return None
    if min(differences) == max(differences):  # every draw has this mean
        return Interval(differences[0], differences[0])
    import numpy as np

    digest = hashlib.sha256(seed.encode()).digest()
    chance = np.random.Generator(np.random.PCG64(int.from_bytes(digest)))
    each = np.asarray(differences, dtype=np.float64)
    at_once = max(1, DRAWS_AT_ONCE // count)
    means = np.concatenate(
        [
            each[chance.integers(0, count, (min(at_once, RESAMPLES - start), count))].mean(axis=1)
            for start in range(0, RESAMPLES, at_once)
        ]
    )
    low, high = np.percentile(means, PERCENTILES)
    return Interval(float(low), float(high))
