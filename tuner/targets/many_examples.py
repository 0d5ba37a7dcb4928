"""A request with the examples of a large file, written from the file's bytes."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from google.ai import generativelanguage_v1beta as gl

from tuner.examples import Column
from tuner.spans import CHUNK, Spans, copy, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.examples import Examples
    from tuner.spans import Buffer, Places

_BYTES = 2
"""The wire type of what has its length before it."""
_SEVEN, _MORE = 7, 0x80
"""Bits of a number that a byte holds, and what says that another byte follows."""


def write(request: Any, examples: Examples) -> bytes:
    """The bytes of a CreateTunedModelRequest that has no examples yet, with them in it.

    As messages they would take three times as long, and most of their memory once more.
    """
    columns = [(_spans(inputs), _spans(outputs)) for inputs, outputs in examples.columns()]
    before = b""
    size = sum(int(_Rows(*each).sizes.sum()) for each in columns)
    for message, field in (
        (gl.Dataset.pb()(), "examples"),
        (request.tuned_model.tuning_task, "training_data"),
        (request.tuned_model, "tuning_task"),
        (request, "tuned_model"),
    ):
        before = _without(message, field) + _head(message, field, size + len(before)) + before
    whole, at = BytesIO(), len(before)
    whole.write(before)
    whole.seek(at + size)
    whole.write(b"\0")  # memory for all, and one more to be cut off
    with whole.getbuffer() as into:
        for each in columns:
            at += _Rows(*each).write(np.frombuffer(into, np.uint8)[at:])
    whole.truncate(at)
    return whole.getvalue()


class _Rows:
    """Some rows as TuningExamples has them on the wire."""

    def __init__(self, inputs: Spans, outputs: Spans) -> None:
        self._inputs, self._outputs = inputs, outputs
        self._input_sizes = inputs.ends - inputs.begins
        self._output_sizes = outputs.ends - outputs.begins
        # The input is one of a oneof, and as such there even when it is empty.
        with_input = 1 + _digits(self._input_sizes) + self._input_sizes
        with_output = 1 + _digits(self._output_sizes) + self._output_sizes
        self._bodies = with_input + with_output * (self._output_sizes > 0)
        self.sizes = 1 + _digits(self._bodies) + self._bodies

    def write(self, into: Buffer) -> int:
        """Their bytes, to where a buffer begins; how many they are."""
        ends = np.cumsum(self.sizes)
        places = _put(into, ends - self.sizes, _EXAMPLES, self._bodies)
        places = _put(into, places, _TEXT_INPUT, self._input_sizes)
        copy(self._inputs, into, places)
        some = self._output_sizes > 0
        places = (places + self._input_sizes)[some]
        outputs = Spans(self._outputs.buffer, self._outputs.begins[some], self._outputs.ends[some])
        copy(outputs, into, _put(into, places, _OUTPUT, self._output_sizes[some]))
        return int(ends[-1])


def _spans(texts: Sequence[str]) -> Spans:
    return texts.spans if isinstance(texts, Column) else joined([each.encode() for each in texts])


def _put(into: Buffer, places: Places, tag: int, sizes: Places) -> Places:
    """Write a tag and a length at each place; what follows there begins where the answer says."""
    into[places] = tag
    digits, rest = _digits(sizes), sizes
    for digit in range(int(digits.max(initial=0))):
        some = digits > digit
        more = np.where(digits > digit + 1, _MORE, 0)
        into[(places + 1 + digit)[some]] = (rest & (_MORE - 1) | more)[some]
        rest = rest >> _SEVEN
    return places + 1 + digits


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
    into = np.empty(CHUNK, np.uint8)
    end = int(_put(into, np.zeros(1, np.int64), _tag(message, field), np.array([size]))[0])
    return into[:end].tobytes()


_EXAMPLES = _tag(gl.TuningExamples.pb(), "examples")
_TEXT_INPUT, _OUTPUT = (_tag(gl.TuningExample.pb(), each) for each in ("text_input", "output"))
