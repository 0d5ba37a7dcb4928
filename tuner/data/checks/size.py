"""How large a CreateTunedModelRequest will be on the wire, without importing protobuf.

Fields and types are those of google.ai.generativelanguage.v1beta's public protos; a tag takes one
byte for the field numbers below 16, two for the others.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.types import Example, Hyperparameters, Limits, NewTunedModel

_TAG = 1
_WIDE_TAG = 2
_FLOAT = 4
_FRAME = 24
"""An example's tags and lengths take no more, nor do all the numbers together."""


def check_request(new: NewTunedModel, path: str, limits: Limits) -> list[Problem]:
    """A problem when the request that creates ``new``, of examples in ``path``, is too large."""
    most = limits.request_bytes
    if most is None or _at_most(new) <= most:
        return []
    size = request_bytes(new)
    if size <= most:
        return []
    what = f"the examples make a request of {size:,} bytes, the target takes {most:,}"
    fix = f"keep about {len(new.examples) * most // size:,} of the {len(new.examples):,} rows"
    return [Problem(path, 0, 0, what, fix, "request-too-large")]


def request_bytes(new: NewTunedModel) -> int:
    """The exact size in bytes of ``new`` as a CreateTunedModelRequest."""
    source = _message(_text(new.tuned_model_source)) if new.tuned_model_source else 0
    model = (
        source
        + _text(new.base_model)
        + _text(new.display_name)
        + _text(new.description)
        + (_TAG + _FLOAT) * sum(value is not None for value in (new.temperature, new.top_p))
        + (0 if new.top_k is None else _TAG + _varint(new.top_k))
        + _message(_message(_message(_examples(new.examples))) + _tuning(new.hyperparameters))
    )
    return _TAG + _varint(len(new.id)) + len(new.id) + _message(model)


def _at_most(new: NewTunedModel) -> int:
    """Quickly, a size that the request cannot exceed: four bytes a character."""
    names = (new.id, new.base_model, new.tuned_model_source, new.display_name, new.description)
    rows = sum(len(each.text_input) + len(each.output) for each in new.examples)
    return 4 * (rows + sum(map(len, names))) + _FRAME * (len(new.examples) + len(names) + 4)


def _examples(examples: Sequence[Example]) -> int:
    """A text_input is one of a oneof, and as such sent even when it is empty."""
    return sum(_message(_message(_size(each.text_input)) + _text(each.output)) for each in examples)


def _tuning(keys: Hyperparameters) -> int:
    """Epochs have field 14, batches 15, the two learning rates 16 and 17."""
    size = sum(
        _TAG + _varint(each) for each in (keys.epoch_count, keys.batch_size) if each is not None
    )
    rates = (keys.learning_rate, keys.learning_rate_multiplier)
    size += sum(_WIDE_TAG + _FLOAT for rate in rates if rate is not None)
    return _message(size) if any(each is not None for each in astuple(keys)) else 0


def _text(text: str) -> int:
    """An empty one is not sent."""
    return _message(_size(text)) if text else 0


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _message(size: int) -> int:
    return _TAG + _varint(size) + size


def _varint(number: int) -> int:
    """Seven bits a byte."""
    return max(1, -(-number.bit_length() // 7))
