"""`tuner logs`: the events of jobs, and the audit log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable


@click.command()
@click.argument("jobs", metavar="[JOB]...", nargs=-1)
@click.option(
    "-f", "--follow", is_flag=True, help="Print new records as they are added, until Ctrl-C."
)
@click.option("--since", metavar="TIME", help="Only records newer than this (90s, 20m, 2h, 7d).")
@click.option("--audit", is_flag=True, help="Print the audit log: who changed what, and why.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["jsonl", "table"]),
    default="jsonl",
    show_default=True,
    help="JSON for programs, or lines for people.",
)
def logs(
    jobs: tuple[str, ...], *, follow: bool, since: str | None, audit: bool, output: str
) -> None:
    """Show the events of jobs, from the local log.

    JOB is a job's name, its title in a matrix, or its tuned model.
    """
    import time

    from tuner.jobs import audit_log

    oldest = 0.0 if since is None else time.time() - _seconds(since)
    path = audit_log.audit_file() if audit else audit_log.events_file()
    records = audit_log.follow_log(path) if follow else audit_log.read_log(path)
    if not _print(audit_log.select_records(records, jobs, oldest), output):
        about = f" of {', '.join(jobs)}" if jobs else ""
        click.echo(f"no records{about} in {path}", err=True)


def _seconds(since: str) -> float:
    from tuner.jobspec.rules import parse_duration

    if not parse_duration(since):
        raise click.UsageError(f"--since {since}: write a time such as 90s, 20m, 2h or 7d")
    return parse_duration(since)


def _print(records: Iterable[dict[str, Any]], output: str) -> int:
    """Print the records and return their number."""
    count = 0
    for count, record in enumerate(records, start=1):  # noqa: B007 -- the last one counts them
        click.echo(json.dumps(record, ensure_ascii=False) if output == "jsonl" else _line(record))
    return count


def _line(record: dict[str, Any]) -> str:
    """Format one event or change as a line, without control characters."""
    from tuner.cli.output import cell

    text = _change(record) if "state" in record else _event(record)
    return f"{cell(record.get('time'))}  {cell(text)}"


def _event(record: dict[str, Any]) -> str:
    label = record.get("label")
    title = f"{record.get('job')}[{label}]" if label else record.get("job")
    return f"{title}: {record.get('text', record.get('event'))}"


def _change(record: dict[str, Any]) -> str:
    model, what = str(record.get("tuned_model")), str(record.get("what"))
    about = what if model in what else f"{what} on {model}"
    why = f" ({record['why']})" if record.get("why") else ""
    who, action = record.get("who"), str(record.get("action")).replace("_", " ")
    return f"{who}: {record['state']} {action} {about}{why}"
