"""A request with the examples of a large file, written from the file's bytes."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from google.ai import generativelanguage_v1beta as gl

from tuner.examples import Column
from tuner.spans import WORD, at_each, copy, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.examples import Examples
    from tuner.spans import Buffer, Places, Spans, Words

_BYTES = 2
"""The wire type of what has its length before it."""
_SEVEN, _MORE = 7, 0x80
"""Bits of a number that a byte holds, and what says that another byte follows."""


def write(request: Any, examples: Examples) -> bytes:
    """The bytes of a CreateTunedModelRequest that has no examples yet, with them in it.

    As messages they would take three times as long, and most of their memory once more.
    """
    columns = [(_spans(inputs), _spans(outputs)) for inputs, outputs in examples.columns()]
    sizes = [_Rows(*each).size for each in columns]
    before, size, largest = b"", sum(sizes), max(sizes)
    for message, field in (
        (gl.Dataset.pb()(), "examples"),
        (request.tuned_model.tuning_task, "training_data"),
        (request.tuned_model, "tuning_task"),
        (request, "tuned_model"),
    ):
        before = _without(message, field) + _head(message, field, size + len(before)) + before
    whole, scratch = BytesIO(), np.empty(largest + WORD, np.uint8)
    whole.write(before)
    for each in columns:
        whole.write(scratch[: _Rows(*each).write(scratch)].data)
    return whole.getvalue()


class _Rows:
    """Some rows as TuningExamples has them on the wire.

    Attributes:
        size: Their bytes.
    """

    def __init__(self, inputs: Spans, outputs: Spans) -> None:
        self._texts = inputs, outputs
        self._sizes = inputs.ends - inputs.begins, outputs.ends - outputs.begins
        with_input, with_output = (1 + _digits(each) + each for each in self._sizes)
        with_output *= self._sizes[1] > 0  # the input is one of a oneof, and there even when empty
        self._fields = with_input, with_output
        self._bodies = with_input + with_output
        self._wholes = 1 + _digits(self._bodies) + self._bodies
        self.size = int(self._wholes.sum())

    def write(self, into: Buffer) -> int:
        """Their bytes, to where a buffer begins that has room for a word more; how many they are."""
        ends = np.cumsum(self._wholes)
        second = ends - self._fields[1]
        places = np.stack([ends - self._wholes, second - self._fields[0], second], 1)
        sizes = (self._bodies, *self._sizes)
        heads = [_heads(tag, each) for tag, each in zip(_TAGS, sizes, strict=True)]
        # In their order: what a head overwrites behind it is written after it.
        at_each(into, WORD)[places.ravel()] = np.stack(heads, 1).view(f"V{WORD}").ravel()
        copy(self._texts[0], into, second - self._sizes[0])
        copy(self._texts[1], into, ends - self._sizes[1])
        return self.size


def _spans(texts: Sequence[str]) -> Spans:
    return texts.spans if isinstance(texts, Column) else joined([each.encode() for each in texts])


def _heads(tag: int, sizes: Places) -> Words:
    """A tag and each size as a varint, from the lowest byte on; what is above them is zero."""
    words, rest, shift = np.full(len(sizes), tag, np.int64), sizes, 0
    while rest.any():
        shift += 8
        more = rest >> _SEVEN
        words |= (rest & (_MORE - 1) | (more > 0) * _MORE) << shift
        rest = more
    return words.astype("<u8")


def _digits(sizes: Places) -> Places:
    """How many bytes each takes as a varint."""
    digits = np.ones_like(sizes)
    least = _MORE
    while least <= sizes.max(initial=0):
        digits += sizes >= least
        least <<= _SEVEN
    return digits


def _without(message: Any, field: str) -> bytes:
    rest = type(message)()
    rest.CopyFrom(message)
    rest.ClearField(field)
    encoded: bytes = rest.SerializeToString()
    return encoded


def _tag(message: Any, field: str) -> int:
    number: int = message.DESCRIPTOR.fields_by_name[field].number
    return number << 3 | _BYTES


def _head(message: Any, field: str, size: int) -> bytes:
    """What stands before a field of so many bytes."""
    sizes = np.array([size], np.int64)
    return _heads(_tag(message, field), sizes).tobytes()[: 1 + int(_digits(sizes)[0])]


_TAGS = (
    _tag(gl.TuningExamples.pb(), "examples"),
    _tag(gl.TuningExample.pb(), "text_input"),
    _tag(gl.TuningExample.pb(), "output"),
)
