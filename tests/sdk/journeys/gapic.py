"""google-ai-generativelanguage, each of its transports: every method of its three clients.

python gapic.py '{"transport": "grpc_asyncio", "endpoint": ..., "key": ..., "lead_key": ..., "prefix": ...}'
"""

from __future__ import annotations

import asyncio

import gapic_generative
from gapic_clients import CANCELLED, NAME, WHERE, Clients
from google.ai import generativelanguage_v1beta as gl
from google.api_core import exceptions
from google.longrunning import operations_pb2
from refused import EXISTS, HIDDEN, INVALID, IS_REST, NOBODY, TOO_EARLY, TOO_MANY
from steps import BASE, EMBEDDER, PATIENCE_S, ROWS, absent, everything, raises, settled, step

LEAD = "lead@example.com"


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
    await gapic_generative.go(mine)
    await share(mine, lead)
    await hand_over(mine, lead)
    if not IS_REST:
        with step("errors", "every method of the three clients was called"):
            untouched = [each.untouched() for each in mine.all]
            assert not any(untouched), untouched


asyncio.run(main())
