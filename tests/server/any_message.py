"""Messages filled by chance, with the edges of every type among the values."""

from __future__ import annotations

import math

from google.protobuf import any_pb2, json_format, struct_pb2
from google.protobuf.descriptor import FieldDescriptor as Proto
from google.protobuf.message_factory import GetMessageClass

from tuner.server.messages import raw

DEPTH = 4
_VALUES = {
    Proto.TYPE_INT32: [0, 1, -1, 2**31 - 1, -(2**31)],
    Proto.TYPE_INT64: [0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1],
    Proto.TYPE_FLOAT: [0, 1, -2.5, 0.1, 1e-3, 1 / 3, 3.4028234e38, 1e-45, math.inf, -math.inf],
    Proto.TYPE_DOUBLE: [0, 1, 0.1, 1e300, 5e-324, math.inf, -math.inf],
    Proto.TYPE_BOOL: [False, True],
    Proto.TYPE_STRING: ["", "a", "é\U0001f600", '"\\/\n\x00,]', "x" * 100],
    Proto.TYPE_BYTES: [b"", b"\x00", b"\xff\xfe\xfd", b"ab"],
}
_SPECIAL = {
    "google.protobuf.Timestamp": ["1970-01-01T00:00:00Z", "2026-11-22T01:02:03.004Z"],
    "google.protobuf.Duration": ["0s", "1.500s", "-3s"],
    "google.protobuf.FieldMask": ["displayName", "displayName,topP", ""],
    "google.protobuf.Struct": [{}, {"a": [1, None, {"b": "c"}]}],
    "google.protobuf.Value": [None, 1.5, "x", [True], {"a": {}}],
    "google.protobuf.ListValue": [[], [1, "a"]],
}


def any_message(kind, chance, depth=DEPTH):
    """A message of the class ``kind``; ``chance`` is a random.Random."""
    name = kind.DESCRIPTOR.full_name
    if name in _SPECIAL:
        return json_format.ParseDict(chance.choice(_SPECIAL[name]), kind())
    if name == "google.protobuf.Any":
        return _any(chance, depth)
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if chance.random() < 0.5 and (depth or field.message_type is None):
            _fill(message, field, chance, depth)
    return message


def _fill(message, field, chance, depth):
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        held = getattr(message, field.name)
        for key in {_one(kind.fields_by_name["key"], chance, depth) for _ in range(2)}:
            value = _one(kind.fields_by_name["value"], chance, depth)
            if kind.fields_by_name["value"].message_type is None:
                held[key] = value
            else:
                held[key].CopyFrom(value)
    elif field.is_repeated:
        count = chance.randrange(3)
        getattr(message, field.name).extend(_one(field, chance, depth) for _ in range(count))
    elif kind is not None:
        getattr(message, field.name).CopyFrom(_one(field, chance, depth))
    else:
        setattr(message, field.name, _one(field, chance, depth))


def _one(field, chance, depth):
    if field.message_type is not None:
        return any_message(GetMessageClass(field.message_type), chance, depth - 1)
    if field.enum_type is not None:
        return chance.choice(field.enum_type.values).number
    return chance.choice(_VALUES[field.type])


def _any(chance, depth):
    packed = any_pb2.Any()
    if depth:
        kinds = [raw("TunedModel"), raw("CreateTunedModelMetadata"), struct_pb2.Struct]
        packed.Pack(any_message(chance.choice(kinds), chance, depth - 1))
    return packed
