"""Protobuf messages from and to JSON.

Reading accepts what Google's own endpoint accepts: names in camelCase or snake_case, one value instead
of a list, and a comma after the last element. All errors are reported at once, in Google's words.
"""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor as Proto
from google.protobuf.message_factory import GetMessageClass

from tuner.server.api_errors import MAX_VIOLATIONS, ApiError, Code, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tuner.server.messages import Message

    Read: TypeAlias = Callable[[Any, "Path", list[Violation]], Any]

Path: TypeAlias = "tuple[Path | None, str | int, int]"
"""The path to a value: its parent's path, its name or index there, and its depth."""

ROOT: Path = (None, "", 0)
MAX_DEPTH = 100  # protobuf's own limit
WELL_KNOWN = frozenset(
    f"google.protobuf.{name}"
    for name in (
        *("Any", "Timestamp", "Duration", "FieldMask", "Struct", "Value", "ListValue"),
        *("DoubleValue", "FloatValue", "Int64Value", "UInt64Value", "Int32Value", "UInt32Value"),
        *("BoolValue", "StringValue", "BytesValue"),
    )
)
_NULLABLE = frozenset({"google.protobuf.Value", "google.protobuf.NullValue"})
_MAX_SHOWN = 100
_MAX_FLOAT = 3.4028235677973362e38  # what still rounds to the largest 32-bit float
_RANGES = {
    Proto.CPPTYPE_INT32: range(-(2**31), 2**31),
    Proto.CPPTYPE_UINT32: range(2**32),
    Proto.CPPTYPE_INT64: range(-(2**63), 2**63),
    Proto.CPPTYPE_UINT64: range(2**64),
}
_TYPE_NAMES = {getattr(Proto, name): name for name in dir(Proto) if name.startswith("TYPE_")}
_STRING_OR_COMMA = re.compile(r'("(?:[^"\\]|\\.)*+"?)|,(?=\s*[}\]])', re.DOTALL)
_INTEGER = re.compile(r"-?\d{1,20}")
_CAPITAL = re.compile(r"[A-Z]")


@dataclass(frozen=True, slots=True)
class Field:
    """How a field of a message is read.

    Attributes:
        oneof: The group of fields of which only one may be set, or "".
        is_nullable: Whether null is a value; for other fields null means unset.
    """

    name: str
    read: Read
    oneof: str
    is_nullable: bool


def parse(body: bytes) -> Any:
    """Return the value of a JSON body; an empty body is an empty object. Raises ApiError."""
    if not body.strip():
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:  # again, without commas before a closing bracket
        text = _STRING_OR_COMMA.sub(lambda found: found[1] or "", body.decode())
        return orjson.loads(text)
    except ValueError as error:
        text = f"Invalid JSON payload received. {error}."
        raise ApiError(Code.INVALID_ARGUMENT, text, "NOT_JSON") from error


def to_message(kind: Any, value: Any) -> Message:
    """Return a message of the class ``kind`` from a parsed value.

    Raises ApiError with every invalid value.
    """
    invalid: list[Violation] = []
    fields = _read_message(kind.DESCRIPTOR, value, ROOT, invalid)
    if invalid:
        raise invalid_json(invalid)
    return kind(**fields)


def dump(message: Message, *, enum_numbers: bool = False) -> bytes:
    """Return a message as JSON in UTF-8."""
    return orjson.dumps(to_plain(message, enum_numbers=enum_numbers))


def to_plain(message: Message, *, enum_numbers: bool = False) -> Any:
    """Return a message as dicts, lists and scalars for orjson, without unset fields."""
    return json_format.MessageToDict(message, use_integers_for_enums=enum_numbers)


def invalid_json(violations: list[Violation]) -> ApiError:
    """Return the error for these invalid values."""
    shown = violations[:MAX_VIOLATIONS]
    more = [f"and {len(violations) - len(shown)} more"] if len(violations) > len(shown) else []
    text = "\n".join([*(each.what for each in shown), *more])
    return ApiError(Code.INVALID_ARGUMENT, text, "INVALID_JSON", violations=shown)


def unknown_name(name: str, path: Path, why: str = "Cannot find field.") -> Violation:
    """Return the violation for a name that the message at ``path`` has not, or cannot take."""
    parent = _path_text(path)
    at = f" at '{parent}'" if parent else ""
    return Violation(parent, f'Invalid JSON payload received. Unknown name "{name}"{at}: {why}')


@cache
def fields_by_name(descriptor: Any) -> Mapping[str, Field]:
    """Return the fields of a message by each name that JSON may use for them."""
    found = {}
    for each in descriptor.fields:
        shared = each.containing_oneof
        oneof = shared.name if shared is not None and len(shared.fields) > 1 else ""
        kind = each.message_type or each.enum_type
        is_nullable = kind is not None and kind.full_name in _NULLABLE and not each.is_repeated
        found[each.name] = Field(each.name, _reader(each), oneof, is_nullable)
        found[each.json_name] = found[each.name]
    return found


# Reading


def _read_message(
    descriptor: Any, value: Any, path: Path, invalid: list[Violation]
) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if not isinstance(value, dict):
        kind = f"type.googleapis.com/{descriptor.full_name}"
        invalid.append(_invalid_value(kind, value, path))
        return fields
    if path[2] > MAX_DEPTH:
        invalid.append(Violation("", "Invalid JSON payload received. It is nested too deeply."))
        return fields
    known, set_oneofs = fields_by_name(descriptor), set()
    for key, each in value.items():
        field = known.get(key)
        if field is None:
            invalid.append(unknown_name(key, path))
        elif each is not None or field.is_nullable:
            if field.name in fields or (field.oneof and field.oneof in set_oneofs):
                why = f"Field {field.oneof or field.name} is set already."
                invalid.append(unknown_name(key, path, why))
            set_oneofs.add(field.oneof)
            fields[field.name] = field.read(each, (path, field.name, path[2] + 1), invalid)
    return fields


def _reader(field: Any) -> Read:
    if not field.is_repeated:
        return _value_reader(field)
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        key, value = (entry.fields_by_name[name] for name in ("key", "value"))
        convert = _scalar_converter(key)
        if key.type == Proto.TYPE_BOOL:  # the keys of a JSON object are texts
            convert = {"true": True, "false": False}.__getitem__
        read_key = _checked(_TYPE_NAMES[key.type], convert)
        return _map_reader(read_key, _value_reader(value), value.message_type)
    return _list_reader(_value_reader(field))


def _value_reader(field: Any) -> Read:
    kind = field.message_type
    if kind is None and field.enum_type is not None:
        name = f"type.googleapis.com/{field.enum_type.full_name}"
        return _checked(name, _enum_converter(field.enum_type))
    if kind is None:
        return _checked(_TYPE_NAMES[field.type], _scalar_converter(field))
    if kind.full_name not in WELL_KNOWN:
        return lambda value, path, invalid: _read_message(kind, value, path, invalid)
    make = GetMessageClass(kind)
    if kind.full_name == "google.protobuf.FieldMask":  # displayName,top_p

        def read_mask(value: str) -> Any:
            paths = [_CAPITAL.sub(r"_\g<0>", each.strip()).lower() for each in value.split(",")]
            return make(paths=[each for each in paths if each])

        return _checked(kind.full_name, read_mask)
    return _checked(
        kind.full_name, lambda value: json_format.ParseDict(_check_depth(value), make())
    )


def _list_reader(item: Read) -> Read:
    def read(value: Any, path: Path, invalid: list[Violation]) -> list[Any]:
        # Google's samples write one value instead of a list: {"parts": {"text": "Hi"}}.
        values = value if isinstance(value, list) else [value]
        return [item(each, (path, at, path[2]), invalid) for at, each in enumerate(values)]

    return read


def _map_reader(key: Read, item: Read, kind: Any) -> Read:
    make = GetMessageClass(kind) if kind is not None and kind.full_name not in WELL_KNOWN else None

    def read(value: Any, path: Path, invalid: list[Violation]) -> dict[Any, Any]:
        if not isinstance(value, dict):
            invalid.append(_invalid_value("Map", value, path))
            return {}
        found = {}
        for name, each in value.items():
            at = (path, name, path[2])
            content = item(each, at, invalid)
            found[key(name, at, invalid)] = content if make is None else make(**content)
        return found

    return read


def _checked(kind: str, convert: Callable[[Any], Any]) -> Read:
    def read(value: Any, path: Path, invalid: list[Violation]) -> Any:
        try:
            return convert(value)
        except (ValueError, TypeError, AttributeError, LookupError, json_format.ParseError):
            invalid.append(_invalid_value(kind, value, path))

    return read


def _scalar_converter(field: Any) -> Callable[[Any], Any]:
    if field.type == Proto.TYPE_BYTES:
        return _bytes
    if field.type == Proto.TYPE_STRING:
        return lambda value: _of_type(str, value)
    if field.type == Proto.TYPE_BOOL:
        return lambda value: _of_type(bool, value)
    if field.cpp_type in _RANGES:
        return lambda value: _integer(value, _RANGES[field.cpp_type])
    largest = _MAX_FLOAT if field.type == Proto.TYPE_FLOAT else math.inf
    return lambda value: _number(value, largest)


def _of_type(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError
    return value


def _integer(value: Any, allowed: range) -> int:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise ValueError
    number = int(value)
    if number not in allowed or (isinstance(value, float) and number != value):
        raise ValueError
    return number


def _number(value: Any, largest: float) -> float:
    if isinstance(value, str):
        if value in {"NaN", "Infinity", "-Infinity"}:
            return float(value)
        value = orjson.loads(value)
    if isinstance(value, bool):
        raise TypeError
    number = float(value)
    if not -largest <= number <= largest:
        raise ValueError
    return number


def _bytes(value: Any) -> bytes:
    text = _of_type(str, value).replace("-", "+").replace("_", "/").rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _enum_converter(kind: Any) -> Callable[[Any], int]:
    numbers = {name: value.number for name, value in kind.values_by_name.items()}

    def convert(value: Any) -> int:
        if value is None and kind.full_name in _NULLABLE:
            return 0
        return numbers[value] if value in numbers else _integer(value, _RANGES[Proto.CPPTYPE_INT32])

    return convert


def _check_depth(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Refuse deeper values: json_format would raise RecursionError."""
    if depth == 0:
        raise ValueError
    inner = value.values() if isinstance(value, dict) else value
    for each in inner if isinstance(value, list | dict) else ():
        _check_depth(each, depth - 1)
    return value


def _invalid_value(kind: str, value: Any, path: Path) -> Violation:
    is_container = isinstance(value, list | dict)
    shown = "…" if is_container else json.dumps(value, ensure_ascii=False)
    shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}…"
    text = _path_text(path)
    return Violation(text, f"Invalid value at '{text}' ({kind}), {shown}")


def _path_text(path: Path) -> str:
    """Return a path as Google writes it: ``tuned_model.tuning_task.snapshots[3]``."""
    parts: list[str] = []
    at: Path | None = path
    while at is not None:
        parts.append(f"[{at[1]}]" if isinstance(at[1], int) else f".{at[1]}")
        at = at[0]
    return "".join(reversed(parts)).strip(".")
