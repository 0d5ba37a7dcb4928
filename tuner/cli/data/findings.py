"""What a check found: for people the first of each kind and a summary, for programs all of it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.show import cell, show

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuner.data.checks.check import Checks
    from tuner.data.checks.report import Tally
    from tuner.errors import Problem

_COLOURS = {"error": "red", "warning": "yellow"}


def show_findings(problems: Iterable[Problem], checks: Checks, output: str) -> set[str]:
    """Print problems as they come, or on the screen when all are known; return their severities.

    Args:
        problems: In the order they are found.
        checks: What finds them, and counts the rows meanwhile.
        output: ``table``, or a form that is written out in full: ``json``, ``jsonl``, ``yaml``, ``sarif``.
    """
    from tuner.data.checks.report import Tally

    tally = Tally()
    counted = _counted(problems, tally)
    if output == "table":
        for _ in counted:
            pass
        _show(tally, checks)
    else:
        for line in _lines(counted, tally, checks, output):
            click.echo(line)
    return {severity for _, severity in tally.counts}


def _counted(problems: Iterable[Problem], tally: Tally) -> Iterator[Problem]:
    for problem in problems:
        tally.add(problem)
        yield problem


def _lines(problems: Iterable[Problem], tally: Tally, checks: Checks, output: str) -> Iterator[str]:
    match output:
        case "jsonl":
            yield from (json.dumps(_record(each), ensure_ascii=False) for each in problems)
        case "sarif":
            from tuner.cli.sarif import write_sarif

            yield from write_sarif(problems)
        case "yaml":
            yield from _yaml(problems, tally, checks)
        case _:
            yield from _document(problems, tally, checks)


def _document(problems: Iterable[Problem], tally: Tally, checks: Checks) -> Iterator[str]:
    """One JSON object; a problem a line."""
    yield '{"problems": ['
    comma = ""
    for each in problems:
        yield comma + json.dumps(_record(each), ensure_ascii=False)
        comma = ","
    yield f"], {json.dumps(_totals(tally, checks))[1:]}"


def _yaml(problems: Iterable[Problem], tally: Tally, checks: Checks) -> Iterator[str]:
    """The same as one YAML document."""
    import yaml

    for each in problems:
        if tally.counts.total() == 1:
            yield "problems:"
        text: str = yaml.safe_dump([_record(each)], sort_keys=False, allow_unicode=True, width=1000)
        yield text.rstrip("\n")
    if not tally.counts:
        yield "problems: []"
    yield yaml.safe_dump(_totals(tally, checks), sort_keys=False).rstrip("\n")


def _record(problem: Problem) -> dict[str, Any]:
    names = ("path", "line", "column", "severity", "rule", "what", "fix")
    return {name: getattr(problem, name) for name in names}


def _totals(tally: Tally, checks: Checks) -> dict[str, Any]:
    counts = {rule: count for (rule, _), count in tally.counts.items()}
    return {"rows": checks.rows, "rows_with_errors": checks.bad_rows, "counts": counts}


def _show(tally: Tally, checks: Checks) -> None:
    if not tally.counts:
        click.echo(f"nothing wrong with {_rows(checks.rows)}")
        return
    for problem in tally.shown():
        severity = click.style(f"{problem.severity}:", _COLOURS[problem.severity], bold=True)
        rule = click.style(f"[{problem.rule}]", dim=True)
        click.echo(f"{severity} {cell(problem.where)}: {cell(problem.what)} {rule}")
        if problem.fix:
            click.echo(f"  {click.style('fix:', 'cyan', bold=True)} {cell(problem.fix)}")
    if not sys.stdout.isatty():  # where a table is drawn it has room around it
        click.echo()
    _show_summary(tally, checks)


def _show_summary(tally: Tally, checks: Checks) -> None:
    more = tally.more()
    rows = [
        {
            "rule": rule,
            "severity": severity,
            "found": f"{count:,}",
            "not_shown": f"and {more[rule, severity]:,} more" if (rule, severity) in more else "",
        }
        for (rule, severity), count in sorted(tally.counts.items(), key=_gravest)
    ]
    if not more:
        rows = [{key: row[key] for key in row if key != "not_shown"} for row in rows]
    show(rows, "table")
    if not sys.stdout.isatty():
        click.echo()
    click.echo(f"{_rows(checks.rows)}, {checks.bad_rows:,} with errors")
    if more:
        click.echo("`-o json` lists all of them")


def _gravest(item: tuple[tuple[str, str], int]) -> tuple[str, int]:
    (_, severity), count = item
    return severity, -count


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
