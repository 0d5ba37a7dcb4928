"""`tuner data preview`: examples exactly as the model will see them."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from tuner.cli.data_options import data_options
from tuner.cli.options import output_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.cli.data_options import DataInput
    from tuner.engine.batches import Row
    from tuner.engine.chat import TokenText
    from tuner.tokens import TokenCounter
    from tuner.types import Example


class Chosen(NamedTuple):
    """An example to show, its file, and its number among all examples."""

    path: str
    row: int
    example: Example


@click.command()
@data_options
@click.option("--row", type=click.IntRange(1), help="Start with the Nth example.")
@click.option("--line", type=click.IntRange(1), help="Start with the example on this line.")
@click.option(
    "-n", "many", type=click.IntRange(1), default=1, show_default=True, help="Number of examples."
)
@click.option("--tokens", "cut", is_flag=True, help="Mark the end of each token.")
@click.option("--full", is_flag=True, help="Show long examples completely.")
@click.option(
    "--model",
    default="",
    metavar="MODEL",
    help="Model whose chat template and tokenizer are used (models/ID).",
)
@output_option
def preview(  # noqa: PLR0913 -- which, and how
    given: DataInput,
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

    Includes the chat template and its special tokens. The trained tokens, on which the loss is computed,
    are coloured or in brackets. If the model's tokenizer is not on this machine, shows the request
    instead.
    """
    from tuner.cli.data_options import counter_or_default
    from tuner.cli.output import show

    if row and line:
        raise click.UsageError("--row and --line are mutually exclusive: keep one of them")
    counter = counter_or_default(given, model)
    chosen = list(islice(_chosen(given, row, line), many))
    if output != "table":
        show([_record(given, each, counter) for each in chosen], output)
        return
    for each in chosen:
        name = f"{each.path}:{each.example.line}" if each.example.line else each.path
        click.secho(f"example {each.row:,} ({name})", bold=True)
        if counter:
            show_example(counter, each.example, cut=cut, full=full)
        else:
            show_request(given.instruction, each.example)
    if counter:
        show_legend(counter, cut=cut)
    else:
        why = "no base model is named; --model says which"
        if given.base_model:
            name = given.base_model.removeprefix("models/")
            why = f"the tokenizer of {given.base_model} is not here (`tuner models pull {name}`)"
        click.echo(f"shown as in the request: {why}", err=True)


def _chosen(given: DataInput, row: int | None, line: int | None) -> Iterator[Chosen]:
    """Yield the examples from the chosen one on."""
    first = _row_on(given, line) if line else row or 1
    found = False
    for each in islice(_all(given), first - 1, None):
        found = True
        yield each
    if not found:
        raise click.UsageError(f"there is no example {first:,}: `tuner data stats` counts them")


def _all(given: DataInput) -> Iterator[Chosen]:
    """Yield all examples. Raises DatasetError if no row is readable."""
    from tuner.data.checks.report import ProblemTally
    from tuner.data.dataset import read
    from tuner.errors import DatasetError

    number, problems = 0, ProblemTally()
    for batch in read(given.source):
        problems.add_all(batch.problems)
        for number, example in enumerate(batch.examples(), number + 1):  # noqa: B020 -- continues counting
            yield Chosen(batch.path, number, example)
    if problems.counts and not number:
        raise DatasetError(problems.capped())


def _row_on(given: DataInput, line: int) -> int:
    """Return the number of the example on a line of the first file; a row may span several lines."""
    from tuner.data.dataset import read
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
        raise click.UsageError(f"there is no example on line {line:,}")
    return number


def _record(given: DataInput, each: Chosen, counter: TokenCounter | None) -> dict[str, Any]:
    instruction = f"{given.instruction}\n\n" if given.instruction else ""
    return {
        "path": each.path,
        "row": each.row,
        "line": each.example.line,
        "text_input": instruction + each.example.text_input,
        "output": each.example.output,
        **(tokens_of(counter, each.example) if counter else {}),
    }


BEGIN, END = "⟦", "⟧"
CUT = "╎"
_HEAD, _TAIL = 400, 200
"""Runs of tokens shown at the start and end of a long prompt or output."""


SPECIAL = {"fg": "magenta", "dim": True}
TRAINED = {"fg": "green", "bold": True}
TRAINED_SPECIAL = {"fg": "green", "dim": True}


def row_of(counter: TokenCounter, example: Example) -> Row:
    """Tokenize an example as the engine does, of any length."""
    from tuner.engine import EngineError
    from tuner.engine.batches import rows
    from tuner.errors import RequestRefused

    whole = example._replace(text_input=counter.prefix + example.text_input)
    try:
        (row,) = rows([whole], counter.chat, sys.maxsize)
    except EngineError as error:
        raise RequestRefused(str(error)) from error
    return row


def tokens_of(counter: TokenCounter, example: Example) -> dict[str, Any]:
    """Return the tokens, which of them are trained on, and whether the model accepts them."""
    from tuner.engine.chat import token_texts

    row = row_of(counter, example)
    prompt, answer = (list(token_texts(counter.chat, each)) for each in (row.prompt, row.answer))
    return {
        "model": counter.model,
        "prompt": "".join(each.text for each in prompt),
        "learnt": "".join(each.text for each in answer),
        "token_ids": [*row.prompt, *row.answer],
        "loss_mask": [0] * len(row.prompt) + [1] * len(row.answer),
        "pieces": [{"text": each.text, "token_ids": each.tokens} for each in (*prompt, *answer)],
        "prompt_tokens": len(row.prompt),
        "output_tokens": len(row.answer),
        "limit": counter.limit,
        "fits": len(row) <= counter.limit,
    }


def show_example(counter: TokenCounter, example: Example, *, cut: bool, full: bool) -> None:
    """Print an example as the model sees it."""
    from tuner.engine.chat import token_texts

    row = row_of(counter, example)
    texts = [list(token_texts(counter.chat, tokens)) for tokens in (row.prompt, row.answer)]
    prompt = _drawn(texts[0], {}, SPECIAL, cut, full)
    answer = _drawn(texts[1], TRAINED, TRAINED_SPECIAL, cut, full)
    begin, end, between = BEGIN, END, ""
    if _in_colour():
        begin, end, between = "", "", CUT if cut else ""
    click.echo(f"{prompt}{between}{begin}{answer}{end}")
    prompts, outputs = len(row.prompt), len(row.answer)
    click.echo(f"{prompts + outputs:,} tokens: {prompts:,} in the prompt, {outputs:,} trained")
    if len(row) > counter.limit:
        more = f"{len(row) - counter.limit:,} more than the {counter.limit:,} the model takes"
        text = f"too long: {more}; the tuning would be rejected, nothing is truncated"
        click.secho(text, fg="red")
    click.echo()


def show_request(instruction: str, example: Example) -> None:
    """Print an example as it is sent."""
    prefix = f"{instruction}\n\n" if instruction else ""
    for name, text in (("text_input", prefix + example.text_input), ("output", example.output)):
        click.secho(f"{name}:", fg="cyan")
        click.echo(visible(text))
    click.echo()


def show_legend(counter: TokenCounter, *, cut: bool) -> None:
    """Explain the colours or brackets on stderr."""
    if _in_colour():
        special = click.style("special tokens", **SPECIAL)  # type: ignore[arg-type]
        trained = click.style("trained tokens (the loss is computed on them)", **TRAINED)  # type: ignore[arg-type]
        text = f"{special}, {trained}"
    else:
        text = f"between {BEGIN} and {END}: trained tokens (the loss is computed on them)"
    marks = f"; {CUT} ends a token" if cut else ""
    click.echo(
        f"as {counter.model} sees it: {text}{marks}; ↵ is a line break in the text", err=True
    )


def _in_colour() -> bool:
    context = click.get_current_context(silent=True)
    return sys.stdout.isatty() and (context is None or context.color is not False)


def _drawn(
    runs: Sequence[TokenText], style: dict[str, Any], special: dict[str, Any], cut: bool, full: bool
) -> str:
    parts = [
        click.style(visible(each.text), **(special if each.is_special else style))
        for each in _shortened(runs, full=full)
    ]
    return (CUT if cut else "").join(parts)


def _shortened(runs: Sequence[TokenText], *, full: bool) -> Iterator[TokenText]:
    from tuner.engine.chat import TokenText

    if full or len(runs) <= _HEAD + _TAIL:
        yield from runs
        return
    yield from runs[:_HEAD]
    left = f"\n[... {len(runs) - _HEAD - _TAIL:,} more tokens, shown by --full ...]\n"
    yield TokenText(left, (), is_special=True)
    yield from runs[-_TAIL:]


def visible(text: str) -> str:
    """Show line breaks as a sign and other control characters as escapes."""
    lines = (
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        for line in text.split("\n")
    )
    return "↵\n".join(lines)
