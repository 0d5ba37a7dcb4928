"""Every kind of caller, every method as a request about one model, and who may do what."""

from __future__ import annotations

from tests.server.room import new_model
from tuner.engine import TINY
from tuner.server.access import new_key
from tuner.server.api_errors import ApiError
from tuner.server.store import permissions

NAME = "tunedModels/NAME"
CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]
PASSAGES = {"passages": [{"id": "1", "content": CONTENTS[0]}]}
REQUESTS = {
    "GetTunedModel": {"name": NAME},
    "UpdateTunedModel": {"tuned_model": {"name": NAME, "description": "d"}},
    "DeleteTunedModel": {"name": NAME},
    "CreatePermission": {
        "parent": NAME,
        "permission": {"grantee_type": "USER", "email_address": "new@x.org", "role": "READER"},
    },
    "GetPermission": {"name": f"{NAME}/permissions/PERMISSION"},
    "ListPermissions": {"parent": NAME},
    "UpdatePermission": {
        "permission": {"name": f"{NAME}/permissions/PERMISSION", "role": "WRITER"}
    },
    "DeletePermission": {"name": f"{NAME}/permissions/PERMISSION"},
    "TransferOwnership": {"name": NAME, "email_address": "new@x.org"},
    "GenerateContent": {"model": NAME, "contents": CONTENTS},
    "StreamGenerateContent": {"model": NAME, "contents": CONTENTS},
    "CountTokens": {"model": NAME, "contents": CONTENTS},
    "GenerateAnswer": {
        "model": NAME,
        "contents": CONTENTS,
        "inline_passages": PASSAGES,
        "answer_style": "VERBOSE",
    },
    "GetOperation": {"name": "OPERATION"},
    "ListOperations": {"name": NAME},
    "WaitOperation": {"name": "OPERATION"},
    "CancelOperation": {"name": "OPERATION"},
    "DeleteOperation": {"name": "OPERATION"},
    "EmbedContent": {"model": NAME, "content": CONTENTS[0]},
    "BatchEmbedContents": {"model": NAME, "requests": [{"content": CONTENTS[0]}]},
    "CreateTunedModel": {},  # made by request_for
    "ListModels": {},
    "GetModel": {"name": TINY.name},
    "ListTunedModels": {},
}
OPEN = {"ListModels", "GetModel", "ListTunedModels"}
EMBEDS = {"EmbedContent", "BatchEmbedContents"}  # tuned models do not, and say so to who may know
READS = {
    *("GetTunedModel", "GenerateContent", "StreamGenerateContent", "CountTokens"),
    *("GenerateAnswer", "GetOperation", "ListOperations", "WaitOperation", "CreateTunedModel"),
    *EMBEDS,
}
OWNS = {"DeleteTunedModel", "TransferOwnership"}
WRITES = set(REQUESTS) - READS - OWNS - OPEN
MAY = {
    "owner": READS | WRITES | OWNS | OPEN,
    "writer": READS | WRITES | OPEN,
    "reader": READS | OPEN,
    "group writer": READS | WRITES | OPEN,
    "group reader": READS | OPEN,
    "everyone": READS | OPEN,
    "stranger": OPEN,
    "no key": set(),
    "revoked key": set(),
    "unknown key": set(),
    "wrong key": set(),
}
EMAILS = {
    "owner": "owner@x.org",
    "writer": "Writer@X.org",
    "reader": "reader@x.org",
    "group writer": "boss@x.org",
    "group reader": "member@x.org",
    "everyone": "anybody@x.org",
    "stranger": "stranger@x.org",
}
GRANTS = [
    ("USER", "writer@x.org", "WRITER"),
    ("USER", "reader@x.org", "READER"),
    ("GROUP", "bosses@x.org", "WRITER"),
    ("GROUP", "team@x.org", "READER"),
]


async def make_keys(room):
    keys = {name: await room.make_key(email) for name, email in EMAILS.items()}
    await room.make_group("team@x.org", "member@x.org", "boss@x.org")
    await room.make_group("bosses@x.org", "boss@x.org")
    unknown, _ = new_key("owner@x.org", 1)
    keys |= {"no key": "", "unknown key": unknown, "wrong key": _other_secret(keys["owner"])}
    keys["revoked key"] = await room.make_key("owner@x.org")
    await room.service.store.write(permissions.revoke_key, keys["revoked key"][3:13], 1)
    room.key = keys["owner"]
    return keys


def _other_secret(key):
    """The id is that of a good key."""
    return key[:-1] + ("a" if key[-1] != "a" else "b")


async def set_up(room, model_id, who):
    """A finished model of the owner's, shared; what to put for the capitals in REQUESTS."""
    operation = await room.tuned(model_id)
    everyone = [("EVERYONE", None, "READER")] if who == "everyone" else []
    for kind, email, role in GRANTS + everyone:
        permission = {"grantee_type": kind, "email_address": email, "role": role}
        parent = f"tunedModels/{model_id}"
        made = await room.call("CreatePermission", parent=parent, permission=permission)
    permission = made.name.rpartition("/")[2]
    ids = {"NAME": model_id, "OPERATION": operation.name, "PERMISSION": permission}
    return ids | {"MODEL": f"tunedModels/{model_id}"}


def filled(value, names):
    if isinstance(value, dict):
        return {key: filled(each, names) for key, each in value.items()}
    if isinstance(value, str):
        for sign, name in names.items():
            value = value.replace(sign, name)
    return value


def request_for(name, names):
    if name == "CreateTunedModel":
        source = {"tuned_model": f"tunedModels/{names['NAME']}"}
        return new_model(None, tuned_model_source=source)
    return filled(REQUESTS[name], names)


async def outcome(room, method_name, key, fields):
    try:
        await room.call(method_name, key=key, **fields)
    except ApiError as refused:
        return refused
    return None
