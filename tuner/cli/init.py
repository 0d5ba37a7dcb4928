"""`tuner init` and `tuner schema`: create a spec, and print the schema of specs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.migrate import Translation
    from tuner.migrate.source import Remark

STDOUT = Path("-")
SPEC_SUFFIXES = (".yaml", ".yml")
MAX_WIDTH = 100
KINDS = ("openai", "together", "axolotl", "llamafactory")  # a test compares it with VENDORS


@click.command()
@click.argument("data", metavar="[DATA]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--from",
    "foreign",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A job or configuration of OpenAI, Together, Axolotl or LLaMA-Factory, JSON or YAML.",
)
@click.option(
    "--kind", type=click.Choice(KINDS), help="The vendor of FILE; usually detected from its keys."
)
@click.option(
    "--to",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=Path("job.yaml"),
    show_default=True,
    help="The spec to write; - for stdout.",
)
@click.option("--text-input", metavar="COLUMN", help="Column or key of the input.")
@click.option("--output-column", metavar="COLUMN", help="Column or key of the answer.")
@click.option("--force", is_flag=True, help="Overwrite an existing spec.")
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
    """Create a spec from examples or from another vendor's job.

    From DATA, files of examples: detects the columns, holds out some rows, and comments every key. With
    --from: writes an equivalent spec as far as possible, and lists every key without an equivalent with
    the reason.
    """
    if bool(data) == bool(foreign):
        raise click.UsageError("give files of examples, or --from with a job of another vendor")
    if data and kind:
        raise click.UsageError("--kind requires --from")
    for path in data:
        if path.suffix.lower() in SPEC_SUFFIXES:
            raise click.UsageError(
                f"{path} contains no examples; for a job of another vendor use --from {path}"
            )
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
    from tuner.data.dataset import USUAL, Columns
    from tuner.jobspec.scaffold import scaffold_spec

    given = Columns(columns[0] or USUAL.text_input, columns[1] or USUAL.output)
    _save(scaffold_spec(data, to, given), to, data, force=force)
    if not quiet:
        _print_next_steps([], to)


def _translate(path: Path, kind: str, to: Path, *, force: bool, quiet: bool) -> None:
    from tuner.jobspec.scaffold import render
    from tuner.migrate import translate

    found = translate(path, to.parent, kind)
    _save(render(_head(found, path, to), found.lines), to, [path], force=force)
    if not quiet:
        _print_remarks(found, path)
        _print_next_steps(found.steps, to)


def _head(found: Translation, path: Path, to: Path) -> list[str]:
    command = "tuner run" if to == STDOUT else f"tuner run {to}"
    head = [command, "", f"From {path.name} ({found.vendor}). The vendor's key is in the comment."]
    if found.same:
        head.append("Equal by default here:")
        head += [f"  {_named(each)}: {each.why}" for each in found.same]
    return head


def _save(text: str, to: Path, made_from: Sequence[Path], *, force: bool) -> None:
    """Write the spec; never overwrites its inputs.

    Raises:
        DatasetError: The file exists already, or cannot be written.
    """
    from tuner.data.export import write_page
    from tuner.errors import DatasetError, Problem

    if not _is_unicode(text):
        what = "a file name is not valid UTF-8 and cannot be written into a spec"
        raise DatasetError([Problem("", 0, 0, what, "rename the file", "encoding")])
    if to == STDOUT:
        click.echo(text, nl=False)
        return
    write_page(to, text, force=force, inputs=made_from)


def _is_unicode(text: str) -> bool:
    """Return False for names with invalid bytes, which Python shows as surrogates."""
    return text.isascii() or text == text.encode("utf-8", "ignore").decode()


def _print_remarks(found: Translation, path: Path) -> None:
    """Print the remarks, grouped by reason."""
    reasons: dict[str, list[str]] = {}
    for remark in found.remarks:
        reasons.setdefault(remark.why, []).append(_named(remark))
    if not reasons:
        return
    count = f"{len(found.remarks)} key" + "s" * (len(found.remarks) != 1)
    click.echo(f"{path}: {count} without an equivalent, or with another meaning here\n", err=True)
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
    for why, keys in reasons.items():
        click.echo(_wrapped(", ".join(keys), width, "  "), err=True)
        click.echo(_wrapped(why, width, "      "), err=True)
    click.echo(err=True)


def _print_next_steps(steps: Sequence[str], to: Path) -> None:
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
@click.option(
    "--pipeline", "is_pipeline", is_flag=True, help="Print the schema of pipeline files instead."
)
@click.option("--markdown", is_flag=True, help="Print the reference page instead.")
def schema(*, is_pipeline: bool, markdown: bool) -> None:
    """Print the JSON Schema of a job spec.

    Save it and reference it in a spec; editors then complete and check keys:
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
