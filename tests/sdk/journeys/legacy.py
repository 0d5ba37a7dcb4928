"""google-generativeai, over gRPC with TLS or over REST: all that it can do with tuned models.

python legacy.py '{"transport": "rest", "endpoint": ..., "key": ..., "lead_key": ..., "prefix": ...}'
"""

from __future__ import annotations

import asyncio
import csv
import tempfile
from pathlib import Path

import google.generativeai as genai
import pandas as pd
from google.api_core import exceptions
from google.generativeai import answer, protos
from google.generativeai.operations import delete_operation
from google.generativeai.types import model_types
from refused import EXISTS, HIDDEN, INVALID, IS_REST, NOBODY, TOO_EARLY, TOO_MANY
from steps import (
    BASE,
    EMBEDDER,
    PATIENCE_S,
    ROWS,
    TEXTS,
    absent,
    check_vectors,
    raises,
    step,
    until,
    where,
)

WHERE = where()
ID = f"{WHERE.prefix}-one"
NAME = f"tunedModels/{ID}"
LEAD = "lead@example.com"
COLUMNS = {"input_key": "number", "output_key": "next"}
TUNING = {"epoch_count": 2, "batch_size": 4, "learning_rate": 0.001}


def act_as(key, transport=WHERE.transport):
    options = {"api_endpoint": WHERE.endpoint}
    genai.configure(api_key=key, transport=transport, client_options=options)


def base_models():
    with step("models", "list, a page at a time"):
        names = [each.name for each in genai.list_models(page_size=1)]
        assert {BASE, EMBEDDER} <= set(names), names
        assert names == sorted(set(names)), "a page repeats or leaves out"
    with step("models", "get"):
        assert "createTunedModel" in genai.get_model(BASE).supported_generation_methods


def create():
    with step("create", "from a DataFrame, its columns named"):
        frame = pd.DataFrame(ROWS, columns=["number", "next"])
        operation = genai.create_tuned_model(
            BASE, frame, id=ID, display_name="Add one", temperature=0.5, **COLUMNS, **TUNING
        )
        assert (operation.metadata.tuned_model, operation.metadata.total_steps) == (NAME, 4)
    with step("create", "from dicts, with a name made from the display name"):
        rows = [{"text_input": text, "output": output} for text, output in ROWS]
        spare = genai.create_tuned_model(BASE, rows, display_name=f"{WHERE.prefix} Spare")
        assert spare.metadata.tuned_model.startswith(f"tunedModels/{WHERE.prefix}-spare-")
    with step("list", "paging"):
        names = [each.name for each in genai.list_tuned_models(page_size=1)]
        assert {NAME, spare.metadata.tuned_model} <= set(names)
        assert len(names) == len(set(names))
    with step("errors", "resource exhausted"), raises(TOO_MANY, "--max-queued", "QUEUE_FULL"):
        genai.create_tuned_model(BASE, rows)
    return operation, spare


def create_from_file():
    with step("create", "from a CSV file"), tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([tuple(COLUMNS.values()), *ROWS])
        operation = genai.create_tuned_model(BASE, str(path), **COLUMNS)
        assert operation.metadata.total_steps == 10  # the service's own 5 epochs of batches of 4
    with step("delete", "while it is tuned"):
        genai.delete_tuned_model(operation.metadata.tuned_model)
        with raises(HIDDEN):
            operation.update()


def errors():
    rows = [("1", "2")]
    with step("errors", "already exists"), raises(EXISTS, "exists", "NAME_TAKEN"):
        genai.create_tuned_model(BASE, rows, id=ID)
    wrong = ("tuned_model.temperature", "training_data")
    with step("errors", "every wrong field"), raises(INVALID, *wrong, "INVALID_FIELD"):
        genai.create_tuned_model(BASE, [], temperature=2)
    with step("errors", "failed precondition"), raises(TOO_EARLY, "SOURCE_NOT_ACTIVE"):
        genai.create_tuned_model(NAME, rows)
    with step("errors", "not found"), raises(exceptions.NotFound, "NOT_FOUND"):
        genai.get_model("models/none")
    act_as(WHERE.lead_key)
    with step("errors", "a stranger cannot tell a hidden model from none"):
        for name in (NAME, "tunedModels/none"):
            with raises(HIDDEN, f"access {name} or it may not exist", "HIDDEN_OR_MISSING"):
                genai.get_tuned_model(name)
    act_as("no-key-of-ours")
    with step("errors", "unauthenticated"), raises(NOBODY, "API_KEY_INVALID"):
        genai.get_model(BASE)
    act_as(WHERE.key)


def operations(spare):
    with step("operations", "get"):
        assert genai.get_operation(spare.name).metadata.tuned_model == spare.metadata.tuned_model
    if IS_REST:
        absent("operations", "over REST its `list_operations` finds no route of its own")
    else:
        with step("operations", "list"):
            assert spare.name in {each.name for each in genai.list_operations()}
    with step("operations", "cancel"):
        spare.cancel()
        with raises(exceptions.Cancelled, "cancelled"):
            spare.result(timeout=PATIENCE_S)
    with step("operations", "delete"):
        delete_operation(spare.name)
        with raises(exceptions.NotFound):
            genai.get_operation(spare.name)
    with step("delete", "after it was cancelled"):
        genai.delete_tuned_model(spare.metadata.tuned_model)


def watch(operation):
    with step("watch", "wait_bar"):
        # It polls without a pause: from the start it would keep a small machine from tuning.
        until(lambda: genai.get_operation(operation.name).metadata, lambda it: it.completed_steps)
        steps = [each.completed_steps for each in operation.wait_bar(disable=True)]
        assert steps == sorted(steps)
    with step("watch", "result, and every step on the way"):
        made = operation.result()
        assert isinstance(made, model_types.TunedModel)
        assert [each.step for each in operation.metadata.snapshots] == [1, 2, 3, 4]
        losses = pd.DataFrame(made.tuning_task.snapshots)
        assert list(losses["step"]) == [1, 2, 3, 4]
        assert (losses["mean_loss"] > 0).all()
    with step("list", "get"):
        got = genai.get_tuned_model(NAME)
        assert got == made
        assert (got.state.name, got.base_model, got.temperature) == ("ACTIVE", BASE, 0.5)
        assert got.create_time <= got.tuning_task.start_time <= got.tuning_task.complete_time


def tune_further():
    with step("create", "from a tuned model"):
        again = genai.create_tuned_model(NAME, ROWS[:1], epoch_count=1)
        name = again.metadata.tuned_model
        found = {each.name: each for each in genai.list_tuned_models()}[name]
        assert (found.source_model, found.base_model) == (NAME, BASE)
        genai.delete_tuned_model(name)


def update():
    with step("update", "by name"):
        changed = genai.update_tuned_model(NAME, {"description": "adds one"})
        assert (changed.description, changed.display_name) == ("adds one", "Add one")
    with step("update", "what cannot be changed"), raises(INVALID, "tuned_model.base_model"):
        genai.update_tuned_model(NAME, {"base_model": "models/other"})


def generate():
    config = {"max_output_tokens": 24, "temperature": 0.0}
    talk = [{"role": "user", "parts": "1"}, {"role": "model", "parts": "2"}]
    model = genai.GenerativeModel(NAME, generation_config=config, system_instruction="Add one.")
    with step("generate", "a chat"):
        whole = model.start_chat(history=talk).send_message("5")
        assert 0 < whole.usage_metadata.candidates_token_count <= 24
        assert whole.candidates[0].finish_reason in {1, 2}
    with step("stream", "the same answer in pieces"):
        pieces = list(model.start_chat(history=talk).send_message("5", stream=True))
        assert "".join(each.text for each in pieces) == whole.text
        assert len(pieces) > 1
    if not IS_REST:
        with step("stream", "asynchronously"):
            act_as(WHERE.key, "grpc_asyncio")
            text = asyncio.run(_stream(config, [*talk, {"role": "user", "parts": "5"}]))
            assert text == whole.text
        act_as(WHERE.key)
    if IS_REST:
        absent("count", "over REST it counts for `models/*` only")
    else:
        with step("count", "of a tuned model's prompt"):
            assert genai.GenerativeModel(NAME).count_tokens("5").total_tokens > 0
    with step("errors", "an image, refused by name"), raises(INVALID, "inline_data"):
        model.generate_content({"mime_type": "image/png", "data": b"png"})


async def _stream(config, talk):
    model = genai.GenerativeModel(NAME, generation_config=config, system_instruction="Add one.")
    stream = await model.generate_content_async(talk, stream=True)
    return "".join([each.text async for each in stream])


def count_and_embed():
    with step("count", "of a base model's prompt"):
        counted = genai.GenerativeModel(BASE).count_tokens("5")
        assert counted.total_tokens > 0
    with step("embed", "one text"):
        one = genai.embed_content(EMBEDDER, TEXTS[0], task_type="semantic_similarity")
    with step("embed", "many"):
        many = genai.embed_content(EMBEDDER, TEXTS)["embedding"]
        check_vectors(one["embedding"], many)
    with step("generate", "an answer from passages"):
        passages = {"sky": "The sky is blue.", "sea": "Fish swim in the sea."}
        given = answer.generate_answer(
            model=BASE,
            contents="Is the sky blue?",
            inline_passages=passages,
            answer_style="extractive",
        )
        assert 0 < given.answerable_probability <= 1
        named = given.answer.grounding_attributions[0].source_id.grounding_passage
        assert named.passage_id == "sky"


def share():
    permissions = genai.get_tuned_model(NAME).permissions
    with step("permissions", "create"):
        made = permissions.create("READER", email_address=LEAD)
        assert (made.role.name, made.grantee_type.name) == ("READER", "USER")
    with step("permissions", "one a grantee"), raises(EXISTS, "GRANTEE_TAKEN"):
        permissions.create("READER", email_address=LEAD)
    with step("permissions", "get, update, list, delete"):
        assert permissions.get(made.name) == made
        assert made.update({"role": protos.Permission.Role.WRITER}).role.name == "WRITER"
        assert [each.role.name for each in permissions.list(page_size=1)] == ["OWNER", "WRITER"]
        made.delete()
    with step("permissions", "for everyone"):
        everyone = permissions.create("READER", grantee_type="EVERYONE")
        assert everyone in permissions.list()
        everyone.delete()
    with step("permissions", "nobody is made an owner"), raises(INVALID, "permission.role"):
        permissions.create("OWNER", email_address=LEAD)
    with step("transfer", "the old owner becomes a writer"):
        permissions.transfer_ownership(LEAD)
        assert sorted(each.role.name for each in permissions.list()) == ["OWNER", "WRITER"]
    with step("errors", "permission denied"), raises(HIDDEN, "needs the role OWNER"):
        genai.delete_tuned_model(NAME)
    act_as(WHERE.lead_key)
    with step("delete", "by its owner; what is gone is gone"):
        genai.delete_tuned_model(NAME)
        with raises(HIDDEN):
            genai.get_tuned_model(NAME)


act_as(WHERE.key)
base_models()
operation, spare = create()
errors()
operations(spare)
create_from_file()
count_and_embed()
watch(operation)
tune_further()
update()
generate()
share()
