"""`tuner data check` and `tuner data rules`: report every error in examples."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from tuner import __version__
from tuner.cli.data_options import data_options
from tuner.cli.options import OUTPUTS, output_among, output_option
from tuner.cli.output import cell, show
from tuner.data.checks.rules import IGNORABLE, RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuner.cli.data_options import DataInput
    from tuner.data.checks import Checks
    from tuner.data.checks.report import ProblemTally
    from tuner.errors import Problem


EXIT_CODE_ERRORS = 2


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
        raise click.UsageError(f"{code} cannot be ignored: rows with this error are unreadable")
    return frozenset(codes)


@click.command()
@data_options
@click.option(
    "--ignore",
    "ignored",
    multiple=True,
    metavar="RULE",
    callback=_ignorable,
    help="Disable a rule, like training_data.ignore. Repeatable.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="RULE",
    callback=_known,
    help="Check this rule only (and unreadable rows). Repeatable.",
)
@click.option("--strict", is_flag=True, help="Exit with code 2 for warnings, too.")
@output_among((*OUTPUTS, "sarif"))
def check(
    given: DataInput, *, ignored: frozenset[str], only: frozenset[str], strict: bool, output: str
) -> int:
    """Report every error in examples.

    The table shows the first findings of each rule; json, jsonl, yaml and sarif are complete. Exit code 2
    if there are errors; `tuner data rules` explains the rules.
    """
    disabled = frozenset(IGNORABLE) - only if only else given.ignore
    checks = _checks(given._replace(ignore=disabled | ignored))
    severities = show_findings(_problems(given, checks), checks, output)
    return EXIT_CODE_ERRORS if "error" in severities or (strict and severities) else 0


def _checks(given: DataInput) -> Checks:
    from tuner.cli.data_options import find_counter
    from tuner.data.checks import Checks

    is_counted = given.partial and "long-example" not in given.ignore
    counter = find_counter(given) if is_counted else None
    more = (counter.totals, counter.limit) if counter else ()
    return Checks(given.limits, given.instruction, given.ignore, *more)


def _problems(given: DataInput, checks: Checks) -> Iterator[Problem]:
    from tuner.cli.output import busy, with_progress
    from tuner.data.dataset import read

    for batch in with_progress(read(given.source)):
        yield from checks.check_training(batch)
    for batch in with_progress(read(given.held)) if given.held else ():
        yield from checks.check_held_out(batch)
    with busy("comparing", checks.rows):
        yield from checks.finish(str(given.source.paths[0]))


_COLOURS = {"error": "red", "warning": "yellow"}


def show_findings(problems: Iterable[Problem], checks: Checks, output: str) -> set[str]:
    """Run the checks, print their findings (``table``: a summary), and return the severities."""
    from tuner.data.checks.report import ProblemTally

    tally = ProblemTally()
    found: list[Problem] = []
    for problem in problems:
        tally.add(problem)
        if output == "jsonl":  # one by one, so that memory does not grow with their number
            click.echo(json.dumps(_record(problem), ensure_ascii=False))
        elif output != "table":
            found.append(problem)
    if output == "table":
        _show(tally, checks)
    elif output == "sarif":
        click.echo(json.dumps(sarif_log(found)))
    elif output != "jsonl":
        records = [_record(each) for each in found]
        show({"problems": records, **_totals(tally, checks)}, output)
    return {severity for _, severity in tally.counts}


def _record(problem: Problem) -> dict[str, Any]:
    names = ("path", "line", "column", "severity", "rule", "what", "fix")
    return {name: getattr(problem, name) for name in names}


def _totals(tally: ProblemTally, checks: Checks) -> dict[str, Any]:
    counts = {rule: count for (rule, _), count in tally.counts.items()}
    return {"rows": checks.rows, "rows_with_errors": checks.bad_rows, "counts": counts}


def _show(tally: ProblemTally, checks: Checks) -> None:
    if not tally.counts:
        click.echo(f"no findings in {_rows(checks.rows)}")
        return
    for problem in tally.shown():
        severity = click.style(f"{problem.severity}:", _COLOURS[problem.severity], bold=True)
        rule = click.style(f"[{problem.rule}]", dim=True)
        click.echo(f"{severity} {cell(problem.where)}: {cell(problem.what)} {rule}")
        if problem.fix:
            click.echo(f"  {click.style('fix:', 'cyan', bold=True)} {cell(problem.fix)}")
    if not sys.stdout.isatty():  # a drawn table has blank lines around it
        click.echo()
    _show_summary(tally, checks)


def _show_summary(tally: ProblemTally, checks: Checks) -> None:
    more = tally.more()
    rows = [
        {
            "rule": rule,
            "severity": severity,
            "found": f"{count:,}",
            "not_shown": f"and {more[rule, severity]:,} more" if (rule, severity) in more else "",
        }
        for (rule, severity), count in sorted(
            tally.counts.items(), key=lambda item: (item[0][1], -item[1])
        )
    ]
    if not more:
        rows = [{key: row[key] for key in row if key != "not_shown"} for row in rows]
    show(rows, "table")
    if not sys.stdout.isatty():
        click.echo()
    click.echo(f"{_rows(checks.rows)}, {checks.bad_rows:,} with errors")
    if more:
        click.echo("`-o json` lists all findings")


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


@click.command()
@click.option("--markdown", is_flag=True, help="Print the table as in docs/data.md.")
@output_option
def rules(*, markdown: bool, output: str) -> None:
    """List the rules that examples are checked for."""
    if markdown:
        click.echo("| rule | | what it finds |\n|---|---|---|")
        for code, rule in RULES.items():
            always = "" if rule.can_be_ignored else ", always"
            click.echo(f"| `{code}` | {rule.severity}{always} | {rule.about}. |")
        return
    names = ("severity", "can_be_ignored", "about")
    show(
        [
            {"rule": code} | {name: getattr(rule, name) for name in names}
            for code, rule in RULES.items()
        ],
        output,
    )


SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_NUMBERS = {code: number for number, code in enumerate(RULES)}


def sarif_log(problems: Iterable[Problem]) -> dict[str, Any]:
    """Return a SARIF log with one run.

    See https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.
    """
    rules = [
        {
            "id": code,
            "shortDescription": {"text": f"{rule.about}."},
            "defaultConfiguration": {"level": rule.severity},
        }
        for code, rule in RULES.items()
    ]
    run = {
        "tool": {"driver": {"name": "tuner", "version": __version__, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(problem) for problem in problems],
    }
    return {"version": "2.1.0", "$schema": SCHEMA, "runs": [run]}


def _result(problem: Problem) -> dict[str, Any]:
    text = f"{problem.what}; {problem.fix}." if problem.fix else f"{problem.what}."
    path = Path(problem.path)
    uri = path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))
    location: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    if problem.line:
        column = {"startColumn": problem.column} if problem.column else {}
        location["region"] = {"startLine": problem.line} | column
    number = {"ruleIndex": _NUMBERS[problem.rule]} if problem.rule in _NUMBERS else {}
    return {"ruleId": problem.rule, **number} | {
        "level": problem.severity,
        "message": {"text": text},
        "locations": [{"physicalLocation": location}],
    }
