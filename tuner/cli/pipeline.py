"""`tuner pipeline`: validate a pipeline file and draw its graph; `tuner run` runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli import LazyGroup
from tuner.cli.options import output_option, set_option

if TYPE_CHECKING:
    from tuner.pipelines.model import Pipeline, Stage

FILE = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
SET = set_option("max_parallel=4 or jobs.0.keep=all", of="pipeline")
COMMANDS = {
    "validate": (
        "tuner.cli.pipeline:validate",
        "Report every error in FILE, its specs and their data.",
    ),
    "graph": ("tuner.cli.pipeline:graph", "Draw the graph of stages with their states."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def pipeline() -> None:
    """Validate pipelines and draw their graph.

    `tuner run FILE` runs a pipeline, `tuner status NAME` shows its progress.
    """


@click.command()
@FILE
@SET
@click.option("--strict", is_flag=True, help="Exit with code 2 for warnings, too.")
@output_option
def validate(file: Path, *, overrides: tuple[str, ...], strict: bool, output: str) -> int:
    """Report every error in FILE, its specs and their data.

    Nothing is sent or written. Prints one row per stage; exit code 2 if there are errors.
    """
    from tuner.cli.output import show
    from tuner.errors import InvalidInput

    loaded = load(file, overrides)
    show([_row(stage) for stage in loaded.stages], output)
    has_warnings = any(stage.work.warnings for stage in loaded.stages)
    return InvalidInput.exit_code if strict and has_warnings else 0


@click.command()
@FILE
@SET
@click.option(
    "-o",
    "--output",
    "--format",
    type=click.Choice(["text", "mermaid", "dot"]),
    default="text",
    show_default=True,
    help="mermaid is for Markdown, dot for Graphviz: pipe it to `dot -Tsvg`.",
)
def graph(file: Path, *, overrides: tuple[str, ...], output: str) -> None:
    """Draw the graph of stages with their states.

    States come from the local store; no service is called.
    """
    from tuner.pipelines.graph import as_dot, as_mermaid, as_text
    from tuner.pipelines.load import load_pipeline

    loaded = load_pipeline(file, overrides)
    states, notes = _states(loaded)
    draw = {"text": as_text, "mermaid": as_mermaid, "dot": as_dot}[output]
    click.echo(draw(loaded, states, notes), nl=False)


def load(file: Path, overrides: tuple[str, ...] = ()) -> Pipeline:
    """Load a pipeline with its data; print each warning once on stderr.

    Raises:
        InvalidInput: All its errors.
    """
    from tuner.pipelines.load import load_pipeline
    from tuner.tokens import extra_checks

    loaded = load_pipeline(file, overrides, extra=extra_checks())
    warnings = (warning for stage in loaded.stages for warning in stage.work.warnings)
    for warning in dict.fromkeys(warnings):
        click.echo(str(warning), err=True)
    return loaded


def _row(stage: Stage) -> dict[str, object]:
    from tuner.jobspec.prepared_job import new_tuned_model

    spec = stage.work.spec
    source = f"jobs/{stage.source}" if stage.source else spec.tuned_model_source
    return {
        "stage": stage.name,
        "after": list(stage.after),
        "target": spec.target.kind,
        "model": spec.base_model or source,
        "tuned_model": "" if stage.source else new_tuned_model(stage.work).name,
        "examples": len(stage.work.examples),
        "held_out": len(stage.work.holdout),
    }


def _states(loaded: Pipeline) -> tuple[dict[str, str], dict[str, str]]:
    """State and score of each stage that has started."""
    from tuner.formatting import format_floats
    from tuner.jobs.pipeline_store import find_pipeline
    from tuner.jobs.store import open_store
    from tuner.pipelines.model import stored_rows

    with open_store() as store:
        known = find_pipeline(store, loaded.id)
        rows = stored_rows(known, store) if known else []
    states = {str(row["stage"]): str(row["phase"]) for row in rows}
    notes = {str(row["stage"]): str(row["tuned"] or "") for row in map(format_floats, rows)}
    return states, notes
