"""plan: what `tuner run` would do about jobs, and why, before anything is sent."""

from __future__ import annotations

import asyncio
import shlex
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tuner.cli.options import output_option, set_option, target_options
from tuner.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.pipelines.load import LoadedFiles, LoadedJob
    from tuner.pipelines.plan import PlanItem
    from tuner.types import TargetConfig


@click.command()
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@set_option()
@click.option(
    "--detailed-exitcode",
    "is_detailed",
    is_flag=True,
    help="Exit 6 when there is something to do, 4 when an owner differs, 3 when a gate is missed, 1 when a tuning failed.",
)
@target_options
@output_option
def plan(
    specs: tuple[str, ...],
    *,
    overrides: tuple[str, ...],
    is_detailed: bool,
    config: TargetConfig,
    output: str,
) -> int:
    """Say what `tuner run SPEC` would do about each job, and why.

    SPEC is a spec, a pipeline, or a folder of them. The targets that the specs name are asked, or
    the one named here in their place; only reads are sent. Exit code 2 when something cannot be
    done. Unlike terraform's, exit code 2 of --detailed-exitcode is no change to be made: that is 6.
    """
    from tuner.pipelines.plan import exit_code

    given = _target(config)
    loaded = load_all(specs, overrides, given)
    items = asyncio.run(planned(loaded))
    show_plan(items, output)
    if output == "table":
        click.echo(_summary(items, specs, is_elsewhere=given is not None), err=True)
    for text in dict.fromkeys(str(item.error) for item in items if item.error):
        click.echo(text, err=True)
    return exit_code(items, is_detailed=is_detailed)


async def planned(loaded: LoadedFiles, *, force: bool = False) -> list[PlanItem]:
    """What is to be done about jobs and the stages of pipelines, as their targets are now."""
    from tuner.jobs.store import open_store
    from tuner.jobs.target_pool import Connections
    from tuner.pipelines.plan import plan as planned_
    from tuner.tokens import token_counter

    with open_store() as ledger:
        async with Connections() as connections:
            return await planned_(
                loaded.jobs(force=force), ledger, connections.get, token_counter()
            )


def show_plan(items: Sequence[PlanItem], output: str) -> None:
    """A row a job; other forms than the table have more of each."""
    from tuner.cli.output import show

    show([_row(item) for item in items] if output == "table" else list(map(record, items)), output)


def record(item: PlanItem) -> dict[str, object]:
    """One job of a plan, for programs."""
    return {
        "job": item.title,
        "action": item.action.value,
        "reasons": list(item.reasons),
        "changes": list(item.changes),
        "fix": item.fix,
        "examples": len(item.work.examples),
        "tokens": item.tokens,
        "steps": item.steps,
        "tuned_model": item.tuned_model or None,
        "target": item.work.spec.target.kind,
        "spec": str(item.path),
    }


def _row(item: PlanItem) -> dict[str, object]:
    fix = f" ({item.fix})" if item.fix else ""
    return {
        "job": item.title,
        "action": item.action.value,
        "reason": "; ".join(item.reasons) + fix,
        "changes": item.changes,
        "examples": f"{len(item.work.examples):,}",
        "tokens": None if item.tokens is None else f"{item.tokens:,}",
        "steps": f"{item.steps:,}",
        "tuned_model": item.tuned_model or None,
    }


_WORDS = {
    "create": "to create",
    "adopt": "to adopt",
    "resume": "to go on with",
    "drift": "to share as the spec says",
    "after": "to come after",
    "unchanged": "unchanged",
    "owner differs": "with another owner",
    "model not found": "without a model to tune",
    "cannot": "that cannot be done",
    "rejected": "rejected by the gate",
    "failed": "failed",
    "unknown": "unknown",
}


def _summary(items: Sequence[PlanItem], specs: Sequence[str], *, is_elsewhere: bool) -> str:
    """How many of each, and what to type next."""
    counts = Counter(item.action.value for item in items)
    told = ", ".join(f"{counts[each]} {words}" for each, words in _WORDS.items() if counts[each])
    if any(item.is_blocked for item in items):
        return f"{told}; nothing is sent until that is fixed"
    to_do = any(item.changes or item.action.value in ("adopt", "resume") for item in items)
    if is_elsewhere or not to_do:
        return told
    return f"{told}; `tuner run {shlex.join(specs)}` does it"


def _target(config: TargetConfig) -> TargetConfig | None:
    """The target that was named in place of the specs' own; None for those."""
    source = click.get_current_context().get_parameter_source("kind")
    is_said = source is click.core.ParameterSource.COMMANDLINE
    return config if is_said or any(v for k, v in asdict(config).items() if k != "kind") else None


@click.command()
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@set_option()
@click.option("--strict", is_flag=True, help="Warnings count: exit code 2 for them too.")
@output_option
def validate(
    specs: tuple[str, ...], *, overrides: tuple[str, ...], strict: bool, output: str
) -> int:
    """Say everything that is wrong with SPEC and its data.

    SPEC is a spec, a pipeline, or a folder of them. Nothing is sent and nothing is written. Exit
    code 2 when something is wrong.
    """
    from tuner.cli.output import show

    loaded = load_all(specs, overrides)
    rows = [validation_row(asked) for asked in loaded.jobs()]
    show(rows[0] if len(rows) == 1 else rows, output)
    has_warnings = any(work.warnings for work in loaded.every_work)
    return InvalidInput.exit_code if strict and has_warnings else 0


def load_all(
    specs: Sequence[str], overrides: Sequence[str] = (), target: TargetConfig | None = None
) -> LoadedFiles:
    """Load every spec and pipeline with its data; warnings go to stderr, each once.

    Args are those of ``load_files``.

    Raises:
        InvalidInput: Everything that is wrong with any of them.
    """
    from tuner.pipelines.load import load_files
    from tuner.tokens import extra_checks

    loaded = load_files(specs, overrides, extra_checks(), target)
    for text in dict.fromkeys(str(each) for work in loaded.every_work for each in work.warnings):
        click.echo(text, err=True)
    return loaded


def validation_row(asked: LoadedJob) -> dict[str, object]:
    """A job or a stage in a line."""
    from tuner.jobspec.prepared_job import new_tuned_model

    work, spec = asked.work, asked.work.spec
    return {
        "spec": str(asked.path),
        "job": asked.title,
        "target": spec.target.kind,
        "model": spec.base_model or spec.tuned_model_source,
        "tuned_model": None if asked.source else new_tuned_model(work).name,
        "examples": len(work.examples),
        "held_out": len(work.holdout),
        "warnings": len(work.warnings),
    }
