"""schema: the form of a job spec, for editors and for people."""

from __future__ import annotations

import click


@click.command()
@click.option("--markdown", is_flag=True, help="Print the reference page instead.")
def schema(*, markdown: bool) -> None:
    """Print the JSON Schema of a job spec.

    Save it and name it in a comment of a spec, and an editor completes and checks as you type:
    `# yaml-language-server: $schema=spec.schema.json`.
    """
    import json

    from tuner.jobs.json_schema import json_schema
    from tuner.jobs.reference import reference
    from tuner.jobs.spec import JobSpec

    if markdown:
        click.echo(reference(), nl=False)
    else:
        click.echo(json.dumps(json_schema(JobSpec), indent=2))
