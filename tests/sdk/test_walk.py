"""Google's unmodified clients go the whole way against a real `tuner serve`."""

from __future__ import annotations

import asyncio

import pytest
from google.ai import generativelanguage_v1beta as gl
from google.api_core import exceptions

from tests.sdk.process import google_clients, serving

pytestmark = pytest.mark.slow
ROWS = [("1", "2"), ("3", "4"), ("-3", "-2"), ("twenty two", "twenty three")] * 4
QUESTION = [gl.Content(role="user", parts=[gl.Part(text="5")])]


def new_model(**fields):
    examples = [gl.TuningExample(text_input=text, output=output) for text, output in ROWS]
    return gl.TunedModel(
        display_name="Add one",
        tuning_task=gl.TuningTask(
            hyperparameters=gl.Hyperparameters(epoch_count=2, batch_size=4, learning_rate=0.001),
            training_data=gl.Dataset(examples=gl.TuningExamples(examples=examples)),
        ),
        **fields,
    )


async def create(clients, model_id, **fields):
    operation = await clients.models.create_tuned_model(
        tuned_model=new_model(**fields), tuned_model_id=model_id
    )
    assert operation.metadata.tuned_model == f"tunedModels/{model_id}"
    assert operation.metadata.total_steps == 8
    return await operation.result(timeout=120), operation


async def write(clients, name):
    config = gl.GenerationConfig(max_output_tokens=8, temperature=0.0, seed=7)
    request = gl.GenerateContentRequest(model=name, contents=QUESTION, generation_config=config)
    whole = await clients.generative.generate_content(request)
    assert whole.usage_metadata.prompt_token_count > 0
    assert whole.usage_metadata.candidates_token_count <= 8
    assert whole.candidates[0].finish_reason in {1, 2}
    stream = await clients.generative.stream_generate_content(request)
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.candidates[0].content.parts[0].text for chunk in chunks)
    assert text == whole.candidates[0].content.parts[0].text
    assert chunks[-1].candidates[0].finish_reason == whole.candidates[0].finish_reason
    counted = await clients.generative.count_tokens(model=name, contents=QUESTION)
    assert counted.total_tokens == whole.usage_metadata.prompt_token_count


async def answer(clients, name):
    passages = [
        gl.GroundingPassage(id="sky", content=gl.Content(parts=[gl.Part(text="The sky is blue.")])),
        gl.GroundingPassage(id="sea", content=gl.Content(parts=[gl.Part(text="Fish swim.")])),
    ]
    question = [gl.Content(role="user", parts=[gl.Part(text="Is the sky blue?")])]
    response = await clients.generative.generate_answer(
        gl.GenerateAnswerRequest(
            model=name,
            contents=question,
            inline_passages=gl.GroundingPassages(passages=passages),
            answer_style=gl.GenerateAnswerRequest.AnswerStyle.ABSTRACTIVE,
        )
    )
    assert 0 < response.answerable_probability <= 1
    named = response.answer.grounding_attributions[0].source_id.grounding_passage.passage_id
    assert named == "sky"


async def share(clients, name):
    made = await clients.permissions.create_permission(
        parent=name,
        permission=gl.Permission(
            grantee_type="USER", email_address="ana@example.com", role="READER"
        ),
    )
    assert await clients.permissions.get_permission(name=made.name) == made
    changed = await clients.permissions.update_permission(
        permission=gl.Permission(name=made.name, role="WRITER"), update_mask={"paths": ["role"]}
    )
    assert changed.role == gl.Permission.Role.WRITER
    listed = await clients.permissions.list_permissions(
        gl.ListPermissionsRequest(parent=name, page_size=1)
    )
    emails = [each.email_address async for each in listed]
    assert emails == ["owner@localhost", "ana@example.com"]
    await clients.permissions.delete_permission(name=made.name)


async def look(clients, name, made):
    assert await clients.models.get_tuned_model(name=name) == made
    listed = await clients.models.list_tuned_models(gl.ListTunedModelsRequest(page_size=1))
    assert [each.name async for each in listed] == ["tunedModels/again", name]
    models = [each.name async for each in await clients.models.list_models()]
    assert "models/tiny" in models
    assert (await clients.models.get_model(name="models/tiny")).name == "models/tiny"
    updated = await clients.models.update_tuned_model(
        tuned_model=gl.TunedModel(name=name, description="adds one"),
        update_mask={"paths": ["description"]},
    )
    assert updated.description == "adds one"


async def hand_over_and_delete(clients, name):
    await clients.models.delete_tuned_model(name="tunedModels/again")
    await clients.permissions.transfer_ownership(
        gl.TransferOwnershipRequest(name=name, email_address="lead@example.com")
    )
    with pytest.raises(exceptions.PermissionDenied, match="needs the role OWNER"):
        await clients.models.delete_tuned_model(name=name)


async def the_whole_way(address):
    async with google_clients(address) as clients:
        made, operation = await create(clients, "add-one", base_model="models/tiny")
        assert [each.step for each in operation.metadata.snapshots] == list(range(1, 9))
        assert made.state == gl.TunedModel.State.ACTIVE
        assert not made.tuning_task.training_data.examples
        source = gl.TunedModelSource(tuned_model=made.name)
        again, _ = await create(clients, "again", tuned_model_source=source)
        assert again.tuned_model_source.base_model == "models/tiny"
        for name in ("models/tiny", made.name, again.name):
            await write(clients, name)
        await answer(clients, made.name)
        await look(clients, made.name, made)
        await share(clients, made.name)
        await hand_over_and_delete(clients, made.name)


def test_the_official_asynchronous_clients_go_the_whole_way(tmp_path):
    with serving(tmp_path / "home") as service:
        asyncio.run(the_whole_way(service.address))
