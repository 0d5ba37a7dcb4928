"""Lists: pages, tokens and filters."""

from __future__ import annotations

import pytest

from tests.server.principals import make_keys, outcome, set_up
from tests.server.room import new_model, open_room, refusal
from tuner.server.api_errors import Code
from tuner.server.handlers import paging

pytestmark = pytest.mark.slow


async def listed(room, key=None, **fields):
    found = await room.call("ListTunedModels", key=key, page_size=100, **fields)
    return [each.name.removeprefix("tunedModels/") for each in found.tuned_models]


async def test_pages_go_through_everything_once_even_while_models_come_and_go(room):
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
async def test_a_page_ends_where_an_answer_would_be_too_large(
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


async def test_a_page_token_belongs_to_its_question_and_its_caller(room):
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


async def test_a_filter_finds_by_role_and_by_words(tmp_path):
    async def share(room, name, **permission):
        await room.call("CreatePermission", parent=f"tunedModels/{name}", permission=permission)

    async with open_room(tmp_path) as room:
        ana, bob = await room.make_key("ana@x.org"), await room.make_key("bob@x.org")
        room.key = ana
        await room.create("own", display_name="Größe 100%", description="cats and dogs")
        await room.create("written", display_name="under_score")
        await room.create("read")
        await room.create("public", display_name="public thing")
        await share(room, "written", grantee_type="USER", email_address="BOB@x.org", role="WRITER")
        await share(room, "read", grantee_type="USER", email_address="bob@x.org", role="READER")
        await share(room, "public", grantee_type="EVERYONE", role="READER")
        assert await listed(room) == ["public", "read", "written", "own"]
        assert await listed(room, filter="GRÖSSE") == ["own"]
        assert await listed(room, filter="dogs cats") == ["own"]
        assert await listed(room, filter='"cats and"') == ["own"]
        assert await listed(room, filter="dogs birds") == []
        assert await listed(room, filter="100%") == ["own"]
        assert await listed(room, filter="_") == ["written"]
        assert await listed(room, bob) == ["read", "written"]
        assert await listed(room, bob, filter="writers:me") == ["written"]
        assert await listed(room, bob, filter="readers:me") == ["read"]
        assert await listed(room, bob, filter="owner:me") == []
        assert await listed(room, bob, filter="readers:everyone") == ["public"]
        assert await listed(room, ana, filter="owner:me public") == ["public"]
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


async def test_what_no_database_takes_is_a_wrong_field_and_no_outage(room):
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


async def test_a_page_token_of_anothers_list_is_worth_nothing(room):
    keys = await make_keys(room)
    for model_id in ("m", "n"):
        await set_up(room, model_id, "reader")
    tokens = {
        method: (await room.call(method, page_size=1, **fields)).next_page_token
        for method, fields in (
            ("ListTunedModels", {}),
            ("ListOperations", {"name": "tunedModels/-"}),
            ("ListPermissions", {"parent": "tunedModels/m"}),
        )
    }
    for who in ("writer", "stranger"):
        for method, token in tokens.items():
            fields = {"page_size": 1, "page_token": token}
            fields |= {"name": "tunedModels/-"} if method == "ListOperations" else {}
            fields |= {"parent": "tunedModels/m"} if method == "ListPermissions" else {}
            refused = await outcome(room, method, keys[who], fields)
            is_hidden = who == "stranger" and method == "ListPermissions"
            assert refused.reason == ("HIDDEN_OR_MISSING" if is_hidden else "INVALID_FIELD")
