"""How an example looks to a model, drawn for a terminal, for a pipe, or told to a program."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.engine.batches import Row
    from tuner.engine.chat import TokenText
    from tuner.tokens.counting import Counter
    from tuner.types import Example

BEGIN, END = "⟦", "⟧"
CUT = "╎"
_HEAD, _TAIL = 400, 200
"""Runs of tokens that are shown of a long prompt or output."""


class Look(NamedTuple):
    """How the parts of an example are told apart."""

    prompt: dict[str, Any]
    special: dict[str, Any]
    learnt: dict[str, Any]
    learnt_special: dict[str, Any]


COLOURS = Look(
    {}, {"fg": "magenta", "dim": True}, {"fg": "green", "bold": True}, {"fg": "green", "dim": True}
)
PLAIN = Look({}, {}, {}, {})


def row_of(counter: Counter, example: Example) -> Row:
    """The example as the engine makes it, whatever its length."""
    from tuner.engine import EngineError
    from tuner.engine.batches import rows
    from tuner.errors import RequestRefused

    whole = example._replace(text_input=counter.prefix + example.text_input)
    try:
        (row,) = rows([whole], counter.chat, sys.maxsize)
    except EngineError as error:
        raise RequestRefused(str(error)) from error
    return row


def tokens_of(counter: Counter, example: Example) -> dict[str, Any]:
    """For programs: the tokens, which of them count in the loss, and whether the model takes them."""
    from tuner.engine.chat import token_texts

    row = row_of(counter, example)
    prompt, answer = (
        list(token_texts(counter.chat, row.prompt)),
        list(token_texts(counter.chat, row.answer)),
    )
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


def show_example(counter: Counter, example: Example, *, cut: bool, full: bool) -> None:
    """Print one, as the model sees it."""
    from tuner.engine.chat import token_texts

    row = row_of(counter, example)
    look = COLOURS if _in_colour() else PLAIN
    prompt = _drawn(
        list(token_texts(counter.chat, row.prompt)), look.prompt, look.special, cut, full
    )
    answer = _drawn(
        list(token_texts(counter.chat, row.answer)), look.learnt, look.learnt_special, cut, full
    )
    begin, end = ("", "") if look is COLOURS else (BEGIN, END)
    between = CUT if cut and look is COLOURS else ""
    click.echo(f"{prompt}{between}{begin}{answer}{end}")
    prompts, outputs = len(row.prompt), len(row.answer)
    click.echo(f"{prompts + outputs:,} tokens: {prompts:,} of the prompt, {outputs:,} learnt")
    if len(row) > counter.limit:
        more = f"{len(row) - counter.limit:,} more than the {counter.limit:,} the model takes"
        click.secho(f"too long: {more}; nothing is cut off, the tuning is refused", fg="red")
    click.echo()


def show_request(instruction: str, example: Example) -> None:
    """Print what is sent of one."""
    asked = f"{instruction}\n\n" if instruction else ""
    for name, text in (("text_input", asked + example.text_input), ("output", example.output)):
        click.secho(f"{name}:", fg="cyan")
        click.echo(visible(text))
    click.echo()


def show_legend(counter: Counter, *, cut: bool) -> None:
    """Say what the colours or brackets mean; on stderr, for it is no part of an example."""
    if _in_colour():
        special = click.style("special tokens", **COLOURS.special)
        learnt = click.style("what is learnt: the loss is taken on it", **COLOURS.learnt)
        said = f"{special}, {learnt}"
    else:
        said = f"between {BEGIN} and {END}: what is learnt, the loss is taken on it"
    marks = f"; {CUT} ends a token" if cut else ""
    click.echo(f"as {counter.model} sees it: {said}{marks}; ↵ is a line end in the text", err=True)


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
    left = f"\n[... {len(runs) - _HEAD - _TAIL:,} tokens, which --full shows ...]\n"
    yield TokenText(left, (), is_special=True)
    yield from runs[-_TAIL:]


def visible(text: str) -> str:
    """Line ends with a sign, other control characters as escapes: nothing may steer a terminal."""
    return "".join(_SIGNS.get(each) or _inert(each) for each in text)


_SIGNS = {"\n": "↵\n"}


def _inert(each: str) -> str:
    return each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
