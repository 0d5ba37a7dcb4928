"""The gate: the tuned model must beat its base on held-out rows before anything is shared."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import json
import socket
from typing import TYPE_CHECKING

from tuner.jobs import asking, events, metrics
from tuner.jobs.job import Evaluation, Judged
from tuner.types import GenerationConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.jobs.answers import Answers
    from tuner.jobs.events import Tell
    from tuner.jobs.job import Job
    from tuner.jobs.spec import Evaluation as Asked
    from tuner.jobs.work import Work
    from tuner.targets import Target
    from tuner.types import Example

SPARE_TOKENS = 8
NO_GATE = "no gate was asked for"
_FORCED = "forced by --force-share"


async def evaluate(
    target: Target, job: Job, work: Work, answers: Answers, tell: Tell
) -> Evaluation:
    """Answer every held-out row with the tuned model and its base, greedily, and score the answers.

    ``tell`` hears of every answer; what is in ``answers`` already is not asked again.

    Raises:
        TunerError: As ``asking.ask``.
    """
    rows = work.holdout
    config = GenerationConfig(temperature=0.0, max_output_tokens=answer_tokens(rows))
    done = 0

    def count(answered: int) -> None:
        nonlocal done
        done += answered
        tell(events.Evaluating(job, done, 2 * len(rows)))

    prompts = [row.text_input for row in rows]
    base_model = work.spec.base_model or work.spec.tuned_model_source
    tuned, base = await asyncio.gather(
        asking.ask(target, job.tuned_model, prompts, config, answers, count),
        asking.ask(target, base_model, prompts, config, answers, count),
    )
    return compared(work, tuned, base)


def compared(work: Work, tuned: Sequence[str], base: Sequence[str]) -> Evaluation:
    """The evaluation that these answers to the held-out rows make."""
    asked, rows = work.spec.evaluation, work.holdout
    metric = _metric(asked) if asked else "exact_match"
    score = metrics.ALWAYS[metric]
    judged = tuple(
        Judged(
            *(row.text_input, row.output, by_tuned, by_base, row.line),
            score(row.output, by_tuned),
            score(row.output, by_base),
        )
        for row, by_tuned, by_base in zip(rows, tuned, base, strict=True)
    )
    return Evaluation(
        digest=digest(work),
        metric=metric,
        tuned=_means(rows, tuned, metric, [row.tuned_score for row in judged]),
        base=_means(rows, base, metric, [row.base_score for row in judged]),
        count=len(rows),
        rows=judged,
    )


def _means(
    rows: Sequence[Example], said: Sequence[str], metric: str, scores: Sequence[float]
) -> dict[str, float]:
    means = {
        name: sum(score(row.output, answer) for row, answer in zip(rows, said, strict=True))
        / len(rows)
        for name, score in metrics.ALWAYS.items()
    }
    return {**means, metric: sum(scores) / len(rows)}


def answer_tokens(rows: Sequence[Example]) -> int:
    """How far an answer may go: past the longest right one it can only be wrong.

    No tokenizer makes more tokens than a text has UTF-8 bytes.
    """
    return max(len(row.output.encode()) for row in rows) + SPARE_TOKENS


def digest(work: Work) -> str:
    """A name for the held-out rows, and for how they are asked and compared."""
    asked = work.spec.evaluation
    content: list[object] = [(row.text_input, row.output) for row in work.holdout]
    if asked is not None and _metric(asked) != "exact_match":
        content.append({"metric": _metric(asked)})
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _metric(asked: Asked) -> str:
    return str(getattr(asked.metric, "kind", asked.metric))


def shortfalls(evaluation: Evaluation, asked: Asked) -> list[str]:
    """What the gate misses, in words; empty when it is passed."""
    metric, require = evaluation.metric, asked.require
    tuned, base = evaluation.tuned[metric], evaluation.base[metric]
    misses = []
    if require.at_least is not None and tuned < require.at_least:
        misses.append(f"{metric} is {tuned:.3f}, at_least: {require.at_least:g} is required")
    if require.better_than_base and tuned <= base:
        misses.append(f"{metric} is {tuned:.3f}, not better than the base model's {base:.3f}")
    return misses


def why(evaluation: Evaluation, asked: Asked) -> str:
    """Why a model that passed its gate may be shared, in words."""
    metric, require = evaluation.metric, asked.require
    reasons = [f"at_least: {require.at_least:g}"] if require.at_least is not None else []
    if require.better_than_base:
        reasons.append(f"better than the base model's {evaluation.base[metric]:.3f}")
    if not reasons:
        return NO_GATE
    return f"{metric} is {evaluation.tuned[metric]:.3f}, {', '.join(reasons)}"


def forced(misses: str) -> str:
    """Why a model that missed its gate may be shared nevertheless: who said so."""
    return f"{_FORCED} by {getpass.getuser()}@{socket.gethostname()}: {misses}"


def was_forced(allowed: str, misses: str) -> bool:
    """Whether somebody allowed the sharing already although these same things were missed."""
    return allowed.startswith(_FORCED) and allowed.endswith(f": {misses}")
