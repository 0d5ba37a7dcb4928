"""How many tokens examples have, where the tokenizer of their base model is on this disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tuner.engine import BaseModel
    from tuner.engine.chat import Chat

TUNABLE = "createTunedModel"
_CHARS_AT_ONCE = 250_000
"""A token in memory takes a hundred bytes and more: so many characters take some 30 MB."""

_BYTES_A_CHAR = 4
_NORMALIZED = 4 * 18
"""Bytes a character may become where it is normalised first: one becomes 18 in NFKC."""
_MARGIN = 16
"""Tokens more that a prompt may have than its empty template and its text by themselves."""


class Tokens(NamedTuple):
    """Of one example: its prompt, template and instruction included, and its output with its end."""

    prompt: int
    output: int


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts as the engine on this machine does when it tunes.

    Attributes:
        model: ``models/ID``, or the folder that was named.
        folder: Where the model is.
        limit: Tokens of prompt and output together that it takes at most. Nothing is cut off: a
            tuning that has a longer example is refused.
        chat: How the model is spoken to.
        prefix: Put in front of every text_input: the instruction and a blank line.
    """

    model: str
    folder: Path
    limit: int
    chat: Chat
    prefix: str = ""

    def count(self, text_inputs: Iterable[str], outputs: Iterable[str]) -> Iterator[Tokens]:
        """The tokens of examples, in their order.

        Texts of more than 250,000 characters are counted in pieces, which may add a token a piece;
        half of a surrogate pair counts as a question mark.

        Raises:
            RequestRefused: The model's template takes no such text.
        """
        from tuner.engine import EngineError
        from tuner.errors import RequestRefused

        texts = (_whole(self.prefix + each) for each in text_inputs)
        try:
            for part in _parts(zip(texts, map(_whole, outputs), strict=True)):
                yield from self._count(part)
        except EngineError as error:
            raise RequestRefused(str(error)) from error

    def totals(self, text_inputs: Sequence[str], outputs: Sequence[str]) -> list[int]:
        """Prompt and output of each example together, 0 where it is surely within the limit.

        A tenth of the time where texts are short: no token says less than a byte, so rows of few
        characters need no counting. Raises as ``count`` does.
        """
        ((prompt, output),) = self.count([""], [""])
        room = self.limit - prompt - output - _MARGIN
        most = room // (_BYTES_A_CHAR if self.chat.tokenizer.normalizer is None else _NORMALIZED)
        sizes = map(int.__add__, map(len, text_inputs), map(len, outputs))
        long = [at for at, size in enumerate(sizes) if size > most]
        totals = [0] * len(text_inputs)
        counts = self.count((text_inputs[at] for at in long), (outputs[at] for at in long))
        for at, each in zip(long, counts, strict=True):
            totals[at] = sum(each)
        return totals

    def _count(self, part: Sequence[tuple[str, str]]) -> Iterator[Tokens]:
        if len(part) == 1:
            yield self._count_one(*part[0])
        else:
            texts, outputs = zip(*part, strict=True)
            yield from map(Tokens._make, self.chat.counts(texts, outputs))

    def _count_one(self, text: str, output: str) -> Tokens:
        """It may be a long one."""
        first, *more = _pieces(text)
        said, *rest = _pieces(output)
        ((prompt, answer),) = self.chat.counts([first], [said])
        return Tokens(prompt + self._said(more), answer + self._said(rest))

    def _said(self, pieces: Sequence[str]) -> int:
        return sum(len(self.chat.answer(each)) - 1 for each in pieces)


def open_counter(name: str, instruction: str = "") -> Counter | None:
    """The counter of a model; None when its files are not here.

    Args:
        name: ``models/ID``, the ID, or a folder in Hugging Face's format.
        instruction: Goes in front of every text_input.
    """
    try:
        from tuner.engine import base_models
        from tuner.engine.chat import open_chat
    except ImportError:  # the extra `local` is not installed
        return None
    from tuner.home import models_folder

    try:
        model = _in_folder(name) or base_models.known_base_model(name)
        folder = base_models.local_folder(model, models_folder())
        if folder is None or TUNABLE not in model.methods:
            return None
        chat = open_chat(folder)
    except Exception:  # noqa: BLE001 -- tokenizers raises it bare; who tunes with the model is told
        return None
    prefix = f"{instruction}\n\n" if instruction else ""
    return Counter(model.name, folder, _limit(model, folder), chat, prefix)


def _in_folder(name: str) -> BaseModel | None:
    from tuner.engine import BaseModel

    return BaseModel(name, name, methods=(TUNABLE,)) if Path(name).is_dir() else None


def _limit(model: BaseModel, folder: Path) -> int:
    """The engine's own: what the model was made for, or less where the offer says so."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    context = config.get("max_position_embeddings") or config.get("n_positions")
    return min(filter(None, (context, model.input_token_limit)), default=0)


def _whole(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _parts(rows: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Rows in portions of a bounded length; a longer one stands alone."""
    part: list[tuple[str, str]] = []
    chars = 0
    for row in rows:
        size = len(row[0]) + len(row[1])
        if part and chars + size > _CHARS_AT_ONCE:
            yield part
            part, chars = [], 0
        part.append(row)
        chars += size
    if part:
        yield part


def _pieces(text: str) -> list[str]:
    starts = range(0, max(1, len(text)), _CHARS_AT_ONCE)
    return [text[start : start + _CHARS_AT_ONCE] for start in starts]
