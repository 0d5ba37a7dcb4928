"""Google's messages and our vocabulary, there and back."""

from __future__ import annotations

import struct

import pytest
from google.ai import generativelanguage_v1beta as gl
from google.longrunning import operations_pb2

from tuner.targets import protos
from tuner.types import (
    Answer,
    Example,
    GenerationConfig,
    Grant,
    GranteeType,
    Hyperparameters,
    NewTunedModel,
    Permission,
    Role,
    Snapshot,
    State,
)

FULL = NewTunedModel(
    "a-1",
    (Example("one", "two"),),
    base_model="models/tiny",
    display_name="A",
    description="B",
    temperature=0.7,
    top_p=0.95,
    top_k=40,
    hyperparameters=Hyperparameters(epoch_count=5, batch_size=4, learning_rate=1e-3),
)


def as_float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


@pytest.mark.parametrize(
    "value",
    [0.0, 0.001, 2e-4, 1e-5, 0.1, 0.7, 0.95, 1.0, 3e-38, 0.1234567, 16777216.0, -2.5],
)
def test_a_number_that_crossed_the_wire_is_the_one_that_was_written(value: float) -> None:
    assert protos.shortest(as_float32(value)) == value


@pytest.mark.parametrize("value", [1 / 3, 2 / 3, 0.100000016, 3.4028234663852886e38])
def test_the_short_number_is_the_same_float32(value: float) -> None:
    assert as_float32(protos.shortest(as_float32(value))) == as_float32(value)


@pytest.mark.parametrize("text", ["", "NA", "007", " two  spaces ", "a\nb\r\n", "naïve 😀", "\x00"])
def test_an_example_reaches_the_message_exactly_as_written(text: str) -> None:
    request = protos.create_request(
        NewTunedModel("a", (Example(text, text),), base_model="models/b")
    )

    sent = request.tuned_model.tuning_task.training_data.examples.examples[0]
    assert (sent.text_input, sent.output) == (text, text)


def test_a_tuned_model_comes_back_as_it_was_asked_for() -> None:
    model = protos.tuned_model(protos.create_request(FULL).tuned_model)

    for field in ("base_model", "display_name", "description", "temperature", "top_p", "top_k"):
        assert getattr(model, field) == getattr(FULL, field)
    assert model.hyperparameters == FULL.hyperparameters


def test_what_the_user_left_open_is_not_sent() -> None:
    raw = gl.CreateTunedModelRequest.pb(
        protos.create_request(NewTunedModel("a", (), base_model="models/b"))
    )

    assert not any(raw.tuned_model.HasField(field) for field in protos.SETTINGS)
    assert raw.tuned_model.tuning_task.hyperparameters.ByteSize() == 0


def test_a_zero_is_sent_where_nothing_would_leave_the_choice_to_the_service() -> None:
    request = protos.create_request(NewTunedModel("a", (), base_model="models/b", temperature=0.0))

    assert protos.tuned_model(request.tuned_model).temperature == 0.0


def test_tuning_goes_on_from_a_tuned_model() -> None:
    new = NewTunedModel("a", (), tuned_model_source="tunedModels/b")

    model = protos.tuned_model(protos.create_request(new).tuned_model)

    assert (model.tuned_model_source, model.base_model) == ("tunedModels/b", "")


@pytest.mark.parametrize(("number", "state"), [(0, "CREATING"), (2, "ACTIVE"), (3, "FAILED")])
def test_every_state_is_read(number: int, state: str) -> None:
    assert protos.tuned_model(gl.TunedModel(state=number)).state is State(state)


def test_a_state_of_the_future_is_not_taken_for_a_usable_model() -> None:
    raw = gl.TunedModel.pb()(state=99)

    assert protos.tuned_model(gl.TunedModel.wrap(raw)).state is State.CREATING


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("kind", GranteeType)
def test_a_grant_keeps_its_role_and_its_grantee(role: Role, kind: GranteeType) -> None:
    grant = Grant(role, kind, "" if kind is GranteeType.EVERYONE else "ana@example.com")

    permission = protos.permission(protos.grant_request("tunedModels/a", grant).permission)

    assert permission == Permission("", grant)


def test_an_operation_tells_how_far_it_is() -> None:
    metadata = gl.CreateTunedModelMetadata(
        tuned_model="tunedModels/a",
        total_steps=9,
        completed_steps=2,
        snapshots=[
            {"step": 2, "epoch": 1, "mean_loss": 0.7, "compute_time": {"seconds": 5, "nanos": 5}}
        ],
    )

    found = protos.operation(_operation(metadata))

    assert (found.total_steps, found.completed_steps) == (9, 2)
    assert found.snapshots == (Snapshot(2, 1, 0.7, 5.000000005),)
    assert not found.done
    assert found.error == ""


def test_an_operation_without_metadata_still_names_its_model() -> None:
    raw = operations_pb2.Operation(name="tunedModels/a/operations/1", done=True)

    assert protos.operation(raw).tuned_model == "tunedModels/a"


@pytest.mark.parametrize(("code", "cancelled"), [(1, True), (13, False)])
def test_an_operation_that_failed_says_why(code: int, cancelled: bool) -> None:
    raw = operations_pb2.Operation(name="tunedModels/a/operations/1", done=True)
    raw.error.code, raw.error.message = code, "out of memory"

    found = protos.operation(raw)

    assert (found.error, found.cancelled) == ("out of memory", cancelled)


def test_an_error_without_words_is_still_an_error() -> None:
    raw = operations_pb2.Operation(done=True)
    raw.error.code = 13

    assert "13" in protos.operation(raw).error


def test_an_update_names_exactly_what_changes() -> None:
    request = protos.update_request("tunedModels/a", {"top_k": 3, "display_name": ""})

    assert list(request.update_mask.paths) == ["top_k", "display_name"]
    assert request.tuned_model.top_k == 3


def test_sampling_is_sent_as_asked() -> None:
    config = GenerationConfig(8, 0.0, 0.5, 3, 7, ("\n",))

    raw = gl.GenerateContentRequest.pb(protos.generate_request("models/a", "hi", config))

    sent = raw.generation_config
    assert (sent.max_output_tokens, sent.temperature, sent.top_p) == (8, 0.0, 0.5)
    assert (sent.top_k, sent.seed, list(sent.stop_sequences)) == (3, 7, ["\n"])
    assert raw.contents[0].parts[0].text == "hi"


def test_an_answer_is_the_text_without_the_thoughts() -> None:
    raw = gl.GenerateContentResponse.pb()()
    candidate = raw.candidates.add(finish_reason=2)
    candidate.content.parts.add(text="hm", thought=True)
    candidate.content.parts.add(text="yes")
    raw.usage_metadata.prompt_token_count = 3
    raw.usage_metadata.candidates_token_count = 1

    assert protos.answer(gl.GenerateContentResponse.wrap(raw)) == Answer("yes", "MAX_TOKENS", 3, 1)


def test_a_refused_prompt_is_an_answer_with_a_reason() -> None:
    refused = gl.GenerateContentResponse(prompt_feedback={"block_reason": "SAFETY"})

    assert protos.answer(refused) == Answer("", "SAFETY")


def test_a_finish_reason_of_the_future_is_shown_as_its_number() -> None:
    raw = gl.GenerateContentResponse.pb()()
    raw.candidates.add(finish_reason=987)

    assert protos.answer(gl.GenerateContentResponse.wrap(raw)).finish_reason == "987"


def _operation(metadata: gl.CreateTunedModelMetadata) -> operations_pb2.Operation:
    raw = operations_pb2.Operation(name="tunedModels/a/operations/1")
    raw.metadata.Pack(gl.CreateTunedModelMetadata.pb(metadata))
    return raw
