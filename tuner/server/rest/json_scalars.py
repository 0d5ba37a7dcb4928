"""Single values in JSON as fields of protobuf: numbers, texts, enums and the well-known types."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor as Proto

from tuner.server.refusals import Violation

if TYPE_CHECKING:
    from collections.abc import Callable

    Read: TypeAlias = Callable[[Any, "Where", list[Violation]], Any]

Where: TypeAlias = "tuple[Where | None, str | int, int]"
"""The way to a value: the way to what holds it, its name or index there, how deep it lies."""

ROOT: Where = (None, "", 0)
WELL_KNOWN = frozenset(
    f"google.protobuf.{name}"
    for name in (
        *("Any", "Timestamp", "Duration", "FieldMask", "Struct", "Value", "ListValue"),
        *("DoubleValue", "FloatValue", "Int64Value", "UInt64Value", "Int32Value", "UInt32Value"),
        *("BoolValue", "StringValue", "BytesValue"),
    )
)
WITH_NULL = frozenset({"google.protobuf.Value", "google.protobuf.NullValue"})
_MAX_FLOAT = 3.4028235677973362e38  # what still rounds to the greatest 32-bit number
MAX_DEPTH = 100  # as deep as protobuf itself reads
_MAX_SHOWN = 100
_INTEGER = re.compile(r"-?\d{1,20}")
_CAPITAL = re.compile(r"[A-Z]")
_RANGES = {
    Proto.CPPTYPE_INT32: range(-(2**31), 2**31),
    Proto.CPPTYPE_UINT32: range(2**32),
    Proto.CPPTYPE_INT64: range(-(2**63), 2**63),
    Proto.CPPTYPE_UINT64: range(2**64),
}
_NOT_NUMBERS = ("NaN", "Infinity", "-Infinity")
_TYPES = {getattr(Proto, name): name for name in dir(Proto) if name.startswith("TYPE_")}


def text_of(where: Where) -> str:
    """A way as Google writes it: ``tuned_model.tuning_task.snapshots[3]``."""
    parts: list[str] = []
    at: Where | None = where
    while at is not None:
        parts.append(f"[{at[1]}]" if isinstance(at[1], int) else f".{at[1]}")
        at = at[0]
    return "".join(reversed(parts)).strip(".")


def unreadable(kind: str, value: Any, where: Where) -> Violation:
    """A value that is none of its field's kind."""
    is_long = isinstance(value, list | dict)
    shown = "…" if is_long else json.dumps(value, ensure_ascii=False)
    shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}…"
    path = text_of(where)
    return Violation(path, f"Invalid value at '{path}' ({kind}), {shown}")


def reader(field: Any) -> Read:
    """What reads a field that is no message."""
    if field.enum_type is not None:
        return _checked(f"type.googleapis.com/{field.enum_type.full_name}", _enum(field.enum_type))
    return _checked(_TYPES[field.type], _scalar(field))


def key_reader(field: Any) -> Read:
    """The same for the key of a map, which JSON always writes as text."""
    return _checked(
        _TYPES[field.type], _boolean_text if field.type == Proto.TYPE_BOOL else _scalar(field)
    )


def well_known(kind: Any, name: str) -> Read:
    """What reads a message with a form of its own in JSON."""
    if name == "google.protobuf.FieldMask":
        return _checked(name, lambda value: kind(paths=mask_paths(value)))
    return _checked(name, lambda value: json_format.ParseDict(_shallow(value), kind()))


def mask_paths(value: str) -> list[str]:
    """The paths of a field mask, ``displayName,top_p``, in the names of the protos."""
    names = [each.strip() for each in value.split(",")]
    return [_CAPITAL.sub(lambda found: f"_{found[0].lower()}", each) for each in names if each]


def _shallow(value: Any, depth: int = MAX_DEPTH) -> Any:
    """The value, if it is not nested deeper; json_format breaks where Python does."""
    if depth == 0:
        raise ValueError
    inner = value.values() if isinstance(value, dict) else value
    for each in inner if isinstance(value, list | dict) else ():
        _shallow(each, depth - 1)
    return value


def _checked(kind: str, convert: Callable[[Any], Any]) -> Read:
    def read(value: Any, where: Where, wrong: list[Violation]) -> Any:
        try:
            return convert(value)
        except (ValueError, TypeError, AttributeError, LookupError, json_format.ParseError):
            wrong.append(unreadable(kind, value, where))

    return read


def _scalar(field: Any) -> Callable[[Any], Any]:
    if field.type == Proto.TYPE_BYTES:
        return _bytes
    if field.type == Proto.TYPE_STRING:
        return _text
    if field.type == Proto.TYPE_BOOL:
        return _boolean
    if field.cpp_type in _RANGES:
        return _integer(_RANGES[field.cpp_type])
    return _float(_MAX_FLOAT if field.type == Proto.TYPE_FLOAT else float("inf"))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _boolean_text(value: str) -> bool:
    return {"true": True, "false": False}[value]


def _integer(allowed: range) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, bool):
            raise TypeError
        if isinstance(value, str) and not _INTEGER.fullmatch(value):
            raise ValueError
        number = int(value)
        if number not in allowed or (isinstance(value, float) and number != value):
            raise ValueError
        return number

    return convert


def _float(most: float) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        if isinstance(value, str):
            if value in _NOT_NUMBERS:
                return float(value)
            value = orjson.loads(value)
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
        if not -most <= number <= most:
            raise ValueError
        return number

    return convert


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError
    plain = value.replace("-", "+").replace("_", "/").rstrip("=")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def _enum(kind: Any) -> Callable[[Any], int]:
    numbers = {name: value.number for name, value in kind.values_by_name.items()}
    integer = _integer(_RANGES[Proto.CPPTYPE_INT32])

    def convert(value: Any) -> int:
        if value is None and kind.full_name in WITH_NULL:
            return 0
        return numbers[value] if value in numbers else integer(value)

    return convert
