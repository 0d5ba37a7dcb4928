"""data check: everything that is wrong with examples, before anything is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.cli.data.given import data_options
from tuner.cli.options import OUTPUTS, output_among
from tuner.data.checks.rules import IGNORABLE, RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.cli.data.given import Given
    from tuner.data.checks.check import Checks
    from tuner.errors import Problem

WRONG = 2
"""The exit code when there are errors."""


def _known(_: click.Context, __: click.Parameter, codes: tuple[str, ...]) -> frozenset[str]:
    for code in codes:
        if code not in RULES:
            from difflib import get_close_matches

            near = get_close_matches(code, RULES, n=1)
            hint = f"did you mean {near[0]}?" if near else "`tuner data rules` lists them"
            raise click.UsageError(f"there is no rule {code!r}; {hint}")
    return frozenset(codes)


def _ignorable(
    context: click.Context, option: click.Parameter, codes: tuple[str, ...]
) -> frozenset[str]:
    for code in sorted(_known(context, option, codes) - {*IGNORABLE}):
        raise click.UsageError(f"{code} cannot be ignored: such a row cannot be read")
    return frozenset(codes)


@click.command()
@data_options
@click.option(
    "--ignore",
    "ignored",
    multiple=True,
    metavar="RULE",
    callback=_ignorable,
    help="Leave a rule out, as training_data.ignore does. Repeatable.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="RULE",
    callback=_known,
    help="Look for this rule, and for what cannot be read. Repeatable.",
)
@click.option("--strict", is_flag=True, help="Warnings count: exit code 2 for them too.")
@output_among((*OUTPUTS, "sarif"))
def check(
    given: Given, *, ignored: frozenset[str], only: frozenset[str], strict: bool, output: str
) -> int:
    """Say everything that is wrong with examples.

    On the screen the first 20 of each rule; json, jsonl, yaml and sarif are complete. Exit code 2
    when something is wrong that would stop a job; `tuner data rules` explains the rules.
    """
    from tuner.cli.data.findings import show_findings

    left_out = frozenset(IGNORABLE) - only if only else given.ignore
    checks = _checks(given._replace(ignore=left_out | ignored))
    severities = show_findings(_problems(given, checks), checks, output)
    return WRONG if "error" in severities or (strict and severities) else 0


def _checks(given: Given) -> Checks:
    from tuner.data.checks.check import Checks

    if not given.draft or "long-example" in given.ignore:
        return Checks(given.limits, given.instruction, given.ignore)
    from tuner.cli.data.counting import find_counter

    counter = find_counter(given)
    if counter is None:
        return Checks(given.limits, given.instruction, given.ignore)

    return Checks(given.limits, given.instruction, given.ignore, counter.totals, counter.limit)


def _problems(given: Given, checks: Checks) -> Iterator[Problem]:
    from tuner.cli.data.watching import busy, watched
    from tuner.data import read

    for batch in watched(read(given.source)):
        yield from checks.train(batch)
    for batch in watched(read(given.held)) if given.held else ():
        yield from checks.held(batch)
    with busy("comparing", checks.rows):
        yield from checks.finish(str(given.source.paths[0]))
