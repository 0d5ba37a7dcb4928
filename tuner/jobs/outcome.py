"""Outcomes of jobs, as plain data for the screen and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING

from tuner.errors import Cancelled, GateNotMet, TunerError, TuningFailed
from tuner.events.reporters import scores
from tuner.formatting import format_number
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tuner.job import Evaluation, Job, ScoredRow
    from tuner.types import Permission

MAX_SAMPLE_ROWS = 6
EXIT_CODES_BY_WEIGHT = (1, 2, 4, 5, 3, 7, 6)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one job.

    Attributes:
        job: In its last state.
        error: What ended the run early.
        permissions: What the service lists at the end.
        is_news: Whether the run changed anything; False if everything was as the spec says.
    """

    job: Job
    error: TunerError | None = None
    permissions: tuple[Permission, ...] = ()
    is_news: bool = True

    @property
    def failure(self) -> TunerError | None:
        """The error to show; None if the job succeeded or continues."""
        return self.error or failure(self.job)


def failure(job: Job) -> TunerError | None:
    """Return why a job failed, with a fix; None if it succeeded or continues."""
    what = f"{job.title}: {job.error}"
    retry = f"`tuner retry {quote(job.title)}` tunes it again from the start"
    overrule = "`tuner run --force-share`"
    if not job.is_on_disk:
        retry = f"`tuner models delete {job.tuned_model}` and run it again"
        overrule = "force_share=True"
    if job.stopping:
        retry = f"change early_stopping or the data; {retry}"
    match job.phase:
        case Phase.FAILED:
            return TuningFailed(what, retry)
        case Phase.CANCELLED:
            return Cancelled(what, retry)
        case Phase.REJECTED:
            unchanged = "existing permissions are unchanged"
            return GateNotMet(
                f"{what}; {unchanged if job.allowed else 'nothing was shared or transferred'}",
                "more epochs, more or better data may help; `evaluation.require` is the gate, and "
                f"{overrule} overrules it",
            )
        case _:
            return None


def gravest(codes: Collection[int]) -> int:
    """Return the exit code of the worst failure; 0 without any."""
    return next((code for code in EXIT_CODES_BY_WEIGHT if code in codes), 0)


def record(outcome: Outcome) -> dict[str, object]:
    """Return one outcome, without the texts of examples."""
    job = outcome.job
    return {
        **summary(job),
        "evaluation": scores(job.evaluation) if job.evaluation else None,
        "permissions": permission_rows(outcome.permissions),
        "error": outcome.failure.what if outcome.failure else None,
    }


def summary(job: Job) -> dict[str, object]:
    """Return one row of ``tuner status``; scores are by the job's metric, unrounded."""
    evaluation = job.evaluation
    return {
        "job": job.title,
        "phase": job.phase.value,
        "steps": f"{job.completed_steps}/{job.total_steps}" if job.total_steps else None,
        "loss": job.mean_loss,
        "tuned": evaluation and evaluation.tuned[evaluation.metric],
        "base": evaluation and evaluation.base[evaluation.metric],
        "target": job.where,
        "tuned_model": job.tuned_model,
    }


def permission_rows(permissions: Sequence[Permission]) -> list[dict[str, object]]:
    """Return who has access, the owner first."""
    order = {"OWNER": 0, "WRITER": 1, "READER": 2}
    grants = sorted((each.grant for each in permissions), key=lambda grant: order[grant.role])
    return [
        {
            "role": grant.role.value,
            "grantee_type": grant.grantee_type.value,
            "email_address": grant.email_address,
        }
        for grant in grants
    ]


def score_rows(*evaluations: Evaluation) -> list[dict[str, object]]:
    """Return the scores of base and tuned model, by every metric of evaluations of the same rows."""
    base = {metric: score for each in evaluations for metric, score in each.base.items()}
    tuned = {metric: score for each in evaluations for metric, score in each.tuned.items()}
    return [
        {
            "model": name,
            **{metric: format_number(score) for metric, score in scores.items()},
            "rows": evaluations[0].count,
        }
        for name, scores in (("base", base), ("tuned", tuned))
    ]


def difference(evaluation: Evaluation) -> str:
    """Return the difference between tuned and base model with its interval, on one line."""
    metric, interval = evaluation.metric, evaluation.interval
    by = f"difference of {metric} {format_number(evaluation.tuned[metric] - evaluation.base[metric])}"
    if interval is None:
        return by
    low, high = format_number(interval.low), format_number(interval.high)
    return f"{by}, 95 % between {low} and {high} (paired bootstrap, {evaluation.count:,} rows)"


def sample_rows(evaluation: Evaluation) -> list[dict[str, object]]:
    """Return a few held-out rows with both answers, spread evenly over all, shortened."""
    rows = evaluation.rows
    step = max(1, len(rows) // MAX_SAMPLE_ROWS)
    return [short_row(row) for row in rows[::step][:MAX_SAMPLE_ROWS]]


def short_row(row: ScoredRow) -> dict[str, object]:
    """Return the texts of a held-out row, shortened to fit on a line."""
    keys = ("text_input", "expected", "base", "tuned")
    return shorten_texts({key: getattr(row, key) for key in keys})


def row_record(row: ScoredRow) -> dict[str, object]:
    """Return a held-out row with its answers and scores."""
    keys = ("line", "text_input", "expected", "base", "tuned", "base_score", "tuned_score")
    return {key: getattr(row, key) for key in keys}


def shorten_texts(row: Mapping[str, object]) -> dict[str, object]:
    """Shorten the texts of a row to fit on a line; of ``text_input`` the last line is shown."""
    short = {key: text if key == "line" else _shorten(str(text), 24) for key, text in row.items()}
    return short | {"text_input": _shorten(str(row["text_input"]).rpartition("\n")[2], 60)}


def _shorten(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
