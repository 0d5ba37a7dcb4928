"""Every status code on every call: how often it is sent, and what becomes of the error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.ai import generativelanguage_v1beta as gl
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

from tests.fakes.grpc_server import Refusal, Script, serving
from tests.targets.test_google import CHANGES, READS, TUNABLE
from tuner.errors import (
    AlreadyExists,
    NotAllowed,
    NotFound,
    RequestRefused,
    TunerError,
    Unavailable,
)
from tuner.targets import open_target, rpc
from tuner.targets.retry import ACTIONS, Action, Call, markdown
from tuner.types import GenerationConfig, TargetConfig

Code = grpc.StatusCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tuner.targets import Target

    Question = Callable[[Target], Awaitable[Any]]

PAGE = Path(__file__).parents[2] / "docs" / "targets.md"
ERRORS = {
    Code.NOT_FOUND: NotFound,
    Code.ALREADY_EXISTS: AlreadyExists,
    Code.UNAUTHENTICATED: NotAllowed,
    Code.PERMISSION_DENIED: NotAllowed,
    Code.INVALID_ARGUMENT: RequestRefused,
    Code.FAILED_PRECONDITION: RequestRefused,
    Code.OUT_OF_RANGE: RequestRefused,
    Code.UNIMPLEMENTED: RequestRefused,
}


async def streamed(target: Target) -> list[Any]:
    return [each async for each in target.stream("models/tiny", "hi", GenerationConfig())]


EVERY: list[tuple[Call, str, Question]] = [
    *((Call.CHANGE, method, question) for method, question in CHANGES.items()),
    *(
        (Call.GENERATE if method == "GenerateContent" else Call.READ, method, question)
        for method, (question, _) in READS.items()
    ),
    (Call.READ, "ListOperations", lambda target: target.followed(["tunedModels/a/operations/1"])),
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "TUNER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rpc, "RETRY_DELAYS_S", (0.001,) * 4)


async def failed(target: Target, question: Question) -> TunerError:
    try:
        await question(target)
    except TunerError as error:
        return error
    raise AssertionError("it worked")


def refusals(refusal: Refusal) -> list[tuple[Call, str, int, TunerError]]:
    """Every call answered with this: its kind, its name, how often it was sent, the error."""

    async def asked() -> list[tuple[Call, str, int, TunerError]]:
        script = Script()
        found = []
        async with (
            serving(script) as address,
            open_target(TargetConfig("local", endpoint=address)) as target,
        ):
            for call, method, question in EVERY:
                script.calls.clear()
                script.answers = {"GetModel": [TUNABLE], method: [refusal]}
                error = await failed(target, question)
                found.append((call, method, script.count(method), error))
        return found

    return asyncio.run(asked())


def test_the_table_has_every_code_and_every_call() -> None:
    assert set(ACTIONS) == {code.name for code in Code} - {"OK"}
    assert all(set(row) == set(Call) for row in ACTIONS.values())


def test_only_unavailable_is_repeated_and_never_a_change() -> None:
    again = {
        (code, call)
        for code, row in ACTIONS.items()
        for call, action in row.items()
        if action is Action.RETRY
    }

    assert again == {("UNAVAILABLE", Call.READ), ("UNAVAILABLE", Call.GENERATE)}


def test_the_page_has_the_table() -> None:
    assert markdown() in PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("code", [Code[name] for name in ACTIONS], ids=lambda code: code.name)
def test_every_call_does_what_the_table_says(code: grpc.StatusCode) -> None:
    for call, method, times, error in refusals(Refusal(code)):
        action = ACTIONS[code.name][call]
        assert times == (5 if action is Action.RETRY else 1), (method, action)
        assert type(error) is ERRORS.get(code, Unavailable), method
        if isinstance(error, Unavailable):
            assert error.is_passing
            assert error.is_quota is (action is Action.WAIT)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.2, 60.0])
def test_every_call_out_of_quota_says_how_long_to_wait(seconds: float) -> None:
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(round(seconds * 1000))
    refusal = Refusal(
        Code.RESOURCE_EXHAUSTED, "slow down", (error_details_pb2.RetryInfo(retry_delay=delay),)
    )

    for _, method, times, error in refusals(refusal):
        assert (times, error.retry_after_s, error.is_quota) == (1, seconds, True), method


@pytest.mark.slow
@pytest.mark.parametrize("said", [0, 1])
def test_a_stream_is_repeated_only_before_its_first_piece(said: int) -> None:
    async def asked() -> None:
        script = Script()
        async with (
            serving(script) as address,
            open_target(TargetConfig("local", endpoint=address)) as target,
        ):
            for name, row in ACTIONS.items():
                code = Code[name]
                script.calls.clear()
                pieces = [gl.GenerateContentResponse()] * said
                script.answers = {"StreamGenerateContent": [[*pieces, Refusal(code)]]}
                error = await failed(target, streamed)
                is_repeated = row[Call.GENERATE] is Action.RETRY and not said
                assert len(script.calls) == (5 if is_repeated else 1), code
                assert type(error) is ERRORS.get(code, Unavailable), code

    asyncio.run(asked())
