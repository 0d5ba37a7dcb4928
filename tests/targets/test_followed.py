"""One listing that follows many operations, against a real gRPC server that counts the calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from google.ai import generativelanguage_v1beta as gl
from google.longrunning import operations_pb2

from tests.fakes.grpc_server import Script, serving
from tuner.errors import RequestRefused
from tuner.targets import open_target, protos
from tuner.targets.google import OperationCache
from tuner.types import Feature, TargetConfig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tuner.targets import Target

MODEL = "tunedModels/a-1"


def raw(number: int, steps: int = 1, *, done: bool = False) -> operations_pb2.Operation:
    name = f"tunedModels/a-{number}"
    found = operations_pb2.Operation(name=f"{name}/operations/1", done=done)
    metadata = gl.CreateTunedModelMetadata.pb()(tuned_model=name, total_steps=9)
    for step in range(1, steps + 1):
        metadata.snapshots.add(step=step, epoch=1, mean_loss=1 / step)
    found.metadata.Pack(metadata)
    return found


def name(number: int) -> str:
    return f"tunedModels/a-{number}/operations/1"


def page(*numbers: int, token: str = "") -> operations_pb2.ListOperationsResponse:
    operations = [raw(number) for number in numbers]
    return operations_pb2.ListOperationsResponse(operations=operations, next_page_token=token)


def ask(script: Script, question: Callable[[Target], Awaitable[Any]], kind: str = "local") -> Any:
    async def asked() -> Any:
        async with (
            serving(script) as address,
            open_target(TargetConfig(kind, endpoint=address)) as target,
        ):
            return await question(target)

    return asyncio.run(asked())


@pytest.mark.slow
def test_pages_are_read_until_all_are_seen_and_no_further() -> None:
    script = Script({"ListOperations": [page(9, 8, token="2"), page(7, 6, token="3"), page(5)]})

    found = ask(script, lambda target: target.followed([name(9), name(6)]))

    assert sorted(found) == [name(6), name(9)]
    assert script.count("ListOperations") == 2


@pytest.mark.slow
def test_what_is_on_the_first_page_takes_one_page() -> None:
    script = Script({"ListOperations": [page(9, 8, token="2"), page(7)]})

    assert list(ask(script, lambda target: target.followed([name(8)]))) == [name(8)]
    assert script.count("ListOperations") == 1


@pytest.mark.slow
def test_what_is_not_on_the_first_pages_is_left_out() -> None:
    script = Script({"ListOperations": [page(9, token="more")]})

    assert ask(script, lambda target: target.followed([name(1)])) == {}
    assert script.count("ListOperations") == 3


@pytest.mark.slow
def test_a_first_page_is_short_until_that_is_not_enough() -> None:
    answers = [page(9, 8), page(9, token="2"), page(8), page(9, 8)]
    script = Script({"ListOperations": answers})

    async def thrice(target: Target) -> None:
        for _ in range(3):
            await target.followed([name(9), name(8)])

    ask(script, thrice)

    asked = [operations_pb2.ListOperationsRequest.FromString(each.request) for each in script.calls]
    assert [each.page_size for each in asked] == [24, 24, 1000, 1000]


@pytest.mark.slow
def test_where_no_listing_is_known_nothing_is_sent() -> None:
    script = Script({"ListOperations": [page(1)]})

    with pytest.raises(RequestRefused, match="one tuned model at a time"):
        ask(script, lambda target: target.followed([name(1)]), "gemini")

    assert script.calls == []


@pytest.mark.slow
def test_a_service_without_the_method_refuses() -> None:
    with pytest.raises(RequestRefused):
        ask(Script(), lambda target: target.followed([name(1)]))


def test_what_has_not_changed_is_the_very_same_object() -> None:
    seen = OperationCache()
    first = seen.read([raw(1), raw(2)], {name(1), name(2)})

    again = seen.read([raw(1), raw(2, 2), raw(3)], {name(1), name(2)})

    assert again[name(1)] is first[name(1)]
    assert again[name(2)].completed_steps == 2
    assert set(again) == {name(1), name(2)}


def test_the_end_is_news_even_when_nothing_else_changed() -> None:
    seen = OperationCache()
    seen.read([raw(1)], {name(1)})

    assert seen.read([raw(1, done=True)], {name(1)})[name(1)].done


def test_what_is_no_longer_asked_for_is_forgotten() -> None:
    seen = OperationCache()
    first = seen.read([raw(1)], {name(1)})[name(1)]

    seen.keep({name(2)})

    assert seen.read([raw(1)], {name(1)})[name(1)] is not first


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_further_snapshots_read_like_all_of_them(steps: int) -> None:
    known = protos.operation(raw(1, 2))

    assert protos.operation(raw(1, steps), known) == protos.operation(raw(1, steps))


def test_snapshots_that_were_thinned_out_are_read_anew() -> None:
    known, thinned = protos.operation(raw(1, 2)), raw(1, 0)
    metadata = gl.CreateTunedModelMetadata.pb()()
    for step in (1, 3, 4):
        metadata.snapshots.add(step=step, epoch=1, mean_loss=1.0)
    thinned.metadata.Pack(metadata)

    assert [each.step for each in protos.operation(thinned, known).snapshots] == [1, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "caller"), [("TUNER_API_KEY", "TUNER_API_KEY"), ("", "no credentials")]
)
def test_the_caller_is_where_the_key_was_found(
    monkeypatch: pytest.MonkeyPatch, variable: str, caller: str
) -> None:
    monkeypatch.delenv("TUNER_API_KEY", raising=False)
    if variable:
        monkeypatch.setenv(variable, "secret")

    async def who(target: Target) -> tuple[str, dict[Feature, str]]:
        return target.caller, dict(target.lacks)

    assert ask(Script(), who) == (caller, {})


@pytest.mark.slow
def test_a_key_at_googles_endpoint_cannot_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "secret")

    async def lacks() -> dict[Feature, str]:
        async with open_target(TargetConfig("gemini")) as target:
            return dict(target.lacks)

    assert set(asyncio.run(lacks())) == {
        Feature.CHAINING,
        Feature.LISTING,
        Feature.SHARING,
        Feature.TRANSFER,
    }
