"""`tuner verify`: check that a tuned model still is what tuner.lock recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.cli.options import output_option

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.jobs.verify import Fact, LockedJob

PATH = click.Path(exists=True, dir_okay=False)


@click.command()
@click.argument("what", metavar="MODEL|JOB|SPEC")
@click.option("--lock", "file", type=PATH, help="The tuner.lock to compare with.")
@click.option("--offline", is_flag=True, help="Compare spec and data only; call no service.")
@output_option
def verify(what: str, file: str | None, *, offline: bool, output: str) -> int:
    """Check a tuned model, its spec and its data against tuner.lock.

    A model or job is looked up in ./tuner.lock, then in ./configs/tuner.lock, then beside the spec
    recorded in the local store. Exit codes: 0 no difference, 1 differences, 2 no entry in tuner.lock.
    """
    from tuner.cli.output import show

    found = _found(what, file)
    checked = [(each, _checked(each, offline=offline)) for each in found]
    if output != "table":
        show([_record(each, rows) for each, rows in checked], output)
    for each, rows in checked:
        if output == "table":
            click.echo(f"{each.entry['tuned_model']}, as locked in {each.path}", err=True)
            show([row._asdict() for row in rows], output)
    different = sum(row.same is False for _, rows in checked for row in rows)
    summary = f"{different} difference{'s' * (different > 1)}" if different else "no differences"
    click.echo(summary, err=True)
    return 1 if different else 0


def _checked(found: LockedJob, *, offline: bool) -> list[Fact]:
    from tuner.cli.target_calls import call
    from tuner.jobs.verify import compare_with_disk, compare_with_service, load, target_of
    from tuner.pipelines.load import load_pipeline

    now = load(found, load_pipeline)
    rows = compare_with_disk(found, now)
    if offline:
        return rows
    target = target_of(found, now)
    return [*call(target, lambda each: compare_with_service(found.entry, each)), *rows]


def _record(found: LockedJob, rows: list[Fact]) -> dict[str, object]:
    return {
        "tuned_model": found.entry["tuned_model"],
        "lock": str(found.path),
        "same": all(row.same is not False for row in rows),
        "facts": [row._asdict() for row in rows],
    }


def _found(what: str, file: str | None) -> list[LockedJob]:
    """Find the entries in tuner.lock.

    Raises:
        InvalidInput: There is none.
        TunerError: A lock file is damaged or unreadable.
    """
    from pathlib import Path

    from tuner.errors import InvalidInput, Problem
    from tuner.jobs import lockfile
    from tuner.jobs.verify import find_locked_jobs, locked_jobs_of

    spec = Path(what)
    if spec.suffix in (".yaml", ".yml") and spec.is_file():
        path = Path(file) if file else spec.parent / lockfile.NAME
        found = locked_jobs_of(spec, path)
    else:
        usual = [Path(lockfile.NAME), Path("configs") / lockfile.NAME]
        found = find_locked_jobs(what, [Path(file)] if file else usual)
        if not found and not file:
            found = find_locked_jobs(what, _known(what))
    if not found:
        fix = "`tuner run SPEC` writes tuner.lock beside the spec when a job ends"
        fix += "; --lock FILE names another lock" if file is None else ""
        raise InvalidInput([Problem("", 0, 0, f"tuner.lock has no entry for {what!r}", fix)])
    return found


def _known(what: str) -> list[Path]:
    """The lock files beside the specs of stored jobs with this name."""
    from pathlib import Path

    from tuner.jobs import lockfile
    from tuner.jobs.store import open_store

    with open_store() as store:
        jobs = [mark.job for mark in store.jobs(what)]
    return [Path(job.spec).parent / lockfile.NAME for job in jobs if job.is_on_disk]
