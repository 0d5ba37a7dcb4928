"""Creating and updating tuned models."""

from __future__ import annotations

import re

import pytest

from tests.server.room import new_model, open_room, refusal
from tuner.server.api_errors import Code

pytestmark = pytest.mark.slow

HYPER = "tuned_model.tuning_task.hyperparameters."


@pytest.mark.parametrize(
    ("rows", "fields", "expected"),
    [
        (4, {}, (5, 4, 0.001)),
        (999, {}, (5, 4, 0.001)),
        (1000, {}, (5, 16, 0.0002)),
        (4, {"epoch_count": 2, "batch_size": 3, "learning_rate": 0.01}, (2, 3, 0.01)),
        (4, {"learning_rate_multiplier": 2.0}, (5, 4, 0.002)),
        (1000, {"learning_rate_multiplier": 0.5}, (5, 16, 0.0001)),
    ],
)
async def test_hyperparameters_have_the_documented_defaults(room, rows, fields, expected):
    room.engine.stop_at = 1
    operation = await room.create(rows=rows, hyperparameters=fields)
    await room.engine.waits.wait()
    task = room.engine.tasks[0]
    assert (task.epoch_count, task.batch_size, task.learning_rate) == expected
    model = await room.call("GetTunedModel", name="tunedModels/m")
    shown = model.tuning_task.hyperparameters
    assert shown.WhichOneof("learning_rate_option") == "learning_rate"
    assert shown.learning_rate == pytest.approx(expected[2])
    assert operation.metadata.ByteSize() > 0


async def test_training_data_is_never_sent_back_and_times_are_whole_milliseconds(room):
    await room.tuned()
    model = await room.call("GetTunedModel", name="tunedModels/m")
    assert not model.tuning_task.HasField("training_data")
    times = [model.create_time, model.update_time]
    times += [model.tuning_task.start_time, model.tuning_task.complete_time]
    times += [each.compute_time for each in model.tuning_task.snapshots]
    assert all(each.seconds and each.nanos % 1_000_000 == 0 for each in times)


async def test_examples_reach_the_engine_exactly_as_written(tmp_path):
    texts = ["  NA ", "None", "007", "ünï\n\ncödé", "\u2028", '"quoted"', "🦆"]
    async with open_room(tmp_path) as room:
        request = new_model(rows=len(texts))
        examples = request["tuned_model"].tuning_task.training_data.examples.examples
        for example, text in zip(examples, texts, strict=True):
            example.text_input = example.output = text
        await room.ended((await room.call("CreateTunedModel", **request)).name)
        assert [each.text_input for each in room.engine.tasks[0].examples] == texts
        assert [each.output for each in room.engine.tasks[0].examples] == texts


@pytest.mark.parametrize(
    ("display_name", "pattern"),
    [
        ("Sentence Translator", r"tunedModels/sentence-translator-[a-z0-9]{12}"),
        ("", r"tunedModels/[a-z][a-z0-9]{11}"),
        ("!" * 40, r"tunedModels/m-[a-z0-9]{12}"),
        ("x" * 40, r"tunedModels/x{27}-[a-z0-9]{12}"),
    ],
)
async def test_without_an_id_one_is_made_from_the_display_name(room, display_name, pattern):
    request = new_model(None, display_name=display_name)
    operation = await room.call("CreateTunedModel", **request)
    assert re.fullmatch(pattern, operation.name.partition("/operations/")[0])


@pytest.mark.parametrize("model_id", ["", "A", "1a", "a-", "a" * 41, "a_b", "ä"])
async def test_an_id_outside_the_rules_is_refused(room, model_id):
    refused = await refusal(room, "CreateTunedModel", **new_model(model_id))
    assert [each.field for each in refused.violations] == ["tuned_model_id"]


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("tuned_model.display_name", {"display_name": "x" * 41}),
        ("tuned_model.description", {"description": "x" * 10_001}),
        ("tuned_model.temperature", {"temperature": 1.5}),
        ("tuned_model.temperature", {"temperature": float("nan")}),
        ("tuned_model.top_p", {"top_p": -0.1}),
        ("tuned_model.top_k", {"top_k": 0}),
        ("tuned_model.reader_project_numbers", {"reader_project_numbers": [1]}),
        ("tuned_model.base_model", {"base_model": ""}),
        ("tuned_model.base_model", {"base_model": "models/none"}),
        ("tuned_model.base_model", {"base_model": "models/embedder"}),
        ("tuned_model.tuning_task.training_data", {"rows": 0}),
        (f"{HYPER}epoch_count", {"hyperparameters": {"epoch_count": 0}}),
        (f"{HYPER}epoch_count", {"hyperparameters": {"epoch_count": 2**31 - 1}}),
        (f"{HYPER}batch_size", {"hyperparameters": {"batch_size": -1}}),
        (f"{HYPER}learning_rate", {"hyperparameters": {"learning_rate": 0}}),
        (f"{HYPER}learning_rate", {"hyperparameters": {"learning_rate": float("inf")}}),
        (f"{HYPER}learning_rate_multiplier", {"hyperparameters": {"learning_rate_multiplier": -1}}),
    ],
)
async def test_an_invalid_field_is_named(room, field, changes):
    refused = await refusal(room, "CreateTunedModel", **new_model("m", **changes))
    assert refused.code == Code.INVALID_ARGUMENT
    assert [each.field for each in refused.violations] == [field]
    assert field in refused.message


async def test_all_problems_are_reported_at_once(room):
    request = new_model("A", display_name="x" * 41, top_p=2, base_model="models/none")
    request["tuned_model"].tuning_task.training_data.examples.examples[1].output = ""
    refused = await refusal(room, "CreateTunedModel", **request)
    assert [each.field.rpartition(".")[2] for each in refused.violations] == [
        *("tuned_model_id", "display_name", "top_p", "base_model", "output")
    ]
    assert "examples[1].output: is empty" in refused.message


async def test_an_empty_training_set_names_the_client_that_drops_it(room):
    refused = await refusal(room, "CreateTunedModel", **new_model(rows=0))
    assert "google-genai 1.47.0" in refused.message
    assert "extra_body" in refused.message


async def test_a_taken_id_is_refused_and_changes_nothing(room):
    await room.tuned(display_name="first")
    refused = await refusal(room, "CreateTunedModel", **new_model(display_name="second"))
    assert refused.code == Code.ALREADY_EXISTS
    model = await room.call("GetTunedModel", name="tunedModels/m")
    assert model.display_name == "first"
    assert len(room.engine.tasks) == 1


async def test_a_model_that_is_not_active_cannot_be_tuned_further_or_answer(room):
    room.engine.stop_at = 1
    await room.create("parent")
    source = {"tuned_model": "tunedModels/parent"}
    request = new_model("child", tuned_model_source=source)
    refused = await refusal(room, "CreateTunedModel", **request)
    assert refused.code == Code.FAILED_PRECONDITION
    contents = [{"parts": [{"text": "hi"}]}]
    fields = {"model": "tunedModels/parent", "contents": contents}
    refused = await refusal(room, "GenerateContent", **fields)
    assert refused.code == Code.FAILED_PRECONDITION


async def test_unset_sampling_is_the_base_models(room):
    await room.tuned(temperature=0.25)
    model = await room.call("GetTunedModel", name="tunedModels/m")
    assert (model.temperature, model.top_p) == (0.25, 1.0)
    assert not model.HasField("top_k")


NAME = "tunedModels/m"


def update(fields, *paths):
    return {"tuned_model": {"name": NAME, **fields}, "update_mask": {"paths": paths}}


async def test_an_update_changes_what_its_mask_names_and_nothing_else(room):
    await room.tuned(display_name="old", description="old", temperature=0.5)
    fields = {"display_name": "new", "description": "new", "temperature": 0.1}
    model = await room.call("UpdateTunedModel", **update(fields, "description"))
    assert (model.display_name, model.description) == ("old", "new")
    model = await room.call("UpdateTunedModel", **update({}, "temperature"))
    assert model.temperature == 1.0
    model = await room.call("UpdateTunedModel", **update({"display_name": "n"}, "*"))
    assert (model.display_name, model.description) == ("n", "")


async def test_without_a_mask_the_fields_that_are_set_are_changed(room):
    await room.tuned(display_name="old", description="old")
    model = await room.call("GetTunedModel", name=NAME)
    model.description = "new"
    model = await room.call("UpdateTunedModel", tuned_model=model)
    assert (model.display_name, model.description) == ("old", "new")
    model.base_model = "models/other"
    refused = await refusal(room, "UpdateTunedModel", tuned_model=model)
    assert refused.violations[0].field == "tuned_model.base_model"


async def test_a_mask_may_name_output_only_and_unchanged_fields(room):
    await room.tuned()
    model = await room.call("GetTunedModel", name=NAME)
    model.description = "new"
    mask = {"paths": [field.name for field, _ in model.ListFields()]}
    model = await room.call("UpdateTunedModel", tuned_model=model, update_mask=mask)
    assert model.description == "new"


@pytest.mark.parametrize(
    "path",
    [
        *("base_model", "tuning_task.hyperparameters.epoch_count"),
        *("reader_project_numbers", "colour"),
    ],
)
async def test_a_field_that_cannot_be_changed_is_refused_by_name(room, path):
    await room.tuned()
    refused = await refusal(room, "UpdateTunedModel", **update({}, path))
    assert refused.code == Code.INVALID_ARGUMENT
    assert refused.violations[0].field == f"tuned_model.{path}"


async def test_an_update_cannot_change_hyperparameters(room):
    model = (await room.tuned()).name.partition("/operations")[0]
    task = (await room.call("GetTunedModel", name=model)).tuning_task
    await room.call("UpdateTunedModel", **update({"tuning_task": task}, "tuning_task"))
    task.hyperparameters.epoch_count += 1
    fields = update({"tuning_task": task}, "tuning_task")
    refused = await refusal(room, "UpdateTunedModel", **fields)
    assert [each.field for each in refused.violations] == ["tuned_model.tuning_task"]


async def test_an_update_checks_its_values(room):
    await room.tuned()
    fields = update({"temperature": 2, "display_name": "x" * 41}, "temperature")
    refused = await refusal(room, "UpdateTunedModel", **fields)
    assert [each.field for each in refused.violations] == ["tuned_model.temperature"]
