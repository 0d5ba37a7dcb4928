"""schema: the form of a job spec or a pipeline, for editors and for people."""

from __future__ import annotations

import click


@click.command()
@click.option("--pipeline", "is_pipeline", is_flag=True, help="Of a pipeline file instead.")
@click.option("--markdown", is_flag=True, help="Print the reference page instead.")
def schema(*, is_pipeline: bool, markdown: bool) -> None:
    """Print the JSON Schema of a job spec.

    Save it and name it in a comment of a spec, and an editor completes and checks as you type:
    `# yaml-language-server: $schema=spec.schema.json`.
    """
    import json

    from tuner.jobspec.reference import json_schema, pipeline_tables, reference
    from tuner.jobspec.schema import JobSpec
    from tuner.pipelines.keys import pipeline_schema

    if markdown:
        click.echo(pipeline_tables() if is_pipeline else reference(), nl=False)
    else:
        click.echo(json.dumps(pipeline_schema() if is_pipeline else json_schema(JobSpec), indent=2))
