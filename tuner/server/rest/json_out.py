"""Protobuf messages written as JSON, as google.protobuf.json_format would, several times as fast.

What to do with each field of a type is found out once and kept.
"""

from __future__ import annotations

import base64
import math
import struct
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import orjson
from google.protobuf import descriptor_pool, json_format
from google.protobuf.descriptor import FieldDescriptor as Proto
from google.protobuf.message_factory import GetMessageClass

from tuner.server.rest.json_scalars import WELL_KNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tuner.server.messages import Message

    Write = Callable[[Any], Any]

_FLOAT = struct.Struct("f")
_LARGE = {Proto.CPPTYPE_INT64, Proto.CPPTYPE_UINT64}
# Polled without end: written once and kept by their bytes, so many of each.
_KEPT = {
    "google.longrunning.Operation": 64,
    "google.ai.generativelanguage.v1beta.TuningSnapshot": 20_000,
}
_AS_TEXT = {f"google.protobuf.{name}" for name in ("Timestamp", "Duration", "FieldMask")}


def plain(message: Message, *, enum_numbers: bool = False) -> Any:
    """A message as what orjson writes; fields that are not set are left out."""
    return _message(message.DESCRIPTOR, enum_numbers)(message)


def dump(message: Message, *, enum_numbers: bool = False) -> bytes:
    """A message as JSON in UTF-8."""
    return orjson.dumps(plain(message, enum_numbers=enum_numbers))


@cache
def _message(descriptor: Any, enum_numbers: bool) -> Write:
    name = descriptor.full_name
    if name == "google.protobuf.Any":
        return lambda value: _any(value, enum_numbers)
    if name in _AS_TEXT:
        return lambda value: value.ToJsonString()
    if name in WELL_KNOWN:
        return lambda value: json_format.MessageToDict(value)  # noqa: PLW0108  (untyped)
    if name in _KEPT:
        return _kept(descriptor, enum_numbers)
    return lambda value: _fields(value, _writers(descriptor, enum_numbers))


def _kept(descriptor: Any, enum_numbers: bool) -> Write:
    kind, writers = GetMessageClass(descriptor), _writers(descriptor, enum_numbers)

    @lru_cache(_KEPT[descriptor.full_name])
    def written(data: bytes) -> orjson.Fragment:
        return orjson.Fragment(orjson.dumps(_fields(kind.FromString(data), writers)))

    return lambda value: written(value.SerializeToString())


def _fields(message: Message, writers: Mapping[Any, tuple[str, Write | None]]) -> dict[str, Any]:
    found = {}
    for field, value in message.ListFields():
        name, write = writers[field]
        found[name] = value if write is None else write(value)
    return found


@cache
def _writers(descriptor: Any, enum_numbers: bool) -> Mapping[Any, tuple[str, Write | None]]:
    """How each field is written: its name, and what to do with its value, None for nothing."""
    return {each: (each.json_name, _writer(each, enum_numbers)) for each in descriptor.fields}


def _writer(field: Any, enum_numbers: bool) -> Write | None:
    if not field.is_repeated:
        return _single(field, enum_numbers)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return _map(_key(key), _single(value, enum_numbers))
    one = _single(field, enum_numbers)
    return list if one is None else lambda values: [one(each) for each in values]


def _single(field: Any, enum_numbers: bool) -> Write | None:
    if field.message_type is not None:
        return _message(field.message_type, enum_numbers)
    if field.enum_type is not None:
        return _enum(field.enum_type, enum_numbers)
    if field.type == Proto.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    if field.cpp_type in _LARGE:
        return str
    return {Proto.TYPE_FLOAT: _float, Proto.TYPE_DOUBLE: _double}.get(field.type)


def _map(key: Write, item: Write | None) -> Write:
    return lambda values: {
        key(name): value if item is None else item(value) for name, value in values.items()
    }


def _key(field: Any) -> Write:
    return (lambda key: "true" if key else "false") if field.type == Proto.TYPE_BOOL else str


def _enum(kind: Any, enum_numbers: bool) -> Write | None:
    if kind.full_name == "google.protobuf.NullValue":
        return lambda _: None
    if enum_numbers:
        return None
    names = {number: value.name for number, value in kind.values_by_number.items()}
    return lambda number: names.get(number, number)


def _float(value: float) -> Any:
    """The shortest decimal that is the same 32-bit number."""
    if not math.isfinite(value):
        return _double(value)
    kept = _FLOAT.pack(value)
    for digits in (6, 7, 8, 9):
        short = float(f"{value:.{digits}g}")
        if _FLOAT.pack(short) == kept:
            return short
    return value


def _double(value: float) -> Any:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _any(message: Any, enum_numbers: bool) -> dict[str, Any]:
    if not message.type_url:
        return {}
    descriptor = descriptor_pool.Default().FindMessageTypeByName(message.TypeName())
    content = GetMessageClass(descriptor).FromString(message.value)
    written = _message(descriptor, enum_numbers)(content)
    kind: dict[str, Any] = {"@type": message.type_url}
    if descriptor.full_name in WELL_KNOWN:
        return kind | {"value": written}
    return {**kind, **written}
