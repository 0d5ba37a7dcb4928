"""The v1beta client against a real gRPC server that says what each test has it say."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.ai import generativelanguage_v1beta as gl
from google.longrunning import operations_pb2
from google.protobuf import duration_pb2, empty_pb2
from google.rpc import error_details_pb2

from tests.fakes.grpc_server import Refusal, Script, serving
from tuner.errors import (
    AlreadyExists,
    NotAllowed,
    NotFound,
    RequestRefused,
    TunerError,
    Unavailable,
)
from tuner.targets import open_target, rpc
from tuner.types import (
    Example,
    GenerationConfig,
    Grant,
    NewTunedModel,
    Role,
    TargetConfig,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tuner.targets import Target

pytestmark = pytest.mark.slow

Code = grpc.StatusCode
MODEL = "tunedModels/a-1"
PERMISSION = f"{MODEL}/permissions/p1"
NEW = NewTunedModel("a-1", (Example("1", "2"),), base_model="models/tiny")
TUNABLE = gl.Model(name="models/tiny", supported_generation_methods=["createTunedModel"])
CHANGES: dict[str, Callable[[Target], Awaitable[Any]]] = {
    "CreateTunedModel": lambda target: target.create(NEW),
    "UpdateTunedModel": lambda target: target.update(MODEL, {"display_name": "x"}),
    "DeleteTunedModel": lambda target: target.delete(MODEL),
    "CancelOperation": lambda target: target.cancel(f"{MODEL}/operations/1"),
    "CreatePermission": lambda target: target.grant(MODEL, Grant(Role.READER, email_address="a@b")),
    "UpdatePermission": lambda target: target.change_role(PERMISSION, Role.WRITER),
    "DeletePermission": lambda target: target.revoke(PERMISSION),
    "TransferOwnership": lambda target: target.transfer(MODEL, "a@b"),
}
READS: dict[str, tuple[Callable[[Target], Awaitable[Any]], Any]] = {
    "ListModels": (lambda target: target.models(), gl.ListModelsResponse()),
    "GetModel": (lambda target: target.model("models/tiny"), gl.Model()),
    "ListTunedModels": (lambda target: target.tuned_models(), gl.ListTunedModelsResponse()),
    "GetTunedModel": (lambda target: target.tuned_model(MODEL), gl.TunedModel()),
    "GetOperation": (
        lambda target: target.operation(f"{MODEL}/operations/1"),
        operations_pb2.Operation(),
    ),
    "ListOperations": (
        lambda target: target.operations(MODEL),
        operations_pb2.ListOperationsResponse(),
    ),
    "ListPermissions": (lambda target: target.permissions(MODEL), gl.ListPermissionsResponse()),
    "GenerateContent": (
        lambda target: target.generate(MODEL, "hi", GenerationConfig()),
        gl.GenerateContentResponse(),
    ),
}


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "TUNER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rpc, "RETRY_DELAYS_S", (0.01, 0.01))


def ask(script: Script, question: Callable[[Target], Awaitable[Any]], kind: str = "gemini") -> Any:
    async def asked() -> Any:
        async with (
            serving(script) as address,
            open_target(TargetConfig(kind, endpoint=address)) as target,
        ):
            return await question(target)

    return asyncio.run(asked())


def refused(refusal: Refusal, error: type[TunerError], kind: str = "gemini") -> TunerError:
    with pytest.raises(error) as caught:
        ask(Script({"GetTunedModel": [refusal]}), lambda target: target.tuned_model(MODEL), kind)
    return caught.value


@pytest.mark.parametrize("method", CHANGES)
def test_a_change_is_sent_once_even_when_the_service_is_unavailable(method: str) -> None:
    script = Script({"GetModel": [TUNABLE], method: [Refusal(Code.UNAVAILABLE)]})

    with pytest.raises(Unavailable):
        ask(script, CHANGES[method])

    assert script.count(method) == 1


@pytest.mark.parametrize("method", READS)
def test_a_read_is_tried_again_while_the_service_is_unavailable(method: str) -> None:
    question, answer = READS[method]
    script = Script({method: [Refusal(Code.UNAVAILABLE), Refusal(Code.UNAVAILABLE), answer]})

    ask(script, question)

    assert script.count(method) == 3


def test_a_read_gives_up_in_the_end() -> None:
    script = Script({"GetModel": [Refusal(Code.UNAVAILABLE, "going down")]})

    with pytest.raises(Unavailable, match="going down"):
        ask(script, lambda target: target.model("models/tiny"))

    assert script.count("GetModel") == 3


@pytest.mark.parametrize(
    "code", [code for code in Code if code not in (Code.OK, Code.UNAVAILABLE)], ids=str
)
def test_nothing_but_unavailable_is_tried_again(code: grpc.StatusCode) -> None:
    script = Script({"GetModel": [Refusal(code)]})

    with pytest.raises(TunerError):
        ask(script, lambda target: target.model("models/tiny"))

    assert script.count("GetModel") == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (Code.NOT_FOUND, NotFound),
        (Code.ALREADY_EXISTS, AlreadyExists),
        (Code.INVALID_ARGUMENT, RequestRefused),
        (Code.FAILED_PRECONDITION, RequestRefused),
        (Code.UNIMPLEMENTED, RequestRefused),
        (Code.PERMISSION_DENIED, NotAllowed),
        (Code.UNAUTHENTICATED, NotAllowed),
        (Code.RESOURCE_EXHAUSTED, Unavailable),
        (Code.DEADLINE_EXCEEDED, Unavailable),
        (Code.ABORTED, Unavailable),
        (Code.INTERNAL, Unavailable),
        (Code.UNKNOWN, Unavailable),
    ],
    ids=str,
)
def test_every_code_has_its_error(code: grpc.StatusCode, error: type[TunerError]) -> None:
    assert type(refused(Refusal(code), TunerError)) is error


def test_a_model_hidden_from_us_counts_as_not_there() -> None:
    hidden = Refusal(Code.PERMISSION_DENIED, "You have no permission or it may not exist")

    refused(hidden, NotFound)


def test_the_services_own_words_reach_the_user() -> None:
    assert "says no" in refused(Refusal(Code.PERMISSION_DENIED), NotAllowed).what


def test_every_violated_field_is_listed() -> None:
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field="display_name", description="too long"),
        error_details_pb2.BadRequest.FieldViolation(field="top_p", description="is above 1"),
    ]
    detail = error_details_pb2.BadRequest(field_violations=violations)

    error = refused(Refusal(Code.INVALID_ARGUMENT, "two mistakes", (detail,)), RequestRefused)

    assert error.what == "two mistakes\n  display_name: too long\n  top_p: is above 1"


def test_out_of_quota_says_how_long_to_wait() -> None:
    delay = duration_pb2.Duration(seconds=7, nanos=500_000_000)
    detail = error_details_pb2.RetryInfo(retry_delay=delay)

    error = refused(Refusal(Code.RESOURCE_EXHAUSTED, "slow down", (detail,)), Unavailable)

    assert isinstance(error, Unavailable)
    assert error.retry_after_s == 7.5


def test_a_wrong_key_is_not_a_wrong_request() -> None:
    detail = error_details_pb2.ErrorInfo(reason="API_KEY_INVALID")

    refused(Refusal(Code.INVALID_ARGUMENT, "API key not valid", (detail,)), NotAllowed)


@pytest.mark.parametrize("kind", ["gemini", "local"])
def test_the_api_key_travels_with_every_call(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    variable = "TUNER_API_KEY" if kind == "local" else "GEMINI_API_KEY"
    monkeypatch.setenv(variable, "secret")
    script = Script({method: [answer] for method, (_, answer) in READS.items()})
    script.answers |= {"CancelOperation": [empty_pb2.Empty()]}

    for question, _ in READS.values():
        ask(script, question, kind)
    ask(script, CHANGES["CancelOperation"], kind)

    assert {call.metadata.get("x-goog-api-key") for call in script.calls} == {"secret"}
    assert len(script.calls) == len(READS) + 1


def test_polling_names_the_operation_for_routing() -> None:
    script = Script({"GetOperation": [operations_pb2.Operation()]})

    ask(script, READS["GetOperation"][0])

    assert script.calls[0].metadata["x-goog-request-params"] == f"name={MODEL}/operations/1"


def test_a_listing_reads_every_page() -> None:
    pages = [
        gl.ListTunedModelsResponse(tuned_models=[{"name": "tunedModels/a"}], next_page_token="2"),
        gl.ListTunedModelsResponse(next_page_token="3"),
        gl.ListTunedModelsResponse(tuned_models=[{"name": "tunedModels/b"}]),
    ]
    script = Script({"ListTunedModels": [*pages]})

    found = ask(script, lambda target: target.tuned_models("owner:me"))

    assert [model.name for model in found] == ["tunedModels/a", "tunedModels/b"]
    sent = [gl.ListTunedModelsRequest.deserialize(call.request) for call in script.calls]
    assert [(each.page_token, each.filter) for each in sent] == [
        ("", "owner:me"),
        ("2", "owner:me"),
        ("3", "owner:me"),
    ]


def test_a_page_that_fails_is_read_again_and_no_page_twice() -> None:
    pages = [
        operations_pb2.ListOperationsResponse(
            operations=[operations_pb2.Operation(name="a")], next_page_token="2"
        ),
        Refusal(Code.UNAVAILABLE),
        operations_pb2.ListOperationsResponse(operations=[operations_pb2.Operation(name="b")]),
    ]

    found = ask(Script({"ListOperations": pages}), lambda target: target.operations(MODEL))

    assert [operation.name for operation in found] == ["a", "b"]


def test_nothing_is_created_from_a_base_model_that_cannot_be_tuned() -> None:
    fixed = gl.Model(name="models/tiny", supported_generation_methods=["generateContent"])
    script = Script({"GetModel": [fixed], "ListModels": [gl.ListModelsResponse(models=[TUNABLE])]})

    with pytest.raises(RequestRefused, match="cannot tune models/tiny") as caught:
        ask(script, lambda target: target.create(NEW))

    assert "models/tiny" in caught.value.fix
    assert script.count("CreateTunedModel") == 0


def test_an_unknown_base_model_is_answered_with_those_that_can_be_tuned() -> None:
    offered = gl.ListModelsResponse(models=[gl.Model(TUNABLE, name="models/other")])
    script = Script({"GetModel": [Refusal(Code.NOT_FOUND)], "ListModels": [offered]})

    with pytest.raises(NotFound) as caught:
        ask(script, lambda target: target.create(NEW))

    assert "models/other" in caught.value.fix


def test_a_stream_is_passed_on_piece_by_piece() -> None:
    pieces = [_piece("Hel"), _piece("lo"), _piece("", "STOP")]

    found = ask(Script({"StreamGenerateContent": [pieces]}), _streamed)

    assert [(answer.text, answer.finish_reason) for answer in found] == [
        ("Hel", ""),
        ("lo", ""),
        ("", "STOP"),
    ]


def test_a_stream_that_breaks_is_an_error_in_our_words() -> None:
    pieces = [_piece("Hel"), Refusal(Code.INTERNAL, "the worker died")]

    with pytest.raises(Unavailable, match="the worker died"):
        ask(Script({"StreamGenerateContent": [pieces]}), _streamed)


def test_a_request_that_is_too_large_is_refused_and_not_called_a_quota() -> None:
    new = NewTunedModel("a-1", (Example("x" * 70_000_000, ""),), base_model="models/tiny")

    with pytest.raises(RequestRefused, match="larger"):
        ask(Script({"GetModel": [TUNABLE]}), lambda target: target.create(new))


def test_a_port_where_nobody_listens_is_unavailable() -> None:
    async def asked() -> None:
        async with serving(Script()) as gone:
            pass
        async with open_target(TargetConfig("gemini", endpoint=gone)) as target:
            await target.models()

    with pytest.raises(Unavailable, match="refused"):
        asyncio.run(asked())


async def _streamed(target: Target) -> list[Any]:
    return [answer async for answer in target.stream(MODEL, "hi", GenerationConfig())]


def _piece(text: str, reason: str = "FINISH_REASON_UNSPECIFIED") -> gl.GenerateContentResponse:
    candidate = {"content": {"parts": [{"text": text}]}, "finish_reason": reason}
    return gl.GenerateContentResponse(candidates=[candidate])


def test_a_base_model_is_looked_at_once_for_all_jobs_that_begin_together() -> None:
    script = Script({"GetModel": [TUNABLE], "CreateTunedModel": [operations_pb2.Operation()]})

    async def many(target: Target) -> None:
        await asyncio.gather(*(target.create(replace(NEW, id=f"a-{n}")) for n in range(9)))

    ask(script, many)

    assert (script.count("GetModel"), script.count("CreateTunedModel")) == (1, 9)
