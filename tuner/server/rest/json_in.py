"""JSON as clients write it, read into protobuf messages: every wrong place is told at once.

Names in camelCase or snake_case, one thing where a list belongs, a comma after the last element:
what Google's own endpoint takes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson
from google.protobuf.descriptor import FieldDescriptor as Proto
from google.protobuf.message_factory import GetMessageClass

from tuner.server.refusals import MAX_VIOLATIONS, Code, Refused, Violation
from tuner.server.rest import json_scalars
from tuner.server.rest.json_scalars import MAX_DEPTH, ROOT, WELL_KNOWN, text_of, unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner.server.messages import Message
    from tuner.server.rest.json_scalars import Read, Where

_STRING_OR_COMMA = re.compile(r'("(?:[^"\\]|\\.)*+"?)|,(?=\s*[}\]])', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Field:
    """How one field of a message is read.

    Attributes:
        oneof: What it shares with other fields, of which only one may be there; "" is nothing.
        takes_null: null is a value; of other fields it says that they are not there.
    """

    name: str
    read: Read
    oneof: str
    takes_null: bool


def parse(body: bytes) -> Any:
    """The value that a body is; nothing at all is an empty object.

    A key that stands twice counts as it stands last.

    Raises:
        Refused: It is not JSON, or not UTF-8.
    """
    if not body.strip():
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _tolerant(body)


def fill(kind: Any, value: Any, where: Where = ROOT) -> Message:
    """A message of the class ``kind`` from a parsed value; ``where`` begins the paths in errors.

    Raises:
        Refused: INVALID_ARGUMENT with every place that is wrong, in Google's words.
    """
    wrong: list[Violation] = []
    filled = _read_message(kind.DESCRIPTOR, value, where, wrong)
    if wrong:
        raise refusal(wrong)
    return kind(**filled)


def refusal(wrong: list[Violation]) -> Refused:
    """What to answer when these places are wrong."""
    shown = wrong[:MAX_VIOLATIONS]
    more = [f"and {len(wrong) - len(shown)} more"] if len(wrong) > len(shown) else []
    text = "\n".join([*(each.what for each in shown), *more])
    return Refused(Code.INVALID_ARGUMENT, text, "INVALID_JSON", violations=shown)


def unknown(name: str, where: Where, why: str = "Cannot find field.") -> Violation:
    """A name that the message at ``where`` does not have, or cannot take."""
    path = text_of(where)
    at = f" at '{path}'" if path else ""
    return Violation(path, f'Invalid JSON payload received. Unknown name "{name}"{at}: {why}')


@cache
def fields(descriptor: Any) -> Mapping[str, Field]:
    """The fields of a message, by each name that JSON may give them."""
    found = {}
    for each in descriptor.fields:
        shared = each.containing_oneof
        oneof = shared.name if shared is not None and len(shared.fields) > 1 else ""
        takes_null = _type_name(each) in json_scalars.WITH_NULL and not each.is_repeated
        found[each.name] = Field(each.name, _reader(each), oneof, takes_null)
        found[each.json_name] = found[each.name]
    return found


def _tolerant(body: bytes) -> Any:
    """A second look that lets a comma stand before a closing bracket, as Google does."""
    try:
        text = _STRING_OR_COMMA.sub(lambda found: found[1] or "", body.decode())
        return orjson.loads(text)
    except ValueError as error:
        text = f"Invalid JSON payload received. {error}."
        raise Refused(Code.INVALID_ARGUMENT, text, "NOT_JSON") from error


def _read_message(
    descriptor: Any, value: Any, where: Where, wrong: list[Violation]
) -> dict[str, Any]:
    """The arguments of a message's class."""
    filled: dict[str, Any] = {}
    if not isinstance(value, dict):
        wrong.append(unreadable(f"type.googleapis.com/{descriptor.full_name}", value, where))
    elif where[2] > MAX_DEPTH:
        wrong.append(Violation("", "Invalid JSON payload received. It is nested too deeply."))
    else:
        known, taken = fields(descriptor), set()
        for key, each in value.items():
            field = known.get(key)
            if field is None:
                wrong.append(unknown(key, where))
            elif each is not None or field.takes_null:
                if field.name in filled or (field.oneof and field.oneof in taken):
                    why = f"Field {field.oneof or field.name} is set already."
                    wrong.append(unknown(key, where, why))
                taken.add(field.oneof)
                filled[field.name] = field.read(each, (where, field.name, where[2] + 1), wrong)
    return filled


def _reader(field: Any) -> Read:
    """What reads a field's value, whatever its kind."""
    if not field.is_repeated:
        return _single(field)
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        key, value = (entry.fields_by_name[name] for name in ("key", "value"))
        return _map_reader(json_scalars.key_reader(key), _single(value), value.message_type)
    if entry is not None and all(_is_text(each) for each in entry.fields):
        return _rows_reader(entry)
    return _list_reader(_single(field))


def _single(field: Any) -> Read:
    kind = field.message_type
    if kind is None:
        return json_scalars.reader(field)
    if kind.full_name in WELL_KNOWN:
        return json_scalars.well_known(GetMessageClass(kind), kind.full_name)
    return lambda value, where, wrong: _read_message(kind, value, where, wrong)


def _list_reader(item: Read) -> Read:
    def read(value: Any, where: Where, wrong: list[Violation]) -> list[Any]:
        # Google's samples write one thing where a list of them belongs: {"parts": {"text": "Hi"}}.
        values = value if isinstance(value, list) else [value]
        depth = where[2]
        return [item(each, (where, at, depth), wrong) for at, each in enumerate(values)]

    return read


def _rows_reader(kind: Any) -> Read:
    """A list of messages that hold texts only, such as training examples: there may be many."""
    names = {each: field.name for field in kind.fields for each in (field.name, field.json_name)}
    careful = _list_reader(lambda value, where, wrong: _read_message(kind, value, where, wrong))

    def read(value: Any, where: Where, wrong: list[Violation]) -> list[Any]:
        try:
            rows = [
                {names[key]: text for key, text in each.items() if type(text) is str}
                for each in value
            ]
            if list(map(len, rows)) == list(map(len, value)):
                return rows
        except (AttributeError, KeyError, TypeError):
            pass  # something is wrong: the careful way tells what
        done: list[Any] = careful(value, where, wrong)
        return done

    return read


def _map_reader(key: Read, item: Read, kind: Any) -> Read:
    make = GetMessageClass(kind) if kind is not None and kind.full_name not in WELL_KNOWN else None

    def read(value: Any, where: Where, wrong: list[Violation]) -> dict[Any, Any]:
        if not isinstance(value, dict):
            wrong.append(unreadable("Map", value, where))
            return {}
        filled = {}
        for name, each in value.items():
            there = (where, name, where[2])
            found = item(each, there, wrong)
            filled[key(name, there, wrong)] = found if make is None else make(**found)
        return filled

    return read


def _is_text(field: Any) -> bool:
    return bool(field.type == Proto.TYPE_STRING and not field.is_repeated)


def _type_name(field: Any) -> str:
    kind = field.message_type or field.enum_type
    return str(kind.full_name) if kind is not None else ""
