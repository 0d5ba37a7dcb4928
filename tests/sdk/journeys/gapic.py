"""google-ai-generativelanguage, each of its transports: every method of its three clients.

python gapic.py '{"transport": "grpc_asyncio", "endpoint": ..., "key": ..., "lead_key": ..., "prefix": ...}'
"""

from __future__ import annotations

import asyncio
import inspect

from google.ai import generativelanguage_v1beta as gl
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.longrunning import operations_pb2
from steps import (
    BASE,
    EMBEDDER,
    PATIENCE_S,
    ROWS,
    TEXTS,
    absent,
    check_vectors,
    everything,
    raises,
    settled,
    step,
    where,
)

WHERE = where()
IS_REST, IS_ASYNC = WHERE.transport == "rest", WHERE.transport == "grpc_asyncio"
NAME = f"tunedModels/{WHERE.prefix}-one"
LEAD = "lead@example.com"
# Over REST google-api-core tells an exception by the HTTP status alone.
EXISTS = exceptions.Conflict if IS_REST else exceptions.AlreadyExists
INVALID = exceptions.BadRequest if IS_REST else exceptions.InvalidArgument
TOO_EARLY = exceptions.BadRequest if IS_REST else exceptions.FailedPrecondition
NOBODY = exceptions.Unauthorized if IS_REST else exceptions.Unauthenticated
TOO_MANY = exceptions.TooManyRequests if IS_REST else exceptions.ResourceExhausted
HIDDEN = exceptions.Forbidden if IS_REST else exceptions.PermissionDenied
# An AsyncOperation keeps no code: it raises the class that all of them have in common.
CANCELLED = exceptions.GoogleAPICallError if IS_ASYNC else exceptions.Cancelled
CONFIG = gl.GenerationConfig(max_output_tokens=24, temperature=0.0, seed=7)


class Recorded:
    """A client that remembers which of its methods were called; all answers can be awaited."""

    def __init__(self, client):
        self.client, self.called = client, set()

    def __getattr__(self, name):
        self.called.add(name)
        return lambda *args, **kwargs: settled(getattr(self.client, name)(*args, **kwargs))

    def untouched(self):
        methods = {
            name
            for name, member in inspect.getmembers(type(self.client), inspect.isfunction)
            if "metadata" in inspect.signature(member).parameters
        }
        return methods - self.called


class Clients:
    def __init__(self, key):
        options = ClientOptions(api_endpoint=WHERE.endpoint, api_key=key)
        kinds = [
            getattr(gl, f"{name}Service{'Async' if IS_ASYNC else ''}Client")
            for name in ("Model", "Permission", "Generative")
        ]
        made = [kind(client_options=options, transport=WHERE.transport) for kind in kinds]
        self.models, self.permissions, self.generative = map(Recorded, made)
        self.all = (self.models, self.permissions, self.generative)


def content(text, role="user"):
    return gl.Content(role=role, parts=[gl.Part(text=text)])


def new_model(display_name="", rows=ROWS, **fields):
    examples = [gl.TuningExample(text_input=text, output=output) for text, output in rows]
    task = gl.TuningTask(
        hyperparameters=gl.Hyperparameters(epoch_count=2, batch_size=4, learning_rate=0.001),
        training_data=gl.Dataset(examples=gl.TuningExamples(examples=examples)),
    )
    if "tuned_model_source" not in fields:
        fields.setdefault("base_model", BASE)
    return gl.TunedModel(display_name=display_name, tuning_task=task, **fields)


async def base_models(mine):
    with step("models", "list, a page at a time"):
        pager = await mine.models.list_models(gl.ListModelsRequest(page_size=1))
        names = [each.name for each in await everything(pager)]
        assert {BASE, EMBEDDER} <= set(names), names
        assert names == sorted(set(names)), "a page repeats or leaves out"
    with step("models", "get"):
        assert (await mine.models.get_model(name=BASE)).base_model_id == "tiny"


async def create(mine):
    with step("create", "with an id"):
        operation = await mine.models.create_tuned_model(
            tuned_model=new_model("Add one"), tuned_model_id=NAME.partition("/")[2]
        )
        assert operation.metadata.tuned_model == NAME
        assert operation.metadata.total_steps == 4
    with step("create", "with a name made from the display name"):
        asked = new_model(f"{WHERE.prefix} Spare")
        spare = await mine.models.create_tuned_model(tuned_model=asked)
        assert spare.metadata.tuned_model.startswith(f"tunedModels/{WHERE.prefix}-spare-")
    with step("errors", "resource exhausted"), raises(TOO_MANY, "--max-queued", "QUEUE_FULL"):
        await mine.models.create_tuned_model(tuned_model=asked)
    return operation, spare


async def list_both(mine, spare):
    other = spare.metadata.tuned_model
    with step("list", "paging"):
        asked = gl.ListTunedModelsRequest(page_size=1, filter="owner:me")
        names = [each.name for each in await everything(mine.models.list_tuned_models(asked))]
        assert {NAME, other} <= set(names)
        assert len(names) == len(set(names))
    with step("list", "filters"):
        asked = gl.ListTunedModelsRequest(filter=f"owner:me {WHERE.prefix} spare")
        names = [each.name for each in await everything(mine.models.list_tuned_models(asked))]
        assert names == [other]
        asked = gl.ListTunedModelsRequest(filter="readers:everyone")
        assert await everything(mine.models.list_tuned_models(asked)) == []


async def errors(mine, lead):
    with step("errors", "already exists"), raises(EXISTS, "exists", "NAME_TAKEN"):
        await mine.models.create_tuned_model(
            tuned_model=new_model(), tuned_model_id=NAME.partition("/")[2]
        )
    wrong = ("tuned_model.temperature", "training_data")
    with step("errors", "every wrong field"), raises(INVALID, *wrong, "INVALID_FIELD"):
        await mine.models.create_tuned_model(tuned_model=new_model(rows=[], temperature=2))
    with step("errors", "failed precondition"), raises(TOO_EARLY, "SOURCE_NOT_ACTIVE"):
        source = gl.TunedModelSource(tuned_model=NAME)
        await mine.models.create_tuned_model(tuned_model=new_model(tuned_model_source=source))
    with step("errors", "not found"), raises(exceptions.NotFound, "NOT_FOUND"):
        await mine.models.get_model(name="models/none")
    with step("errors", "a stranger cannot tell a hidden model from none"):
        for name in (NAME, "tunedModels/none"):
            with raises(HIDDEN, f"access {name} or it may not exist", "HIDDEN_OR_MISSING"):
                await lead.models.get_tuned_model(name=name)
    with step("errors", "unauthenticated"), raises(NOBODY, "API_KEY_INVALID"):
        await Clients("no-key-of-ours").models.get_model(name=BASE)
    with step("errors", "invalid page"), raises(INVALID, "page_token"):
        await mine.models.list_models(gl.ListModelsRequest(page_token="nonsense"))


async def cancel(mine, spare):
    name = spare.operation.name
    with step("operations", "list and get"):
        for each in mine.all:
            asked = operations_pb2.ListOperationsRequest(name=spare.metadata.tuned_model)
            listed = await each.list_operations(asked)
            assert [found.name for found in listed.operations] == [name]
            got = await each.get_operation(operations_pb2.GetOperationRequest(name=name))
            assert got.name == name
    if IS_REST:
        absent("operations", "over REST it cancels and deletes `batches/*` only")
        return
    with step("operations", "cancel"):
        await settled(spare.cancel())
        for each in mine.all:
            await each.cancel_operation(operations_pb2.CancelOperationRequest(name=name))
        with raises(CANCELLED, "cancelled"):
            await settled(spare.result(timeout=PATIENCE_S))
    with step("operations", "delete"):
        asked = operations_pb2.DeleteOperationRequest(name=name)
        await mine.models.delete_operation(asked)
        for each in (mine.permissions, mine.generative):
            with raises(exceptions.NotFound):
                await each.delete_operation(asked)


async def delete_unfinished(mine, spare):
    name = spare.metadata.tuned_model
    with step("delete", "before it is tuned, or cancelled"):
        await mine.models.delete_tuned_model(name=name)
        with raises(HIDDEN):
            await mine.models.get_tuned_model(name=name)


async def watch(mine, operation):
    with step("watch", "result, and every step on the way"):
        made = await settled(operation.result(timeout=PATIENCE_S))
        assert [each.step for each in operation.metadata.snapshots] == [1, 2, 3, 4]
        assert (made.name, made.state) == (NAME, gl.TunedModel.State.ACTIVE)
        assert not made.tuning_task.training_data.examples.examples
    with step("list", "get"):
        assert await mine.models.get_tuned_model(name=NAME) == made


async def update(mine):
    with step("update", "with a mask"):
        changed = await mine.models.update_tuned_model(
            tuned_model=gl.TunedModel(name=NAME, description="adds one", display_name="no"),
            update_mask={"paths": ["description"]},
        )
        assert (changed.description, changed.display_name) == ("adds one", "Add one")
    with step("update", "what cannot be changed"), raises(INVALID, "tuned_model.base_model"):
        await mine.models.update_tuned_model(
            tuned_model=gl.TunedModel(name=NAME, base_model="models/other"),
            update_mask={"paths": ["base_model"]},
        )


async def generate(mine):
    talk = [content("1"), content("2", "model"), content("5")]
    asked = gl.GenerateContentRequest(
        model=NAME, contents=talk, system_instruction=content("Add one."), generation_config=CONFIG
    )
    with step("generate", "several turns, a system instruction, a seed"):
        whole = await mine.generative.generate_content(asked)
        usage = whole.usage_metadata
        assert 0 < usage.candidates_token_count <= 24
        assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
        assert whole.candidates[0].finish_reason in {1, 2}
        again = await mine.generative.generate_content(asked)
        assert (again.candidates, again.usage_metadata) == (whole.candidates, usage)
    with step("stream", "the same answer in pieces"):
        pieces = await everything(mine.generative.stream_generate_content(asked))
        text = "".join(each.candidates[0].content.parts[0].text for each in pieces)
        assert text == whole.candidates[0].content.parts[0].text
        assert len(pieces) > 1
        assert [each.candidates[0].finish_reason for each in pieces[:-1]] == [0] * (len(pieces) - 1)
        assert pieces[-1].usage_metadata == usage
    with step("errors", "an image, refused by name"), raises(INVALID, "inline_data"):
        picture = gl.Part(inline_data=gl.Blob(mime_type="image/png", data=b"png"))
        await mine.generative.generate_content(model=BASE, contents=[gl.Content(parts=[picture])])
    with step("errors", "a stream refused before it begins"), raises(INVALID, "contents"):
        await everything(mine.generative.stream_generate_content(model=BASE, contents=[]))


async def count_and_embed(mine):
    with step("count", "of a base model's prompt"):
        counted = await mine.generative.count_tokens(model=BASE, contents=[content("5")])
        assert counted.total_tokens > 0
    if IS_REST:
        absent("count", "over REST it counts for `models/*` only")
    else:
        with step("count", "of a tuned model's prompt"):
            again = await mine.generative.count_tokens(model=NAME, contents=[content("5")])
            assert again == counted
    with step("embed", "one text"):
        alone = await mine.generative.embed_content(model=EMBEDDER, content=content(TEXTS[0]))
    with step("embed", "many"):
        asked = [gl.EmbedContentRequest(model=EMBEDDER, content=content(text)) for text in TEXTS]
        batch = await mine.generative.batch_embed_contents(model=EMBEDDER, requests=asked)
        check_vectors(alone.embedding.values, [each.values for each in batch.embeddings])


async def answer(mine):
    with step("generate", "an answer from passages"):
        passages = [
            gl.GroundingPassage(id=word, content=content(text))
            for word, text in (("sky", "The sky is blue."), ("sea", "Fish swim in the sea."))
        ]
        response = await mine.generative.generate_answer(
            gl.GenerateAnswerRequest(
                model=BASE,
                contents=[content("Is the sky blue?")],
                inline_passages=gl.GroundingPassages(passages=passages),
                answer_style="EXTRACTIVE",
            )
        )
        assert 0 < response.answerable_probability <= 1
        named = response.answer.grounding_attributions[0].source_id.grounding_passage
        assert named.passage_id == "sky"


async def unimplemented(mine):
    if IS_REST:
        absent("errors", "over REST it has no live sessions to be refused")
        return

    async def asynchronously():
        yield setup

    with step("errors", "unimplemented: live sessions"):
        setup = gl.BidiGenerateContentClientMessage(setup=gl.BidiGenerateContentSetup(model=BASE))
        asked = asynchronously() if IS_ASYNC else iter([setup])
        with raises(exceptions.MethodNotImplemented, "live sessions"):
            await everything(mine.generative.bidi_generate_content(requests=asked))


async def share(mine, lead):
    with step("permissions", "create"):
        asked = gl.Permission(grantee_type="USER", email_address=LEAD, role="READER")
        made = await mine.permissions.create_permission(parent=NAME, permission=asked)
        assert made.role == gl.Permission.Role.READER
        assert (await lead.models.get_tuned_model(name=NAME)).name == NAME
    with step("permissions", "one a grantee"), raises(EXISTS, "GRANTEE_TAKEN"):
        await mine.permissions.create_permission(parent=NAME, permission=asked)
    with step("permissions", "a reader cannot share"), raises(HIDDEN, "WRITER"):
        await lead.permissions.create_permission(parent=NAME, permission=asked)
    with step("permissions", "get, update, list in pages, delete"):
        assert await mine.permissions.get_permission(name=made.name) == made
        changed = await mine.permissions.update_permission(
            permission=gl.Permission(name=made.name, role="WRITER"), update_mask={"paths": ["role"]}
        )
        assert changed.role == gl.Permission.Role.WRITER
        pages = gl.ListPermissionsRequest(parent=NAME, page_size=1)
        listed = await everything(mine.permissions.list_permissions(pages))
        assert [each.role.name for each in listed] == ["OWNER", "WRITER"]
        await mine.permissions.delete_permission(name=made.name)
    with step("permissions", "nobody is made an owner"), raises(INVALID, "permission.role"):
        owner = gl.Permission(grantee_type="USER", email_address=LEAD, role="OWNER")
        await mine.permissions.create_permission(parent=NAME, permission=owner)


async def hand_over(mine, lead):
    with step("transfer", "the old owner becomes a writer"):
        asked = gl.TransferOwnershipRequest(name=NAME, email_address=LEAD)
        await mine.permissions.transfer_ownership(asked)
        listed = await everything(mine.permissions.list_permissions(parent=NAME))
        assert sorted(each.role.name for each in listed) == ["OWNER", "WRITER"]
    with step("errors", "permission denied"), raises(HIDDEN, "needs the role OWNER"):
        await mine.models.delete_tuned_model(name=NAME)
    with step("delete", "by its owner; what is gone is gone"):
        await lead.models.delete_tuned_model(name=NAME)
        for each in (mine, lead):
            with raises(HIDDEN):
                await each.models.get_tuned_model(name=NAME)


async def main():
    mine, lead = Clients(WHERE.key), Clients(WHERE.lead_key)
    await base_models(mine)
    operation, spare = await create(mine)
    await list_both(mine, spare)
    await errors(mine, lead)
    await cancel(mine, spare)
    await delete_unfinished(mine, spare)
    await watch(mine, operation)
    await update(mine)
    await generate(mine)
    await count_and_embed(mine)
    await answer(mine)
    await unimplemented(mine)
    await share(mine, lead)
    await hand_over(mine, lead)
    if not IS_REST:
        with step("errors", "every method of the three clients was called"):
            untouched = [each.untouched() for each in mine.all]
            assert not any(untouched), untouched


asyncio.run(main())
