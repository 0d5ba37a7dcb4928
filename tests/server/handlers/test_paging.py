"""Lists: pages, tokens and filters."""

from __future__ import annotations

import pytest

from tests.server.principals import make_keys, outcome, set_up
from tests.server.room import new_model, refusal
from tuner.server.api_errors import Code
from tuner.server.handlers import paging

pytestmark = pytest.mark.slow


async def test_pages_skip_and_repeat_nothing_while_models_are_added_and_deleted(room):
    for n in range(5):
        await room.create(f"m{n}")
    first = await room.call("ListTunedModels", page_size=2)
    await room.create("newer")
    await room.call("DeleteTunedModel", name="tunedModels/m2")
    token = first.next_page_token
    second = await room.call("ListTunedModels", page_size=2, page_token=token)
    assert [each.name[-2:] for each in first.tuned_models] == ["m4", "m3"]
    assert [each.name[-2:] for each in second.tuned_models] == ["m1", "m0"]
    assert not second.next_page_token


def changed(token):
    """Every token that differs in one character, but for the padding."""
    length = len(token.rstrip("="))
    return [
        token[:at] + other + token[at + 1 :]
        for at in range(length)
        for other in "Ag"
        if other != token[at]
    ]


@pytest.mark.parametrize(
    ("method", "field", "about"),
    [
        ("ListTunedModels", "tuned_models", {}),
        ("ListOperations", "operations", {"name": "tunedModels/-"}),
    ],
)
async def test_a_page_ends_before_the_response_gets_too_large(
    room, monkeypatch, method, field, about
):
    for number in range(5):
        await room.tuned(f"m{number}")
    whole = getattr(await room.call(method, **about), field)
    for most, count in ((1, 1), (2 * whole[0].ByteSize(), 2)):
        monkeypatch.setattr(paging, "MAX_BYTES", most)
        token, found = "", []
        while token or not found:
            page = await room.call(method, page_size=4, page_token=token, **about)
            assert 1 <= len(getattr(page, field)) <= count
            found += getattr(page, field)
            token = page.next_page_token
        assert found == list(whole)


async def test_a_page_token_is_refused_for_another_query_or_caller(room):
    room.key = await room.make_key("ana@x.org")
    other = await room.make_key("bob@x.org")
    for n in range(3):
        await room.create(f"m{n}")
    first = await room.call("ListTunedModels", page_size=1)
    token = first.next_page_token
    for fields in ({"key": other}, {"filter": "x"}):
        refused = await refusal(room, "ListTunedModels", page_token=token, **fields)
        assert refused.violations[0].field == "page_token"
    for wrong in ("x", "AAAA", "bnVsbA==", "é", f"{token}=", *changed(token)):
        refused = await refusal(room, "ListTunedModels", page_token=wrong)
        assert refused.violations[0].field == "page_token"
    refused = await refusal(room, "ListTunedModels", page_size=-1)
    assert refused.violations[0].field == "page_size"


async def test_a_filter_selects_by_role_and_by_words(room):
    ana, bob = await room.make_key("ana@x.org"), await room.make_key("bob@x.org")
    room.key = ana
    await room.create("own", display_name="Größe 100%", description="cats and dogs")
    await room.create("written", display_name="under_score")
    await room.create("read")
    await room.create("public", display_name="public thing")
    for name, permission in [
        ("written", {"grantee_type": "USER", "email_address": "BOB@x.org", "role": "WRITER"}),
        ("read", {"grantee_type": "USER", "email_address": "bob@x.org", "role": "READER"}),
        ("public", {"grantee_type": "EVERYONE", "role": "READER"}),
    ]:
        await room.call("CreatePermission", parent=f"tunedModels/{name}", permission=permission)
    for key, text, expected in [
        (ana, "", ["public", "read", "written", "own"]),
        *((ana, text, ["own"]) for text in ("GRÖSSE", "dogs cats", '"cats and"', "100%")),
        (ana, "dogs birds", []),
        (ana, "_", ["written"]),
        (ana, "owner:me public", ["public"]),
        (bob, "", ["read", "written"]),
        (bob, "writers:me", ["written"]),
        (bob, "readers:me", ["read"]),
        (bob, "owner:me", []),
        (bob, "readers:everyone", ["public"]),
    ]:
        found = await room.call("ListTunedModels", key=key, page_size=100, filter=text)
        names = [each.name.removeprefix("tunedModels/") for each in found.tuned_models]
        assert names == expected, text
    refused = await refusal(room, "ListTunedModels", filter="owner:ana@x.org")
    assert "owner:me" in refused.message


async def test_models_are_listed_in_pages_by_name(room):
    first = await room.call("ListModels", page_size=1)
    token = first.next_page_token
    second = await room.call("ListModels", page_token=token)
    names = [each.name for page in (first, second) for each in page.models]
    assert names == ["models/embedder", "models/tiny"]
    assert not second.next_page_token
    refused = await refusal(room, "GetModel", name="models/none")
    assert refused.code == Code.NOT_FOUND
    assert "models/tiny" in refused.message


async def test_operations_are_listed_by_model_and_for_all(room):
    done = await room.tuned("a")
    room.engine.stop_at = 1
    running = await room.create("b")
    every = await room.call("ListOperations", name="tunedModels/-")
    assert [each.name for each in every.operations] == [running.name, done.name]
    one = await room.call("ListOperations", name="tunedModels/a/operations")
    assert [each.name for each in one.operations] == [done.name]
    assert one.operations[0].HasField("response")
    assert one.operations[0].HasField("metadata")
    finished = await room.call("ListOperations", name="tunedModels/-", filter="done=true")
    assert [each.name for each in finished.operations] == [done.name]
    refused = await refusal(room, "ListOperations", name="tunedModels/-", filter="x")
    assert refused.violations[0].field == "filter"


async def test_text_that_no_database_stores_is_an_invalid_field(room):
    await room.tuned("m")
    name = "tunedModels/m"
    permission = {"email_address": "a\0@x.org", "role": "READER"}
    for method, fields in [
        ("CreateTunedModel", new_model("n", display_name="a\0b")),
        ("UpdateTunedModel", {"tuned_model": {"name": name, "description": "\0"}}),
        ("ListTunedModels", {"filter": "a\0b"}),
        ("ListTunedModels", {"filter": "x" * 60_000}),
        ("CreatePermission", {"parent": name, "permission": permission}),
        ("TransferOwnership", {"name": name, "email_address": "a\0@x.org"}),
    ]:
        refused = await refusal(room, method, **fields)
        assert refused.code == Code.INVALID_ARGUMENT, method


async def test_a_page_token_gives_no_access_to_the_list_of_another_caller(room):
    keys = await make_keys(room)
    for model_id in ("m", "n"):
        await set_up(room, model_id, "reader")
    lists = {
        "ListTunedModels": {},
        "ListOperations": {"name": "tunedModels/-"},
        "ListPermissions": {"parent": "tunedModels/m"},
    }
    for method, fields in lists.items():
        page = await room.call(method, page_size=1, **fields)
        request = fields | {"page_size": 1, "page_token": page.next_page_token}
        for who in ("writer", "stranger"):
            refused = await outcome(room, method, keys[who], request)
            is_hidden = who == "stranger" and method == "ListPermissions"
            assert refused.reason == ("HIDDEN_OR_MISSING" if is_hidden else "INVALID_FIELD")
