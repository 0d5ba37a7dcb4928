"""Compute the size of a CreateTunedModelRequest without importing protobuf.

Fields and types are those of google.ai.generativelanguage.v1beta's public protos; a tag takes one
byte for field numbers below 16, two for the others.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

from tuner.errors import Problem

if TYPE_CHECKING:
    from tuner.types import Hyperparameters, Limits, NewTunedModel

_TAG_BYTES, _WIDE_TAG_BYTES, _FLOAT_BYTES = 1, 2, 4


def check_request(new: NewTunedModel, path: str, limits: Limits) -> list[Problem]:
    """Return a problem if the request that creates a model from examples in ``path`` is too large."""
    limit = limits.request_bytes
    size = 0 if limit is None else request_bytes(new)
    if limit is None or size <= limit:
        return []
    rows = len(new.examples)
    what = f"the examples make a request of {size:,} bytes, the target takes {limit:,}"
    fix = f"keep about {rows * limit // size:,} of the {rows:,} rows"
    return [Problem(path, 0, 0, what, fix, "request-too-large")]


def request_bytes(new: NewTunedModel) -> int:
    """Return the exact size in bytes of ``new`` as a CreateTunedModelRequest."""
    # text_input is part of a oneof and is sent even if it is empty
    examples = sum(
        _message(_message(utf8_size(each.text_input)) + _text(each.output)) for each in new.examples
    )
    source = _message(_text(new.tuned_model_source)) if new.tuned_model_source else 0
    floats = sum(value is not None for value in (new.temperature, new.top_p))
    model = (
        source
        + sum(map(_text, (new.base_model, new.display_name, new.description)))
        + (_TAG_BYTES + _FLOAT_BYTES) * floats
        + (0 if new.top_k is None else _TAG_BYTES + _varint(new.top_k))
        + _message(_message(_message(examples)) + _hyperparameters(new.hyperparameters))
    )
    return _message(len(new.id)) + _message(model)


def utf8_size(text: str) -> int:
    """Return the bytes of a text in UTF-8; half of a surrogate pair counts three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _hyperparameters(keys: Hyperparameters) -> int:
    """Epochs have field 14, batch size 15, the two learning rates 16 and 17."""
    integers = [each for each in (keys.epoch_count, keys.batch_size) if each is not None]
    rates = (keys.learning_rate, keys.learning_rate_multiplier)
    size = sum(_TAG_BYTES + _varint(each) for each in integers)
    size += sum(_WIDE_TAG_BYTES + _FLOAT_BYTES for rate in rates if rate is not None)
    return _message(size) if any(each is not None for each in astuple(keys)) else 0


def _text(text: str) -> int:
    """An empty text is not sent."""
    return _message(utf8_size(text)) if text else 0


def _message(size: int) -> int:
    return _TAG_BYTES + _varint(size) + size


def _varint(number: int) -> int:
    return max(1, -(-number.bit_length() // 7))
