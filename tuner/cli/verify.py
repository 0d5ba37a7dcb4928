"""verify: whether a tuned model is still what tuner.lock says it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.cli.options import output_option

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.jobs.verify import Found, Row

PATH = click.Path(exists=True, dir_okay=False)


@click.command()
@click.argument("what", metavar="MODEL|JOB|SPEC")
@click.option("--lock", "file", type=PATH, help="The tuner.lock to go by.")
@click.option("--offline", is_flag=True, help="Compare spec and data alone; call no service.")
@output_option
def verify(what: str, file: str | None, *, offline: bool, output: str) -> int:
    """Hold a tuned model, its spec and its data against tuner.lock.

    A model or job is looked for in ./tuner.lock, then in ./configs/tuner.lock, then beside the spec
    that the ledger knows it by. Exit codes: 0 all is as locked, 1 something differs, 2 nothing is
    locked of it.
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
    say = f"{different} of them differ" if different > 1 else "one of them differs"
    click.echo(say if different else "all is as it was locked", err=True)
    return 1 if different else 0


def _checked(found: Found, *, offline: bool) -> list[Row]:
    from tuner.cli.target_calls import call
    from tuner.jobs.verify import load, on_disk, on_service, target_of

    now = load(found)
    rows = on_disk(found, now)
    if offline:
        return rows
    return [*call(target_of(found, now), lambda target: on_service(found.entry, target)), *rows]


def _record(found: Found, rows: list[Row]) -> dict[str, object]:
    return {
        "tuned_model": found.entry["tuned_model"],
        "lock": str(found.path),
        "same": all(row.same is not False for row in rows),
        "facts": [row._asdict() for row in rows],
    }


def _found(what: str, file: str | None) -> list[Found]:
    """What is locked of it.

    Raises:
        InvalidInput: Nothing is.
        TunerError: A lock is damaged, or cannot be read.
    """
    from pathlib import Path

    from tuner.errors import InvalidInput, Problem
    from tuner.jobs.records import lock
    from tuner.jobs.verify import named, of_spec

    spec = Path(what)
    if spec.suffix in (".yaml", ".yml") and spec.is_file():
        path = Path(file) if file else spec.parent / lock.NAME
        found = of_spec(spec, path)
    else:
        usual = [Path(lock.NAME), Path("configs") / lock.NAME]
        found = named(what, [Path(file)] if file else usual)
        if not found and not file:
            found = named(what, _known(what))
    if not found:
        fix = "`tuner run SPEC` writes tuner.lock beside the spec when a job ends"
        fix += "; --lock FILE names another lock" if file is None else ""
        raise InvalidInput([Problem("", 0, 0, f"nothing is locked of {what!r}", fix)])
    return found


def _known(what: str) -> list[Path]:
    """The locks beside the specs of the ledger's jobs by that name."""
    from pathlib import Path

    from tuner.jobs.records import lock
    from tuner.jobs.store import open_store

    with open_store() as ledger:
        jobs = [mark.job for mark in ledger.jobs(what)]
    return [Path(job.spec).parent / lock.NAME for job in jobs if job.is_on_disk]
