"""data rules: what examples are checked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.cli.options import output_option

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command()
@click.option("--markdown", is_flag=True, help="Print the table of docs/data.md instead.")
@output_option
def rules(*, markdown: bool, output: str) -> None:
    """List what examples are checked for."""
    from tuner.cli.show import show
    from tuner.data.checks.rules import RULES

    if markdown:
        click.echo("\n".join(_table()))
        return
    show(
        [
            {
                "rule": code,
                "severity": rule.severity,
                "can_be_ignored": rule.can_be_ignored,
                "about": rule.about,
            }
            for code, rule in RULES.items()
        ],
        output,
    )


def _table() -> Iterator[str]:
    from tuner.data.checks.rules import RULES

    yield "| rule | | what it finds |"
    yield "|---|---|---|"
    for code, rule in RULES.items():
        always = "" if rule.can_be_ignored else ", always"
        yield f"| `{code}` | {rule.severity}{always} | {rule.about}. |"
