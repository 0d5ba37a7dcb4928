"""What a record may look like, whatever file it is in: which of its keys hold the two texts.

A shape is told by the keys of a file's first record, unless the columns are named. System text, an
instruction, and the turns before the last are joined in front of the question, ``JOINT`` between,
the way a spec's own ``instruction`` is.

Sources, read in November 2026: prompt and completion are those of OpenAI's legacy fine-tuning and of
Together; Alpaca's keys are stanford_alpaca's, with LLaMA-Factory's ``system`` and ``history``
(data/README.md there). The shapes with messages are in ``conversations.py``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.data import USUAL

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from tuner.data import Columns, Source
    from tuner.types import Example

    Record = Mapping[str, Any]
    Path = tuple[str | int, ...]

JOINT = "\n\n"
PLAIN = "plain"


class Piece(NamedTuple):
    """Some text of a record, and the keys that lead to it; none when it is ours."""

    text: str
    path: Path = ()


class Parts(NamedTuple):
    """One example of a record, in pieces that know where they come from."""

    inputs: tuple[Piece, ...]
    outputs: tuple[Piece, ...]

    @property
    def text_input(self) -> str:
        """The pieces as one text."""
        return "".join([piece.text for piece in self.inputs])

    @property
    def output(self) -> str:
        """The pieces as one text."""
        return "".join([piece.text for piece in self.outputs])


class Flaw(NamedTuple):
    """What is wrong with a record, and the keys that lead to where it is."""

    path: Path
    what: str
    fix: str
    rule: str


class Shape(NamedTuple):
    """One row of the table.

    Attributes:
        keys: Alternatives; a record that has all the keys of one of them has this shape.
        read: ``module:function``, called with a record and its source; gives Parts and Flaws.
        write: Makes an example a record; takes it and the system text, which may be empty.
        is_flat: Whether a record is texts alone, as the columns of a CSV file are.
    """

    keys: tuple[tuple[str, ...], ...]
    read: str
    write: Callable[[Example, str], Record]
    is_flat: bool = False


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _said(speaker: str, value: str) -> dict[str, str]:
    return {"from": speaker, "value": value}


def _content(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


def _openai(each: Example, system: str) -> Record:
    first = [_turn("system", system)] if system else []
    return {"messages": [*first, _turn("user", each.text_input), _turn("assistant", each.output)]}


def _prompt(each: Example, system: str) -> Record:
    return {"prompt": joined(system, each.text_input), "completion": each.output}


def _vertex(each: Example, system: str) -> Record:
    first = {"systemInstruction": _content("system", system)} if system else {}
    return {
        **first,
        "contents": [_content("user", each.text_input), _content("model", each.output)],
    }


def _alpaca(each: Example, system: str) -> Record:
    if system:
        return {"instruction": system, "input": each.text_input, "output": each.output}
    return {"instruction": each.text_input, "input": "", "output": each.output}


def _sharegpt(each: Example, system: str) -> Record:
    first = [_said("system", system)] if system else []
    return {"conversations": [*first, _said("human", each.text_input), _said("gpt", each.output)]}


SHAPES = {
    "openai": Shape((("messages",),), "tuner.data.formats.conversations:openai", _openai),
    "vertex": Shape((("contents",),), "tuner.data.formats.conversations:vertex", _vertex),
    "sharegpt": Shape(
        (("conversations",),), "tuner.data.formats.conversations:sharegpt", _sharegpt
    ),
    "prompt-completion": Shape(
        (("prompt", "completion"),),
        "tuner.data.formats.flat:prompt_completion",
        _prompt,
        is_flat=True,
    ),
    "alpaca": Shape(
        (("instruction", "output"),), "tuner.data.formats.flat:alpaca", _alpaca, is_flat=True
    ),
}


def joined(*texts: str) -> str:
    """Those that are not empty, a blank line between."""
    return JOINT.join(filter(None, texts))


def shape_of(keys: Collection[str], source: Source) -> str:
    """``PLAIN`` or the key of ``SHAPES`` of a record with these keys; empty when none fits."""
    if source.format in SHAPES:
        return source.format
    if source.columns != USUAL or all(name in keys for name in USUAL):
        return PLAIN
    fitting = (
        name
        for name, shape in SHAPES.items()
        if any(all(key in keys for key in each) for each in shape.keys)
    )
    return next(fitting, "")


def reader(shape: str) -> Callable[[Record, Source], list[Parts | Flaw]]:
    """The function that makes examples of a record of a shape."""
    where = "tuner.data.formats.flat:plain" if shape == PLAIN else SHAPES[shape].read
    module, _, name = where.partition(":")
    found: Callable[[Record, Source], list[Parts | Flaw]] = getattr(import_module(module), name)
    return found


def written(
    examples: Iterable[Example], shape: str, columns: Columns, system: str
) -> tuple[Sequence[str], Iterator[Record]]:
    """The examples as records, made one at a time, and the keys that each of them has."""
    if shape == PLAIN:
        first, second = columns
        return columns, (
            {first: joined(system, each.text_input), second: each.output} for each in examples
        )
    write = SHAPES[shape].write
    keys = SHAPES[shape].keys[0]
    if shape == "alpaca":
        keys = ("instruction", "input", "output")
    return keys, (write(each, system) for each in examples)
