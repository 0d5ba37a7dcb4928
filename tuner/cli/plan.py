"""`tuner plan` and `tuner validate`: what `tuner run` would do, and every error in a spec and its data."""

from __future__ import annotations

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
    help="Exit 6 if there are changes, 4 if an owner differs, 3 if a gate is not met, 1 if a tuning failed.",
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
    """Show what `tuner run SPEC` would do for each job, and why.

    SPEC is a job spec, a pipeline, or a folder of them. Reads the state of the specs' targets (or of
    the target given here) and changes nothing. Exit code 2 if a job cannot run; with
    --detailed-exitcode, pending changes are exit code 6 (not 2 as in terraform).
    """
    import asyncio

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
    """Plan jobs and pipeline stages against the current state of their targets."""
    from tuner.jobs.store import open_store
    from tuner.jobs.target_pool import Connections
    from tuner.pipelines.plan import plan as planned_
    from tuner.tokens import token_counter

    with open_store() as store:
        async with Connections() as connections:
            return await planned_(loaded.jobs(force=force), store, connections.get, token_counter())


def show_plan(items: Sequence[PlanItem], output: str) -> None:
    """Print one row per job; formats other than the table have more fields."""
    from tuner.cli.output import show

    show([_row(item) for item in items] if output == "table" else list(map(record, items)), output)


def record(item: PlanItem) -> dict[str, object]:
    """Return one planned job as a record for programs."""
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
    "resume": "to continue",
    "drift": "with permissions to change",
    "after": "to follow other stages",
    "unchanged": "unchanged",
    "owner differs": "with another owner",
    "model not found": "without a model to tune",
    "cannot": "that cannot run",
    "rejected": "rejected by the gate",
    "failed": "failed",
    "unknown": "unknown",
}


def _summary(items: Sequence[PlanItem], specs: Sequence[str], *, is_elsewhere: bool) -> str:
    """Count the jobs per action, and name the next command."""
    counts = Counter(item.action.value for item in items)
    counted = ", ".join(f"{counts[each]} {words}" for each, words in _WORDS.items() if counts[each])
    if any(item.is_blocked for item in items):
        return f"{counted}; nothing is sent until that is fixed"
    to_do = any(item.changes or item.action.value in ("adopt", "resume") for item in items)
    if is_elsewhere or not to_do:
        return counted
    return f"{counted}; `tuner run {shlex.join(specs)}` applies this"


def _target(config: TargetConfig) -> TargetConfig | None:
    """The target given on the command line, or None to use the specs' targets."""
    source = click.get_current_context().get_parameter_source("kind")
    is_said = source is click.core.ParameterSource.COMMANDLINE
    return config if is_said or any(v for k, v in asdict(config).items() if k != "kind") else None


@click.command()
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@set_option()
@click.option("--strict", is_flag=True, help="Exit with code 2 for warnings, too.")
@output_option
def validate(
    specs: tuple[str, ...], *, overrides: tuple[str, ...], strict: bool, output: str
) -> int:
    """Report every error in SPEC and its data.

    SPEC is a job spec, a pipeline, or a folder of them. Nothing is sent or written. Exit code 2 if
    there are errors.
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
    """Load specs and pipelines with their data; print each warning once on stderr.

    Takes the arguments of ``load_files``.

    Raises:
        InvalidInput: All errors of all files.
    """
    from tuner.pipelines.load import load_files
    from tuner.tokens import extra_checks

    loaded = load_files(specs, overrides, extra_checks(), target)
    for text in dict.fromkeys(str(each) for work in loaded.every_work for each in work.warnings):
        click.echo(text, err=True)
    return loaded


def validation_row(asked: LoadedJob) -> dict[str, object]:
    """Return a job or stage as a row."""
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
