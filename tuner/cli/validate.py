"""validate: everything that is wrong with specs and their data, before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.options import output_option
from tuner.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.errors import Problem
    from tuner.jobs.work import Work


@click.command()
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of the spec, e.g. hyperparameters.epoch_count=3. Repeatable.",
)
@click.option("--strict", is_flag=True, help="Warnings count: exit code 2 for them too.")
@output_option
def validate(
    specs: tuple[str, ...], *, overrides: tuple[str, ...], strict: bool, output: str
) -> int:
    """Say everything that is wrong with SPEC and its data.

    Nothing is sent and nothing is written. Exit code 2 when something is wrong.
    """
    from tuner.cli.show import show

    works = load_all(specs, overrides)
    rows = [_row(work) for work in works]
    show(rows[0] if len(rows) == 1 else rows, output)
    return InvalidInput.exit_code if strict and any(work.warnings for work in works) else 0


def load_all(specs: Sequence[str], overrides: Sequence[str] = ()) -> list[Work]:
    """Load every spec with its data; warnings go to stderr.

    Raises:
        InvalidInput: Everything that is wrong with any of them.
    """
    from tuner.jobs.work import load_work
    from tuner.tokens.long import long_examples

    works: list[Work] = []
    problems: list[Problem] = []
    for spec in specs:
        try:
            works.append(load_work(Path(spec), overrides, looks=long_examples))
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(problems)
    for work in works:
        for warning in work.warnings:
            click.echo(str(warning), err=True)
    return works


def _row(work: Work) -> dict[str, object]:
    from tuner.jobs.work import new_tuned_model

    spec = work.spec
    return {
        "spec": str(spec.path),
        "job": spec.job,
        "target": spec.target.kind,
        "model": spec.base_model or spec.tuned_model_source,
        "tuned_model": new_tuned_model(work).name,
        "examples": len(work.examples),
        "held_out": len(work.holdout),
        "warnings": len(work.warnings),
    }
