"""`tuner eval` and `tuner compare`: score models on held-out rows; nothing is changed."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from tuner.cli.options import output_option, set_option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner.cli.eval_subjects import Subject
    from tuner.evaluation.answering import AnswerCache
    from tuner.evaluation.compare import ModelScore
    from tuner.events.events import Event
    from tuner.job import Evaluation, Job
    from tuner.jobs.store import Store
    from tuner.jobspec.prepared_job import PreparedJob

DATA = click.option(
    "--data",
    "spec",
    metavar="SPEC",
    help="Use the held-out rows of this spec instead of the job's own.",
)
SET = set_option("evaluation.max_examples=50")
AGAIN = click.option("--again", is_flag=True, help="Ignore stored answers and generate them again.")


@click.command("eval")
@click.argument("subject", metavar="JOB|SPEC|MODEL")
@DATA
@SET
@click.option(
    "--metric",
    "kinds",
    multiple=True,
    metavar="KIND",
    help="Use this metric instead of the spec's: normalized_match, contains, json, token_f1, "
    "rouge_l, chrf, numeric, or module:function. Repeatable.",
)
@click.option("--rows", is_flag=True, help="Print every row with both answers and their scores.")
@click.option("--gate", is_flag=True, help="Exit with code 3 if the spec's gate is not met.")
@AGAIN
@output_option
@click.pass_context
def evaluate(  # noqa: PLR0913 -- one parameter an option
    ctx: click.Context,
    subject: str,
    *,
    spec: str | None,
    overrides: tuple[str, ...],
    kinds: tuple[str, ...],
    rows: bool,
    gate: bool,
    again: bool,
    output: str,
) -> int:
    """Evaluate a tuned model and its base model on held-out rows.

    JOB is the name of a job or of its tuned model; MODEL is any model, with --data. Nothing is changed
    or shared. Stored answers are reused.
    """
    from tuner.cli.eval_subjects import find_subject, suggest_run
    from tuner.jobs.store import open_store

    with open_store() as store:
        found = find_subject(subject, spec, store, overrides)
        own = [found.work] if gate or not kinds else []
        works = [*own, *(_with_metric(found.work, kind) for kind in kinds)]
        answers = _caches(store, again=again)
        with suggest_run(found.job, store):
            evaluations = asyncio.run(_evaluated(found.job, works, answers, _reporter(ctx)))
    misses = _misses(found.work, evaluations)
    if rows:
        _show_rows(evaluations[0], output)
    else:
        _show(found, evaluations, misses, output)
    return 3 if gate and misses else 0


@click.command()
@click.argument("subjects", metavar="JOB|SPEC|MODEL...", nargs=-1, required=True)
@DATA
@SET
@click.option("--rows", is_flag=True, help="Print the rows where the models' scores differ.")
@AGAIN
@output_option
@click.pass_context
def compare(  # noqa: PLR0913 -- one parameter an option
    ctx: click.Context,
    subjects: tuple[str, ...],
    *,
    spec: str | None,
    overrides: tuple[str, ...],
    rows: bool,
    again: bool,
    output: str,
) -> None:
    """Compare several models on the same held-out rows.

    The rows are those of --data, or else of the first job's spec. Models are sorted by score; differences
    are relative to the first model named, with their 95 % interval. Nothing is changed.
    """
    from tuner.cli.eval_subjects import find_job, find_subject
    from tuner.cli.output import show
    from tuner.formatting import format_floats
    from tuner.jobs.outcome import shorten_texts
    from tuner.jobs.store import open_store

    with open_store() as store:
        first = find_subject(subjects[0], spec, store, overrides)
        jobs = [first.job, *(find_job(name, first.work, store) for name in subjects[1:])]
        click.echo(f"{_count(len(first.work.holdout))} of {first.work.spec.path}", err=True)
        answers = _caches(store, again=again)
        models = asyncio.run(_compared(jobs, first.work, answers, _reporter(ctx)))
    metric = _metric(first.work)
    shown = _differing(first.work, models) if rows else _ranked(models, metric)
    if output == "table":
        shown = list(map(shorten_texts if rows else format_floats, shown))
    if shown or output != "table":
        show(shown, output)
    else:
        click.echo("the models have equal scores on every row", err=True)


async def _compared(
    jobs: Sequence[Job],
    work: PreparedJob,
    answers: Callable[[str], AnswerCache],
    emit: Callable[[Event], None],
) -> list[ModelScore]:
    from tuner.evaluation import compare
    from tuner.jobs.target_pool import Connections

    async with Connections() as connections:
        return await compare.compare_models(jobs, work, connections.get, answers, emit)


def _metric(work: PreparedJob) -> str:
    from tuner.evaluation.gate import metric_of

    return metric_of(work).kind


def _caches(store: Store, *, again: bool) -> Callable[[str], AnswerCache]:
    """Return the caches of answers by target; with ``again`` they ignore earlier runs."""
    from tuner.evaluation.answering import NoCache

    known: dict[str, AnswerCache] = {}

    def cache_of(where: str) -> AnswerCache:
        if where not in known:
            cache = store.answers(where)
            known[where] = NoCache(cache) if again else cache
        return known[where]

    return cache_of


def _with_metric(work: PreparedJob, kind: str) -> PreparedJob:
    """Return the job with another metric."""
    from tuner.evaluation.metrics import check
    from tuner.jobspec.rules import METRICS
    from tuner.jobspec.schema import EvaluationSpec, MetricSpec

    words = [name for name in METRICS if name not in ("regex", "judge")]
    if kind not in words and ":" not in kind:
        known = f"use {', '.join(words)} or module:function"
        raise click.UsageError(
            f"--metric {kind}: {known}; other metrics: --set evaluation.metric='{{kind: ...}}'"
        )
    for what, fix in check(MetricSpec(kind), work.spec.path.parent):
        raise click.UsageError(f"--metric {kind}: {what}; {fix}")
    evaluation = replace(work.spec.evaluation or EvaluationSpec(), metric=MetricSpec(kind))
    return replace(work, spec=replace(work.spec, evaluation=evaluation))


async def _evaluated(
    job: Job,
    works: Sequence[PreparedJob],
    answers: Callable[[str], AnswerCache],
    emit: Callable[[Event], None],
) -> list[Evaluation]:
    """Evaluate each job; all use the answers of the first."""
    from tuner.evaluation import gate
    from tuner.targets import open_target

    evaluations = []
    async with open_target(job.target) as target:
        for work in works:
            evaluations.append(await gate.evaluate(target, job, work, answers(job.where), emit))
            emit = _ignore  # all answers are cached
    return evaluations


def _ignore(_: Event) -> None:
    """Ignore an event."""


def _reporter(ctx: click.Context) -> Callable[[Event], None]:
    from tuner.events.reporters import Lines

    return _ignore if ctx.obj["quiet"] else Lines(sys.stderr)


def _misses(work: PreparedJob, evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the unmet requirements of the spec's gate, by the spec's metric."""
    from tuner.evaluation.gate import shortfalls

    found = next((each for each in evaluations if each.metric == _metric(work)), None)
    spec = work.spec.evaluation
    return shortfalls(found, spec) if spec and found else []


def _show(
    found: Subject, evaluations: Sequence[Evaluation], misses: Sequence[str], output: str
) -> None:
    from tuner.cli.output import show
    from tuner.jobs.outcome import difference, score_rows

    if output != "table":
        show(_record(found, evaluations, misses), output)
        return
    show(score_rows(*evaluations), "table")
    for line in map(difference, evaluations):
        click.echo(line)
    for who, count in _empty_answers(evaluations[0]).items():
        if count:
            click.echo(f"{who}: {count} empty answers, counted as wrong")
    for miss in misses:
        click.echo(f"the gate is not met: {miss}", err=True)


def _record(
    found: Subject, evaluations: Sequence[Evaluation], misses: Sequence[str]
) -> dict[str, object]:
    from tuner.events.reporters import scores

    return {
        "job": found.job.title,
        "tuned_model": found.job.tuned_model,
        "spec": str(found.work.spec.path),
        "evaluations": [scores(evaluation) for evaluation in evaluations],
        "without_text": _empty_answers(evaluations[0]),
        "misses": list(misses),
    }


def _empty_answers(evaluation: Evaluation) -> dict[str, int]:
    """Count the empty answers of both models."""
    rows = evaluation.rows
    return {"tuned": sum(not row.tuned for row in rows), "base": sum(not row.base for row in rows)}


def _show_rows(evaluation: Evaluation, output: str) -> None:
    from tuner.cli.output import show
    from tuner.jobs.outcome import row_record, short_row

    make = short_row if output == "table" else row_record
    show([make(row) for row in evaluation.rows], output)


def _ranked(models: Sequence[ModelScore], metric: str) -> list[dict[str, object]]:
    ranked = sorted(models, key=lambda model: -model.mean)
    return [
        {
            "job": model.job.title,
            metric: model.mean,
            "difference": model.difference if model.interval else None,
            "low": model.interval.low if model.interval else None,
            "high": model.interval.high if model.interval else None,
            "rows": len(model.scores),
            "tuned_model": model.job.tuned_model,
        }
        for model in ranked
    ]


def _differing(work: PreparedJob, models: Sequence[ModelScore]) -> list[dict[str, object]]:
    """Return the rows where the models' scores differ."""
    scores = zip(*(model.scores for model in models), strict=True)
    return [
        {
            "line": row.line,
            "text_input": row.text_input,
            "expected": row.output,
            **{model.job.title: model.answers[at] for model in models},
        }
        for at, (row, each) in enumerate(zip(work.holdout, scores, strict=True))
        if len(set(each)) > 1
    ]


def _count(rows: int) -> str:
    return f"{rows:,} held-out row{'s' * (rows != 1)}"
