"""data preview: examples exactly as the model will see them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from tuner.cli.data.given import data_options
from tuner.cli.options import output_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.cli.data.given import Given
    from tuner.tokens.counting import Counter
    from tuner.types import Example


class Chosen(NamedTuple):
    """An example to show, its number among all of them, and its file."""

    path: str
    row: int
    example: Example


@click.command()
@data_options
@click.option("--row", type=click.IntRange(1), help="Begin with the Nth example.")
@click.option("--line", type=click.IntRange(1), help="Begin with the example on this line.")
@click.option(
    "-n", "many", type=click.IntRange(1), default=1, show_default=True, help="Show so many."
)
@click.option(
    "--tokens", "cut", is_flag=True, help="Show where one token ends and the next begins."
)
@click.option("--full", is_flag=True, help="Leave nothing out, however long it is.")
@click.option(
    "--model", default="", metavar="MODEL", help="Whose template and tokenizer, models/ID."
)
@output_option
def preview(  # noqa: PLR0913 -- which, and how
    given: Given,
    *,
    row: int | None,
    line: int | None,
    many: int,
    model: str,
    output: str,
    cut: bool,
    full: bool,
) -> None:
    """Show examples exactly as the model will see them.

    With the chat template and its special tokens, and what the model is taught, the only tokens
    that count in the loss, in another colour or else in brackets. Where the model's tokenizer is
    not on this machine, what the request will hold.
    """
    from tuner.cli.data import previewed
    from tuner.cli.data.counting import counter_or_usual
    from tuner.cli.show import show

    if row and line:
        raise click.UsageError("--row and --line exclude each other: keep one of them")
    counter = counter_or_usual(given, model)
    chosen = list(islice(_chosen(given, row, line), many))
    if output != "table":
        show([_record(given, each, counter) for each in chosen], output)
        return
    for each in chosen:
        name = f"{each.path}:{each.example.line}" if each.example.line else each.path
        click.secho(f"example {each.row:,} ({name})", bold=True)
        if counter:
            previewed.show_example(counter, each.example, cut=cut, full=full)
        else:
            previewed.show_request(given.instruction, each.example)
    if counter:
        previewed.show_legend(counter, cut=cut)
    else:
        click.echo(f"this is what the request holds: {_why_no_tokens(given)}", err=True)


def _chosen(given: Given, row: int | None, line: int | None) -> Iterator[Chosen]:
    """The examples from a place on."""
    first = _row_on(given, line) if line else row or 1
    found = False
    for each in islice(_all(given), first - 1, None):
        found = True
        yield each
    if not found:
        raise click.UsageError(f"there is no example {first:,}: `tuner data stats` counts them")


def _all(given: Given) -> Iterator[Chosen]:
    """Raises DatasetError when there are only rows that cannot be read."""
    from tuner.data import read
    from tuner.data.checks.report import Tally
    from tuner.errors import DatasetError

    number, problems = 0, Tally()
    for batch in read(given.source):
        problems.add_all(batch.problems)
        for number, example in enumerate(batch.examples(), number + 1):  # noqa: B020 -- it goes on
            yield Chosen(batch.path, number, example)
    if problems.counts and not number:
        raise DatasetError(problems.capped())


def _row_on(given: Given, line: int) -> int:
    """The example that stands on a line of the first file; a row may have several."""
    from tuner.data import read
    from tuner.errors import DatasetError

    number = 0
    for batch in read(given.source._replace(paths=given.source.paths[:1])):
        bad = [each for each in batch.problems if each.line == line]
        if bad:
            raise DatasetError(bad)
        number += sum(each <= line for each in batch.lines)
        if batch.lines and batch.lines[-1] > line:
            break
    if not number:
        raise click.UsageError(f"no example stands on line {line:,}")
    return number


def _record(given: Given, each: Chosen, counter: Counter | None) -> dict[str, Any]:
    from tuner.cli.data import previewed

    asked = f"{given.instruction}\n\n" if given.instruction else ""
    return {
        "path": each.path,
        "row": each.row,
        "line": each.example.line,
        "text_input": asked + each.example.text_input,
        "output": each.example.output,
        **(previewed.tokens_of(counter, each.example) if counter else {}),
    }


def _why_no_tokens(given: Given) -> str:
    if not given.base_model:
        return "no base model is named; --model says which"
    name = given.base_model.removeprefix("models/")
    return f"the tokenizer of {given.base_model} is not here (`tuner models pull {name}`)"
