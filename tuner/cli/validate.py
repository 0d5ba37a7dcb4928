"""validate: everything that is wrong with specs and their data, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.cli.options import output_option, set_option
from tuner.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.jobs.planning.asked import Asked
    from tuner.jobs.planning.loading import Loaded
    from tuner.types import TargetConfig


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
    from tuner.cli.show import show

    loaded = load_all(specs, overrides)
    rows = [row(asked) for asked in loaded.asked()]
    show(rows[0] if len(rows) == 1 else rows, output)
    has_warnings = any(work.warnings for work in loaded.every_work)
    return InvalidInput.exit_code if strict and has_warnings else 0


def load_all(
    specs: Sequence[str], overrides: Sequence[str] = (), target: TargetConfig | None = None
) -> Loaded:
    """Load every spec and pipeline with its data; warnings go to stderr, each once.

    Args are those of ``loading.load``.

    Raises:
        InvalidInput: Everything that is wrong with any of them.
    """
    from tuner.jobs.planning.loading import load
    from tuner.tokens.long import long_examples

    loaded = load(specs, overrides, long_examples, target)
    for text in dict.fromkeys(str(each) for work in loaded.every_work for each in work.warnings):
        click.echo(text, err=True)
    return loaded


def row(asked: Asked) -> dict[str, object]:
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
