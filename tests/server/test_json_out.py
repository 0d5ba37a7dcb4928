"""Messages written as JSON: as google.protobuf.json_format writes them."""

from __future__ import annotations

import math
import random

import orjson
import pytest
from google.protobuf import json_format, struct_pb2, type_pb2, wrappers_pb2
from google.rpc import status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.any_message import any_message
from tuner.server import messages
from tuner.server.messages import raw
from tuner.server.methods import METHODS
from tuner.server.rest import json_in, json_out

ANSWERS = {method.response.DESCRIPTOR.name: method.response for method in METHODS.values()}


@pytest.mark.parametrize("name", [*ANSWERS, "Status", "Option"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(), enum_numbers=st.booleans())
def test_every_answer_is_written_as_google_writes_it(name, seed, enum_numbers):
    others = {"Status": status_pb2.Status, "Option": type_pb2.Option}
    message = any_message({**ANSWERS, **others}[name], random.Random(seed))
    written = orjson.loads(json_out.dump(message, enum_numbers=enum_numbers))
    assert written == json_format.MessageToDict(message, use_integers_for_enums=enum_numbers)


@given(st.floats(width=32, allow_nan=False))
def test_a_32_bit_number_is_as_short_as_it_can_be_and_still_the_same(value):
    message = raw("TunedModel")(temperature=value)
    written = orjson.loads(json_out.dump(message))
    assert written == json_format.MessageToDict(message)
    assert json_in.fill(raw("TunedModel"), written) == message


@pytest.mark.parametrize(
    "message",
    [
        raw("TunedModel")(temperature=math.nan),
        wrappers_pb2.Int64Value(value=2**60),
        wrappers_pb2.BytesValue(value=b"\xff"),
        struct_pb2.Value(null_value=0),
        raw("Schema")(enum=["a"], properties={"b": raw("Schema")(type_=3, max_items=5)}),
        raw("Permission")(role=77),
    ],
)
def test_what_is_rare_is_written_as_google_writes_it(message):
    assert orjson.loads(json_out.dump(message)) == json_format.MessageToDict(message)


def test_a_tuned_models_learning_rate_is_written_as_it_was_asked_for():
    message = raw("Hyperparameters")(learning_rate=0.001)
    assert json_out.dump(message) == b'{"learningRate":0.001}'


def test_an_operation_is_written_anew_when_it_changed():
    operation = messages.Operation(name="a")
    assert json_out.dump(operation) == json_out.dump(operation) == b'{"name":"a"}'
    operation.done = True
    assert json_out.dump(operation) == b'{"name":"a","done":true}'
