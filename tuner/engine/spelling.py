"""What tokens say, one after the other, special ones included: for people who want to look."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from tuner.engine.text_stream import INCOMPLETE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.engine.chat import Chat

_MOST_BYTES = 4
"""A character has no more in UTF-8, so no more tokens say one."""


class Spelt(NamedTuple):
    """The least run of tokens that says whole characters; mostly one."""

    text: str
    tokens: tuple[int, ...]
    is_special: bool = False


def spell(chat: Chat, tokens: Sequence[int]) -> Iterator[Spelt]:
    """Cut tokens into runs whose texts, joined, are what all of them say."""
    decoder = chat.tokenizer.get_added_tokens_decoder()
    special = {number for number, token in decoder.items() if token.special}
    before: list[int] = []
    run: list[int] = []
    for token, follows in zip_longest(tokens, tokens[1:]):
        run.append(token)
        said = _said(chat, before, run)
        may_grow = follows is not None and follows not in special and len(run) < _MOST_BYTES
        if said.endswith(INCOMPLETE) and may_grow:
            continue
        yield Spelt(said, tuple(run), is_special=token in special)
        before, run = run, []


def _said(chat: Chat, before: Sequence[int], run: Sequence[int]) -> str:
    """After others, since some tokenizers leave the first token's space out."""
    first = chat.tokenizer.decode(list(before), skip_special_tokens=False)
    both: str = chat.tokenizer.decode([*before, *run], skip_special_tokens=False)
    return both[len(first) :]
