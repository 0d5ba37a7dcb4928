"""What became of a job, as plain data for the screen and for programs."""

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

SAMPLE_ROWS = 6
EXIT_CODES_BY_WEIGHT = (1, 2, 4, 5, 3, 7, 6)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one job.

    Attributes:
        job: As it stands in the end.
        error: What stopped us on the way.
        permissions: What the service lists in the end.
        is_news: Whether something was done about it; False where it was found as it should be.
    """

    job: Job
    error: TunerError | None = None
    permissions: tuple[Permission, ...] = ()
    is_news: bool = True

    @property
    def failure(self) -> TunerError | None:
        """What to tell the user, None when all went well."""
        return self.error or failure(self.job)


def failure(job: Job) -> TunerError | None:
    """Why the job did not end well, with the way on; None when it did or goes on."""
    what = f"{job.title}: {job.error}"
    again = f"`tuner retry {quote(job.title)}` tunes it again, whole"
    overrule = "`tuner run --force-share`"
    if not job.is_on_disk:
        again = f"`tuner models delete {job.tuned_model}` and run it again"
        overrule = "force_share=True"
    if job.stopping:
        again = f"change early_stopping or what is tuned; {again}"
    match job.phase:
        case Phase.FAILED:
            return TuningFailed(what, again)
        case Phase.CANCELLED:
            return Cancelled(what, again)
        case Phase.REJECTED:
            done = "nothing more is done, what it was given before stays"
            return GateNotMet(
                f"{what}; {done if job.allowed else 'nothing was shared or transferred'}",
                "more epochs, more or better data may help; `evaluation.require` is the gate, and "
                f"{overrule} overrules it",
            )
        case _:
            return None


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """The gravest code among the jobs', 0 when all went well."""
    return gravest({outcome.failure.exit_code for outcome in outcomes if outcome.failure})


def gravest(codes: Collection[int]) -> int:
    """The one to end with; 0 without any."""
    return next((code for code in EXIT_CODES_BY_WEIGHT if code in codes), 0)


def record(outcome: Outcome) -> dict[str, object]:
    """One outcome, without the texts of examples."""
    job = outcome.job
    return {
        **summary(job),
        "evaluation": scores(job.evaluation) if job.evaluation else None,
        "permissions": permission_rows(outcome.permissions),
        "error": outcome.failure.what if outcome.failure else None,
    }


def summary(job: Job) -> dict[str, object]:
    """One line of ``tuner status``; scores are those of the job's metric, unrounded."""
    scored = job.evaluation
    return {
        "job": job.title,
        "phase": job.phase.value,
        "steps": f"{job.completed_steps}/{job.total_steps}" if job.total_steps else None,
        "loss": job.mean_loss,
        "tuned": scored and scored.tuned[scored.metric],
        "base": scored and scored.base[scored.metric],
        "target": job.where,
        "tuned_model": job.tuned_model,
    }


def permission_rows(permissions: Sequence[Permission]) -> list[dict[str, object]]:
    """Who has access, the owner first."""
    order = {"OWNER": 0, "WRITER": 1, "READER": 2}
    listed = sorted(permissions, key=lambda permission: order[permission.grant.role])
    return [
        {
            "role": permission.grant.role.value,
            "grantee_type": permission.grant.grantee_type.value,
            "email_address": permission.grant.email_address,
        }
        for permission in listed
    ]


def score_rows(*evaluations: Evaluation) -> list[dict[str, object]]:
    """Tuned and base side by side, by every metric of evaluations of the same rows."""
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
    """By how much tuned is better than base, and how sure that is, in a line."""
    metric, interval = evaluation.metric, evaluation.interval
    by = f"difference of {metric} {format_number(evaluation.tuned[metric] - evaluation.base[metric])}"
    if interval is None:
        return by
    how = f"paired bootstrap, {evaluation.count:,} rows"
    return f"{by}, 95 % between {format_number(interval.low)} and {format_number(interval.high)} ({how})"


def sample_rows(evaluation: Evaluation) -> list[dict[str, object]]:
    """Some held-out rows as both models answered them, spread evenly over all."""
    rows = evaluation.rows
    step = max(1, len(rows) // SAMPLE_ROWS)
    return [sample(row) for row in rows[::step][:SAMPLE_ROWS]]


def row_record(row: ScoredRow) -> dict[str, object]:
    """A held-out row, whole."""
    return {
        "line": row.line,
        "text_input": row.text_input,
        "expected": row.expected,
        "base": row.base,
        "tuned": row.tuned,
        "base_score": row.base_score,
        "tuned_score": row.tuned_score,
    }


def sample(row: ScoredRow) -> dict[str, object]:
    """A held-out row, as far as it fits into a line."""
    return {
        "text_input": _short(row.text_input.rpartition("\n")[2], 60),
        "expected": _short(row.expected, 24),
        "base": _short(row.base, 24),
        "tuned": _short(row.tuned, 24),
    }


def fitting(row: Mapping[str, object]) -> dict[str, object]:
    """A row that models are compared on, its texts as far as they fit into a line."""
    text = _short(str(row["text_input"]).rpartition("\n")[2], 60)
    given = {key: value if key == "line" else _short(str(value), 24) for key, value in row.items()}
    return {**given, "text_input": text}


def _short(text: str, width: int) -> str:
    """A text on one line, cut to ``width`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
