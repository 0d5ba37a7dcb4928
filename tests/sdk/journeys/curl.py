"""curl, the way Google's own samples use it: snake_case, ``?key=``, trailing commas, polling under /v1/.

python curl.py '{"transport": "REST", "endpoint": ..., "key": ..., "lead_key": ..., "prefix": ...}'
"""

from __future__ import annotations

import json
import re
import subprocess

from steps import BASE, EMBEDDER, ROWS, TEXTS, check_vectors, raises, step, until, where

WHERE = where()
ID = f"{WHERE.prefix}-one"
NAME = f"tunedModels/{ID}"
LEAD = "lead@example.com"
EXAMPLES = ", ".join(f'{{"text_input": "{text}", "output": "{output}",}}' for text, output in ROWS)
NEW_MODEL = f"""
    {{
      "display_name": "{WHERE.prefix} One",
      "base_model": "{BASE}",
      "tuning_task": {{
        "hyperparameters": {{"batch_size": 4, "learning_rate": 0.001, "epoch_count": 2,}},
        "training_data": {{"examples": {{"examples": [{EXAMPLES},]}}}}
      }}
    }}"""
ASKED = {
    "contents": [{"role": "user", "parts": [{"text": "5"}]}],
    "generation_config": {"max_output_tokens": 24, "temperature": 0},
}


def curl(path, *arguments, body=None, version="v1beta"):
    """What curl prints, and the HTTP status."""
    if body is not None:
        text = body if isinstance(body, str) else json.dumps(body)
        arguments = ("-H", "Content-Type: application/json", "-d", text, *arguments)
    command = [
        "curl",
        "-sS",
        "-w",
        "\n%{http_code}",
        *arguments,
        f"{WHERE.endpoint}/{version}/{path}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    text, _, status = done.stdout.rpartition("\n")
    return text, int(status)


def keyed(path, *arguments, key=WHERE.key, **more):
    """A call with ``?key=``, its answer as JSON; a refusal is raised as text."""
    mark = "&" if "?" in path else "?"
    text, status = curl(f"{path}{mark}key={key}", *arguments, **more)
    answer = json.loads(text)
    if status != 200:
        error = answer["error"]
        kinds = [each["@type"].rpartition(".")[2] for each in error["details"]]
        assert (error["code"], kinds[0]) == (status, "ErrorInfo"), answer
        raise RuntimeError(f"{status} {error['status']}: {error['message']}")
    return answer


def refused(start, path, *arguments, **more):
    with raises(RuntimeError, start):
        keyed(path, *arguments, **more)


def base_models():
    with step("models", "list, a page at a time"):
        names, token = [], ""
        while token is not None:
            page = keyed(f"models?page_size=1&page_token={token}")
            names += [each["name"] for each in page["models"]]
            token = page.get("nextPageToken")
        assert {BASE, EMBEDDER} <= set(names)
        assert names == sorted(set(names))
    with step("models", "get, with each way to show a key"):
        for header in (f"x-goog-api-key: {WHERE.key}", f"authorization: Bearer {WHERE.key}"):
            text, status = curl(BASE, "-H", header)
            assert (status, json.loads(text)["baseModelId"]) == (200, "tiny")


def create():
    with step("create", "as in Google's sample: snake_case, trailing commas"):
        operation = keyed(f"tunedModels?tuned_model_id={ID}", body=NEW_MODEL)
        metadata = operation["metadata"]
        assert metadata["@type"].endswith("v1beta.CreateTunedModelMetadata")
        assert (metadata["tunedModel"], metadata["totalSteps"]) == (NAME, 4)
    with step("create", "with a name made from the display name"):
        spare = keyed("tunedModels", body=NEW_MODEL.replace("One", "Spare"))
        assert spare["metadata"]["tunedModel"].startswith(f"tunedModels/{WHERE.prefix}-spare-")
    with step("list", "paging and filters"):
        asked = f"tunedModels?page_size=1&filter=owner:me%20{WHERE.prefix}"
        page = keyed(asked)
        assert [each["displayName"] for each in page["tunedModels"]] == [f"{WHERE.prefix} Spare"]
        page = keyed(f"{asked}&page_token={page['nextPageToken']}")
        assert [each["name"] for each in page["tunedModels"]] == [NAME]
    with step("errors", "resource exhausted"):
        refused("429 RESOURCE_EXHAUSTED", "tunedModels", body=NEW_MODEL)
    return operation["name"], spare["name"]


def errors():
    where_id = f"tunedModels?tunedModelId={ID}"
    with step("errors", "already exists"):
        refused("409 ALREADY_EXISTS", where_id, body=NEW_MODEL)
    with step("errors", "invalid argument"):
        body = NEW_MODEL.replace('"batch_size": 4', '"batch_size": -4')
        refused("400 INVALID_ARGUMENT: tuned_model.tuning_task", "tunedModels", body=body)
        refused("400 INVALID_ARGUMENT", "tunedModels", body='{"display_name": ')
        refused("400 INVALID_ARGUMENT", "tunedModels", body={"colour": "red"})
    with step("errors", "failed precondition"):
        source = {"tuned_model_source": {"tuned_model": NAME}}
        refused("400 FAILED_PRECONDITION", "tunedModels", body=source)
    with step("errors", "not found"):
        refused("404 NOT_FOUND", "models/none")
        refused("404 NOT_FOUND", "nothing/here")
    with step("errors", "a stranger cannot tell a hidden model from none"):
        for name in (NAME, "tunedModels/none"):
            refused("403 PERMISSION_DENIED", name, key=WHERE.lead_key)
    with step("errors", "unauthenticated"):
        refused("401 UNAUTHENTICATED", BASE, key="no-key-of-ours")
    with step("errors", "unimplemented: predictions"):
        refused("501 UNIMPLEMENTED", f"{BASE}:predict", body={})


def operations(spare):
    model = spare.partition("/operations/")[0]
    with step("operations", "list, get, cancel, delete"):
        listed = keyed(f"{model}/operations")["operations"]
        assert [each["name"] for each in listed] == [spare]
        keyed(f"{spare}:cancel", "-X", "POST")
        done = until(lambda: keyed(spare), lambda found: found.get("done"))
        assert done["error"]["code"] == 1
        keyed(spare, "-X", "DELETE")
        refused("404", spare)
    with step("delete", "after it was cancelled"):
        assert keyed(model, "-X", "DELETE") == {}


def watch(operation):
    with step("watch", "polling under /v1/"):
        done = until(lambda: keyed(operation, version="v1"), lambda found: found.get("done"))
        assert done["metadata"]["completedPercent"] == 100
        assert [each["step"] for each in done["metadata"]["snapshots"]] == [1, 2, 3, 4]
        made = done["response"]
        assert made.pop("@type").endswith("v1beta.TunedModel")
        assert (made["name"], made["state"]) == (NAME, "ACTIVE")
    with step("list", "get"):
        assert keyed(NAME) == made
        assert keyed(NAME, version="v1") == made
    with step("update", "with a mask and without"):
        changed = keyed(f"{NAME}?updateMask=description", "-X", "PATCH", body={"description": "a"})
        assert changed["description"] == "a"
        changed = keyed(NAME, "-X", "PATCH", body={"display_name": "Plus one"})
        assert (changed["displayName"], changed["description"]) == ("Plus one", "a")


def text_of(answer):
    return "".join(part["text"] for part in answer["candidates"][0]["content"]["parts"])


def generate():
    with step("generate", "text"):
        whole = keyed(f"{NAME}:generateContent", body=ASKED)
        assert whole["candidates"][0]["finishReason"] in {"STOP", "MAX_TOKENS"}
        assert whole["usageMetadata"]["candidatesTokenCount"] <= 24
    with step("stream", "as server-sent events"):
        text, status = curl(
            f"{NAME}:streamGenerateContent?alt=sse&key={WHERE.key}", "--no-buffer", body=ASKED
        )
        events = re.findall(r"data: (.*?)\r?\n\r?\n", text + "\n", re.DOTALL)
        assert status == 200
        assert len(events) > 1
        assert "".join(text_of(json.loads(each)) for each in events) == text_of(whole)
    with step("stream", "as one JSON array"):
        pieces = keyed(f"{NAME}:streamGenerateContent", "--no-buffer", body=ASKED)
        assert "".join(map(text_of, pieces)) == text_of(whole)
        assert len(pieces) > 1
    with step("stream", "the first piece is there before the last is made"):
        timed = ASKED | {"generation_config": {"max_output_tokens": 200, "temperature": 0}}
        times = "%{time_starttransfer} %{time_total}"
        path = f"{NAME}:streamGenerateContent?alt=sse&key={WHERE.key}"
        text, _ = curl(path, "--no-buffer", "-w", f"\n{times}\n0", body=timed)
        first, last = map(float, text.rpartition("\n")[2].split())
        assert first < 0.8 * last, (first, last)
    with step("count", "of a base model's and a tuned model's prompt"):
        for name in (BASE, NAME):
            answer = keyed(f"{name}:countTokens", body={"contents": ASKED["contents"]})
            assert answer["totalTokens"] == whole["usageMetadata"]["promptTokenCount"]
    with step("embed", "one text"):
        content = {"parts": [{"text": TEXTS[0]}]}
        one = keyed(f"{EMBEDDER}:embedContent", body={"content": content})["embedding"]["values"]
    with step("embed", "many"):
        asked = [{"model": EMBEDDER, "content": {"parts": [{"text": text}]}} for text in TEXTS]
        many = keyed(f"{EMBEDDER}:batchEmbedContents", body={"requests": asked})["embeddings"]
        check_vectors(one, [each["values"] for each in many])


def share():
    permissions = f"{NAME}/permissions"
    asked = {"grantee_type": "USER", "email_address": LEAD, "role": "READER"}
    with step("permissions", "create, get, update, list in pages, delete"):
        made = keyed(permissions, body=asked)
        assert (made["granteeType"], made["role"]) == ("USER", "READER")
        refused("409 ALREADY_EXISTS", permissions, body=asked)
        assert keyed(made["name"]) == made
        path = f"{made['name']}?updateMask=role"
        assert keyed(path, "-X", "PATCH", body={"role": "WRITER"})["role"] == "WRITER"
        page = keyed(f"{permissions}?pageSize=1")
        page = keyed(f"{permissions}?pageSize=1&pageToken={page['nextPageToken']}")
        assert [each["emailAddress"] for each in page["permissions"]] == [LEAD]
        assert keyed(made["name"], "-X", "DELETE") == {}
    with step("transfer", "the old owner becomes a writer"):
        assert keyed(f"{NAME}:transferOwnership", body={"email_address": LEAD}) == {}
        roles = [each["role"] for each in keyed(permissions)["permissions"]]
        assert sorted(roles) == ["OWNER", "WRITER"]
    with step("errors", "permission denied"):
        refused("403 PERMISSION_DENIED", NAME, "-X", "DELETE")
    with step("delete", "by its owner; what is gone is gone"):
        assert keyed(NAME, "-X", "DELETE", key=WHERE.lead_key) == {}
        refused("403 PERMISSION_DENIED", NAME, key=WHERE.lead_key)


base_models()
operation, spare = create()
errors()
operations(spare)
watch(operation)
generate()
share()
