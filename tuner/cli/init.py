"""init: a first spec, from examples or from another vendor's job."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.migrate import Translation
    from tuner.migrate.theirs import Remark

STDOUT = Path("-")
SPEC_SUFFIXES = (".yaml", ".yml")
MAX_WIDTH = 100
KINDS = ("openai", "together", "axolotl", "llamafactory")  # a test compares it with FOREIGN


@click.command()
@click.argument("data", metavar="[DATA]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--from",
    "foreign",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A job or configuration of OpenAI, Together, Axolotl or LLaMA-Factory, JSON or YAML.",
)
@click.option("--kind", type=click.Choice(KINDS), help="Whose FILE is; its keys say it, mostly.")
@click.option(
    "--to",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=Path("job.yaml"),
    show_default=True,
    help="The spec to write; - is standard output.",
)
@click.option("--text-input", metavar="COLUMN", help="The column or key of the input.")
@click.option("--output-column", metavar="COLUMN", help="The column or key of the answer.")
@click.option("--force", is_flag=True, help="Write over a spec that is there.")
@click.pass_context
def init(  # noqa: PLR0913 -- an option each
    ctx: click.Context,
    data: tuple[Path, ...],
    *,
    foreign: Path | None,
    kind: str | None,
    to: Path,
    text_input: str | None,
    output_column: str | None,
    force: bool,
) -> None:
    """Write a first spec, from examples or from another vendor's job.

    With DATA, files of examples: their columns are found, some rows held out, and every key has a
    comment. With --from: a spec that means the same, as far as that is possible; what is not is
    listed with its reason, and nothing is dropped in silence.
    """
    if bool(data) == bool(foreign):
        raise click.UsageError("name a file of examples, or --from and a job of another vendor")
    if data and kind:
        raise click.UsageError("--kind says whose file --from names: add --from, or leave it out")
    for path in data:
        if path.suffix.lower() in SPEC_SUFFIXES:
            raise click.UsageError(f"{path} holds no examples; of another vendor: --from {path}")
    quiet = bool(ctx.obj and ctx.obj["quiet"])
    if foreign:
        _translate(foreign, kind or "", to, force=force, quiet=quiet)
    else:
        _start(data, (text_input, output_column), to, force=force, quiet=quiet)


def _start(
    data: Sequence[Path],
    columns: tuple[str | None, str | None],
    to: Path,
    *,
    force: bool,
    quiet: bool,
) -> None:
    from tuner.data import USUAL, Columns
    from tuner.jobspec.scaffold import scaffold_spec

    given = Columns(columns[0] or USUAL.text_input, columns[1] or USUAL.output)
    _save(scaffold_spec(data, to, given), to, data, force=force)
    if not quiet:
        _say_next([], to)


def _translate(path: Path, kind: str, to: Path, *, force: bool, quiet: bool) -> None:
    from tuner.jobspec.scaffold import render
    from tuner.migrate import translate

    found = translate(path, to.parent, kind)
    _save(render(_head(found, path, to), found.lines), to, [path], force=force)
    if not quiet:
        _say_remarks(found, path)
        _say_next(found.steps, to)


def _head(found: Translation, path: Path, to: Path) -> list[str]:
    command = "tuner run" if to == STDOUT else f"tuner run {to}"
    head = [command, "", f"From {path.name} ({found.vendor}). Beside a key stands theirs."]
    if found.same:
        head.append("The same here without a line:")
        head += [f"  {_named(each)}: {each.why}" for each in found.same]
    return head


def _save(text: str, to: Path, made_from: Sequence[Path], *, force: bool) -> None:
    """Write the spec; never over what it was made from.

    Raises:
        DatasetError: There is a file already, or it cannot be written.
    """
    from tuner.data.formats.writers import write_page
    from tuner.errors import DatasetError, Problem

    if not _is_unicode(text):
        what = "the name of a file is not UTF-8, and cannot stand in a spec"
        raise DatasetError([Problem("", 0, 0, what, "give the file another name", "encoding")])
    if to == STDOUT:
        click.echo(text, nl=False)
        return
    write_page(to, text, force=force, inputs=made_from)


def _is_unicode(text: str) -> bool:
    """Of a name's other bytes halves of surrogate pairs are made."""
    return text.isascii() or text == text.encode("utf-8", "ignore").decode()


def _say_remarks(found: Translation, path: Path) -> None:
    """Keys that share a reason stand together."""
    reasons: dict[str, list[str]] = {}
    for remark in found.remarks:
        reasons.setdefault(remark.why, []).append(_named(remark))
    if not reasons:
        return
    count = f"{len(found.remarks)} key" + "s" * (len(found.remarks) != 1)
    click.echo(f"{path}: {count} without a counterpart, or with another meaning here\n", err=True)
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
    for why, keys in reasons.items():
        click.echo(_wrapped(", ".join(keys), width, "  "), err=True)
        click.echo(_wrapped(why, width, "      "), err=True)
    click.echo(err=True)


def _say_next(steps: Sequence[str], to: Path) -> None:
    if to == STDOUT:
        commands: Iterable[str] = steps
    else:
        click.echo(f"wrote {to}", err=True)
        commands = [*steps, f"tuner data check {to}", f"tuner run {to}"]
    for number, command in enumerate(commands):
        click.echo(f"{'next:' if not number else '     '} {command}", err=True)


def _wrapped(text: str, width: int, indent: str) -> str:
    return click.wrap_text(text, width, initial_indent=indent, subsequent_indent=indent)


def _named(remark: Remark) -> str:
    return f"{remark.key}: {remark.shown}" if remark.shown else remark.key


@click.command()
@click.option("--pipeline", "is_pipeline", is_flag=True, help="Of a pipeline file instead.")
@click.option("--markdown", is_flag=True, help="Print the reference page instead.")
def schema(*, is_pipeline: bool, markdown: bool) -> None:
    """Print the JSON Schema of a job spec.

    Save it and name it in a comment of a spec, and an editor completes and checks as you type:
    `# yaml-language-server: $schema=spec.schema.json`.
    """
    import json

    from tuner.jobspec.reference import json_schema, spec_page
    from tuner.jobspec.schema import JobSpec
    from tuner.pipelines.entries import pipeline_schema, pipeline_tables

    if markdown:
        click.echo(pipeline_tables() if is_pipeline else spec_page(), nl=False)
    else:
        click.echo(json.dumps(pipeline_schema() if is_pipeline else json_schema(JobSpec), indent=2))
