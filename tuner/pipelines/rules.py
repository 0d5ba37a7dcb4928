"""What must hold between the stages of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.jobspec.prepared_job import new_tuned_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.errors import Problem
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.entries import Entry
    from tuner.pipelines.spec import Stage


def broken_pipeline(entries: Sequence[Entry], stages: dict[str, list[Stage]]) -> list[Problem]:
    """Every such rule that is broken by the stages of each entry."""
    compared = [problem for entry in entries for problem in _not_comparable(entry, stages)]
    return [*compared, *_same_twice(entries, stages)]


def _not_comparable(entry: Entry, stages: dict[str, list[Stage]]) -> Iterator[Problem]:
    """The best is told among models that answered the same rows by the same metric."""
    if entry.keys.keep != "best":
        return
    evaluations = [stage.work.spec.evaluation for stage in stages[entry.name]]
    what = ""
    if not all(evaluations):
        what = "keep: best needs held-out rows to compare by"
        fix = "add evaluation: with holdout: 0.1 to the spec, or write keep: all"
    elif len({each.metric for each in evaluations if each}) > 1:
        what = "keep: best compares by one metric, and the variants have several"
        fix = "take evaluation.metric out of the matrix, or write keep: all"
    elif len({_outputs(stage.work) for stage in stages[entry.name]}) > 1:
        what = "keep: best compares by the same held-out rows, and the variants have others"
        fix = "name them in evaluation.path, or write keep: all"
    if what:
        yield entry.document.problem(("keep",), what, fix, "not-comparable")


def _outputs(work: PreparedJob) -> tuple[str, ...]:
    return tuple(row.output for row in work.holdout)


def _same_twice(entries: Sequence[Entry], stages: dict[str, list[Stage]]) -> Iterator[Problem]:
    """Two jobs of one model would take turns with its permissions."""
    seen: dict[tuple[str, ...], Stage] = {}
    for entry in entries:
        for stage, variant in zip(stages[entry.name], entry.variants, strict=True):
            model = (stage.work.spec.target.where, new_tuned_model(stage.work).name, stage.source)
            if model not in seen:
                seen[model] = stage
                continue
            at = variant.settings[-1].where if variant.settings else ()
            what = f"{stage.name} tunes the same as {seen[model].name}"
            fix = "drop one of them"
            if stage.work.spec.tuned_model_id:
                what = f"{stage.name} would be {model[1]}, as {seen[model].name} is"
                fix = "leave tuned_model_id out: then each has an id of its own"
            elif stage.grouping == seen[model].grouping:
                what += ": the matrix changes nothing that is tuned"
            yield entry.document.problem(at, what, fix, "same-twice")
