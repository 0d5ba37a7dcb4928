"""Messages from and to JSON, compared with google.protobuf.json_format."""

from __future__ import annotations

import math
import random
from contextlib import suppress

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.any_message import any_message
from tuner.server import protojson
from tuner.server.api_errors import MAX_VIOLATIONS, ApiError, Code
from tuner.server.messages import PACKAGE, raw
from tuner.server.methods import METHODS

REQUESTS = {method.request.DESCRIPTOR.name: method.request for method in METHODS.values()}
CREATE = raw("CreateTunedModelRequest")


def read(kind, text):
    return protojson.to_message(
        kind, protojson.parse(text if isinstance(text, bytes) else text.encode())
    )


def problems(kind, text):
    with pytest.raises(ApiError) as caught:
        read(kind, text)
    assert caught.value.code == Code.INVALID_ARGUMENT
    return caught.value.message.replace("Invalid JSON payload received. ", "").splitlines()


@pytest.mark.parametrize("name", list(REQUESTS))
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(), is_snake=st.booleans(), enum_numbers=st.booleans())
def test_every_request_is_read_as_google_reads_it(name, seed, is_snake, enum_numbers):
    message = any_message(REQUESTS[name], random.Random(seed))
    text = json_format.MessageToJson(
        message, preserving_proto_field_name=is_snake, use_integers_for_enums=enum_numbers
    )
    assert read(REQUESTS[name], text) == message


@pytest.mark.parametrize(
    ("kind", "field", "written", "value"),
    [
        ("Permission", "role", '"WRITER"', 2),
        ("Permission", "role", '"2"', 2),
        ("TunedModel", "top_k", "40.0", 40),
        ("TunedModel", "top_k", '"40"', 40),
        ("TunedModel", "temperature", "1", 1.0),
        ("TunedModel", "temperature", '"0.5"', 0.5),
        ("TunedModel", "temperature", '"-Infinity"', -math.inf),
        ("Blob", "data", '"-_+/"', b"\xfb\xff\xbf"),
        ("Blob", "data", '"+w"', b"\xfb"),
        ("Part", "text", '"\\u00e9\\ud83d\\ude00"', "é\U0001f600"),
        (
            "UpdateTunedModelRequest",
            "updateMask",
            '"displayName, top_p"',
            ["display_name", "top_p"],
        ),
    ],
)
def test_a_value_may_be_written_in_each_of_its_forms(kind, field, written, value):
    message = read(raw(kind), f'{{"{field}": {written}}}')
    name = protojson.fields_by_name(raw(kind).DESCRIPTOR)[field].name
    found = getattr(message, name)
    assert (list(found.paths) if name == "update_mask" else found) == value


def test_one_thing_may_stand_where_a_list_belongs():
    message = read(raw("GenerateContentRequest"), '{"contents": {"parts": {"text": "Hi"}}}')
    assert message.contents[0].parts[0].text == "Hi"


def test_null_says_that_nothing_is_there():
    assert (
        read(raw("TunedModel"), '{"displayName": null, "tuningTask": null}') == raw("TunedModel")()
    )


@pytest.mark.parametrize("body", ["", "  \n", "{}", b"\xef\xbb\xbf"[3:]])
def test_no_body_is_an_empty_message(body):
    assert read(raw("TunedModel"), body) == raw("TunedModel")()


@pytest.mark.parametrize("text", ['{"displayName": "a,]",}', '{"displayName": "a,]" ,\n }'])
def test_a_comma_after_the_last_element_is_no_error(text):
    assert read(raw("TunedModel"), text).display_name == "a,]"


def test_commas_in_texts_stay_whatever_stands_around_them():
    texts = ["a,]", ',}"', "\\", '\\",]', ",\n}"]
    text = orjson.dumps({"reader_project_numbers": [1], "description": texts[0]}).decode()
    for each in texts:
        text = f'{{"description": {orjson.dumps(each).decode()},}}'
        assert read(raw("TunedModel"), text).description == each


@pytest.mark.parametrize(
    "body",
    [
        *(
            "{",
            "[1",
            '{"a": 1e400}',
            '{"a": NaN}',
            '{"a": Infinity}',
            "{'a': 1}",
            '{"a": 1,,}',
            "[,]",
            "\x00",
        ),
        *(b'{"a": "\xff"}', '{"a": "\\ud800"}', '{"a": "' + '\\"' * 30_000),
        *("[" * 100_000, '{"a":' * 100_000),
    ],
)
def test_what_is_no_json_is_refused_in_one_line(body):
    (line,) = problems(raw("TunedModel"), body)
    assert len(line) < 200


@pytest.mark.parametrize("body", ["[]", "1", '"x"', "null", "true"])
def test_a_body_that_is_no_object_is_refused(body):
    (line,) = problems(raw("TunedModel"), body)
    assert line.startswith("Invalid value at ''")


def test_everything_that_is_wrong_is_told_with_its_path():
    examples = [{"textInput": "a", "output": "b"}, {"textInput": 1, "outptu": "b"}]
    body = {
        "tunedModel": {
            "displayName": 3,
            "colour": "red",
            "baseModel": "a",
            "tunedModelSource": {},
            "top_k": 1,
            "topK": 2,
            "temperature": 1e39,
            "tuningTask": {
                "startTime": "yesterday",
                "hyperparameters": {"epochCount": 1.5},
                "trainingData": {"examples": {"examples": examples}},
            },
            "state": "AWAKE",
        }
    }
    state = f"type.googleapis.com/{PACKAGE}.TunedModel.State"
    rows = "tuned_model.tuning_task.training_data.examples.examples[1]"
    assert problems(CREATE, orjson.dumps(body)) == [
        "Invalid value at 'tuned_model.display_name' (TYPE_STRING), 3",
        "Unknown name \"colour\" at 'tuned_model': Cannot find field.",
        "Unknown name \"tunedModelSource\" at 'tuned_model': Field source_model is set already.",
        "Unknown name \"topK\" at 'tuned_model': Field top_k is set already.",
        "Invalid value at 'tuned_model.temperature' (TYPE_FLOAT), 1e+39",
        "Invalid value at 'tuned_model.tuning_task.start_time' (google.protobuf.Timestamp), \"yesterday\"",
        "Invalid value at 'tuned_model.tuning_task.hyperparameters.epoch_count' (TYPE_INT32), 1.5",
        f"Invalid value at '{rows}.text_input' (TYPE_STRING), 1",
        f"Unknown name \"outptu\" at '{rows}': Cannot find field.",
        f"Invalid value at 'tuned_model.state' ({state}), \"AWAKE\"",
    ]


def test_a_thousand_wrong_rows_are_not_all_listed():
    rows = [{"textInput": 1}] * 1000
    body = {"tunedModel": {"tuningTask": {"trainingData": {"examples": {"examples": rows}}}}}
    lines = problems(CREATE, orjson.dumps(body))
    assert lines[MAX_VIOLATIONS:] == [f"and {1000 - MAX_VIOLATIONS} more"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("TunedModel", '{"topK": true}'),
        ("TunedModel", '{"topK": 2147483648}'),
        ("TunedModel", '{"topK": "1e3"}'),
        ("TunedModel", '{"topK": ""}'),
        ("TunedModel", '{"temperature": "warm"}'),
        ("TunedModel", '{"temperature": [1]}'),
        ("TunedModel", '{"temperature": true}'),
        ("TunedModel", '{"createTime": 3}'),
        ("TunedModel", '{"createTime": {"seconds": 3}}'),
        ("TunedModel", '{"readerProjectNumbers": [null]}'),
        ("TunedModel", '{"tuningTask": []}'),
        ("Permission", '{"role": 2.5}'),
        ("Permission", '{"role": "2147483648"}'),
        ("Permission", '{"role": ["READER"]}'),
        ("Blob", '{"data": "a"}'),
        ("Blob", '{"data": "é"}'),
        ("Blob", '{"data": 5}'),
        ("UpdateTunedModelRequest", '{"updateMask": ["a"]}'),
        ("Schema", '{"properties": {"a": 1}}'),
        ("Schema", '{"properties": []}'),
        ("FunctionCall", '{"args": 5}'),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_place(kind, text):
    (line,) = problems(raw(kind), text)
    assert line.startswith("Invalid value at '")


@pytest.mark.parametrize("shape", ['{"items": %s}', '{"anyOf": [%s]}', '{"properties": {"a": %s}}'])
def test_what_is_nested_too_deeply_is_refused(shape):
    text = "{}"
    for _ in range(120):
        text = shape % text
    (line,) = problems(raw("Schema"), text)
    assert line == "It is nested too deeply."


def test_a_deep_free_value_is_refused_too():
    (line,) = problems(raw("FunctionCall"), '{"args": {"a": ' + "[" * 500 + "]" * 500 + "}}")
    assert line.startswith("Invalid value at 'args'")


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "contents",
                        "parts",
                        "text",
                        "tools",
                        "generationConfig",
                        "inlineData",
                        "data",
                        "args",
                        "functionCall",
                        "responseSchema",
                        "properties",
                        "seed",
                        "role",
                        "safetySettings",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_no_value_breaks_the_reader(value):
    with suppress(ApiError):
        protojson.to_message(raw("GenerateContentRequest"), value)


@given(st.floats(width=32, allow_nan=False))
def test_a_32_bit_number_is_as_short_as_it_can_be_and_still_the_same(value):
    message = raw("TunedModel")(temperature=value)
    written = orjson.loads(protojson.dump(message))
    assert written == json_format.MessageToDict(message)
    assert protojson.to_message(raw("TunedModel"), written) == message


def test_a_tuned_models_learning_rate_is_written_as_it_was_asked_for():
    message = raw("Hyperparameters")(learning_rate=0.001)
    assert protojson.dump(message) == b'{"learningRate":0.001}'
