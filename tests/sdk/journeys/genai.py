"""google-genai in its Gemini mode, waiting or asynchronous: all that it can do with tuned models.

python genai.py '{"transport": "aio", "endpoint": ..., "key": ..., "lead_key": ..., "prefix": ...}'
"""

from __future__ import annotations

import asyncio
import json
import time
import warnings

from google import genai
from google.genai import errors, types
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
DROPS_EXAMPLES = not genai.__version__.startswith("1.46.")
CONFIG = {"max_output_tokens": 24, "temperature": 0.0, "seed": 7, "system_instruction": "Add one."}
DATASET = types.TuningDataset(
    examples=[types.TuningExample(text_input=text, output=output) for text, output in ROWS]
)
# What tune() would have sent, had it not lost it.
LOST = {
    "tuningTask": {
        "trainingData": {
            "examples": {"examples": [{"textInput": text, "output": out} for text, out in ROWS]}
        }
    }
}


def connect(key):
    client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=WHERE.endpoint))
    return client.aio if WHERE.transport == "aio" else client


def refused(code, status, *words):
    kind = errors.ClientError if code < 500 else errors.ServerError
    return raises(kind, f"{code} {status}", *words)


async def tune(mine, name, *, examples=True, **config):
    config = types.CreateTuningJobConfig(
        tuned_model_display_name=f"{WHERE.prefix} {name}",
        batch_size=4,
        learning_rate=0.001,
        **config,
    )
    if examples and DROPS_EXAMPLES:
        config.http_options = types.HttpOptions(extra_body=LOST)
    asked = mine.tunings.tune(base_model=BASE, training_dataset=DATASET, config=config)
    return await settled(asked)


async def base_models(mine):
    with step("models", "list, a page at a time"):
        pager = mine.models.list(config={"page_size": 1})
        names = [each.name for each in await everything(pager)]
        assert {BASE, EMBEDDER} <= set(names), names
        assert names == sorted(set(names)), "a page repeats or leaves out"
    with step("models", "get"):
        model = await settled(mine.models.get(model="tiny"))
        assert "createTunedModel" in model.supported_actions


async def create(mine):
    note = ""
    if DROPS_EXAMPLES:
        note = (
            "its `tune()` drops the examples: the service says so, and takes them from"
            " `http_options.extra_body`"
        )
        told = refused(400, "INVALID_ARGUMENT", "training_data", "1.47.0", "extra_body")
        with step("errors", "examples that the client drops"), told:
            await tune(mine, "One", examples=False)
    with step("create", "from TuningExamples", note):
        job = await tune(mine, "One", epoch_count=2)
        assert job.name.startswith(f"tunedModels/{WHERE.prefix}-one-"), job.name
    with step("create", "a second one"):
        spare = await tune(mine, "Spare")
    many = refused(429, "RESOURCE_EXHAUSTED", "--max-queued", "RetryInfo")
    with step("errors", "resource exhausted"), many:
        await tune(mine, "Many")
    return job.name, spare.name


async def refusals(mine, lead, name):
    invalid = refused(400, "INVALID_ARGUMENT", "hyperparameters.epoch_count")
    with step("errors", "invalid argument"), invalid:
        await tune(mine, "Wrong", epoch_count=-1)
    with step("errors", "not found"), refused(404, "NOT_FOUND", "models/none"):
        await settled(mine.models.get(model="none"))
    with step("errors", "a stranger cannot tell a hidden model from none"):
        for each in (name, "tunedModels/none"):
            with refused(403, "PERMISSION_DENIED", f"access {each} or it may not exist"):
                await settled(lead.models.get(model=each))
    nobody = connect("no-key-of-ours")
    with step("errors", "unauthenticated"), refused(401, "UNAUTHENTICATED", "API_KEY_INVALID"):
        await settled(nobody.models.get(model="tiny"))
    with step("errors", "unimplemented: files"), refused(501, "UNIMPLEMENTED", "files"):
        await everything(mine.files.list())


async def cancel(mine, spare):
    with step("operations", "cancel"):
        await settled(mine.tunings.cancel(name=spare))
        job = await ended(mine, spare)
        assert job.state == types.JobState.JOB_STATE_FAILED
    absent("operations", "it cancels, but keeps no operation to list or get")


async def ended(mine, name):
    deadline = time.monotonic() + PATIENCE_S
    while not (job := await settled(mine.tunings.get(name=name))).has_ended:
        assert time.monotonic() < deadline, f"after {PATIENCE_S} s it is still {job}"
        await asyncio.sleep(0.5)
    return job


async def watch(mine, name):
    with step("watch", "tunings.get until it has ended"):
        job = await ended(mine, name)
        assert job.state == types.JobState.JOB_STATE_SUCCEEDED
        assert (job.tuned_model.model, job.base_model) == (name, BASE)
        assert job.create_time <= job.start_time <= job.end_time
    with step("list", "get"):
        model = await settled(mine.models.get(model=name))
        assert (model.name, model.display_name) == (name, f"{WHERE.prefix} One")
        assert model.tuned_model_info.base_model == BASE
    with step("list", "paging"):
        config = {"query_base": False, "page_size": 1}
        names = [each.name for each in await everything(mine.models.list(config=config))]
        assert name in names
        assert len(names) == len(set(names)) > 1
    with step("list", "filters"):
        config = {"query_base": False, "filter": f"owner:me {WHERE.prefix} One"}
        names = [each.name for each in await everything(mine.models.list(config=config))]
        assert names == [name]
    if not DROPS_EXAMPLES:
        with step("list", "tuning jobs"):
            jobs = await everything(mine.tunings.list(config={"page_size": 1}))
            assert name in [each.name for each in jobs]


async def update(mine, name):
    with step("update", "without a mask"):
        config = {"description": "adds one"}
        changed = await settled(mine.models.update(model=name, config=config))
        assert (changed.description, changed.display_name) == ("adds one", f"{WHERE.prefix} One")


async def generate(mine, name):
    talk = [
        types.Content(role=role, parts=[types.Part(text=text)])
        for role, text in (("user", "1"), ("model", "2"), ("user", "5"))
    ]
    with step("generate", "several turns, a system instruction, a seed"):
        asked = {"model": name, "contents": talk, "config": CONFIG}
        whole = await settled(mine.models.generate_content(**asked))
        usage = whole.usage_metadata
        assert 0 < usage.candidates_token_count <= 24
        assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
        assert whole.candidates[0].finish_reason in {"STOP", "MAX_TOKENS"}
    with step("generate", "a chat"):
        chat = mine.chats.create(model=name, config=CONFIG, history=talk[:2])
        assert (await settled(chat.send_message("5"))).text == whole.text
    with step("generate", "JSON of a schema"):
        schema = {
            "type": "object",
            "properties": {"even": {"type": "boolean"}},
            "required": ["even"],
        }
        form = {"response_mime_type": "application/json", "response_schema": schema}
        form["max_output_tokens"] = 200
        one = await settled(mine.models.generate_content(**asked | {"config": CONFIG | form}))
        assert isinstance(json.loads(one.text)["even"], bool)
    with step("stream", "the same answer in pieces"):
        pieces = await everything(mine.models.generate_content_stream(**asked))
        assert "".join(each.text for each in pieces) == whole.text
        assert len(pieces) > 1
        assert not any(each.candidates[0].finish_reason for each in pieces[:-1])
        assert pieces[-1].usage_metadata.total_token_count == usage.total_token_count
    with step("errors", "an image, refused by name"):
        picture = types.Part.from_bytes(data=b"png", mime_type="image/png")
        with refused(400, "INVALID_ARGUMENT", "inline_data"):
            await settled(mine.models.generate_content(model=name, contents=picture))
    asked["model"] = "tunedModels/none"
    with step("errors", "a stream refused at once"), refused(403, "PERMISSION_DENIED"):
        await everything(mine.models.generate_content_stream(**asked))


async def count_and_embed(mine, name):
    with step("count", "of a base model's and a tuned model's prompt"):
        for model in (BASE, name):
            counted = await settled(mine.models.count_tokens(model=model, contents="5"))
            assert counted.total_tokens > 0
    with step("embed", "one text"):
        one = await settled(mine.models.embed_content(model=EMBEDDER, contents=TEXTS[0]))
    with step("embed", "many"):
        many = await settled(mine.models.embed_content(model=EMBEDDER, contents=TEXTS))
        check_vectors(one.embeddings[0].values, [each.values for each in many.embeddings])


async def delete(mine, lead, name, spare):
    absent("permissions", "it has no methods for these")
    absent("transfer", "it has no method for it")
    with step("errors", "permission denied"), refused(403, "PERMISSION_DENIED"):
        await settled(lead.models.delete(model=name))
    with step("delete", "what is gone is gone"):
        for each in (name, spare):
            await settled(mine.models.delete(model=each))
            with refused(403, "PERMISSION_DENIED"):
                await settled(mine.models.get(model=each))


async def main():
    mine, lead = connect(WHERE.key), connect(WHERE.lead_key)
    await base_models(mine)
    name, spare = await create(mine)
    await refusals(mine, lead, name)
    await cancel(mine, spare)
    await watch(mine, name)
    await update(mine, name)
    await generate(mine, name)
    await count_and_embed(mine, name)
    await delete(mine, lead, name, spare)


warnings.simplefilter("ignore")  # it calls its own tunings experimental
asyncio.run(main())
