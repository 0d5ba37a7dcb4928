"""What every target promises: the one in memory, and the real client with the real service."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.target import ME, FakeTarget
from tuner.errors import AlreadyExists, NotAllowed, NotFound, RequestRefused, TunerError
from tuner.targets import open_target
from tuner.types import (
    Example,
    GenerationConfig,
    Grant,
    GranteeType,
    Hyperparameters,
    NewTunedModel,
    Operation,
    Permission,
    Role,
    State,
    TargetConfig,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from tuner.targets import Target

    Ask = Callable[[Callable[[Target], Awaitable[Any]]], Any]

START_S = 60.0
END_S = 120.0
ANA = "ana@example.com"
READER = Grant(Role.READER, email_address=ANA)
FEW_STEPS = Hyperparameters(epoch_count=1, batch_size=4, learning_rate=1e-3)
MANY_STEPS = Hyperparameters(epoch_count=500, batch_size=4, learning_rate=2e-4)
_ids = count(1)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real service, with a small base model and a home of its own."""
    home: Path = tmp_path_factory.mktemp("home")
    command = [sys.executable, "-m", "tuner", "serve", "--grpc", "127.0.0.1:0"]
    command += ["--home", str(home), "--base-model", "tiny=builtin:tiny"]
    with (home / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            yield _address(home, process)
        finally:
            process.terminate()


def _address(home: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if (file := home / "service" / "address.json").exists():
            return str(json.loads(file.read_text())["grpc"])
    pytest.fail(f"the service did not start: {(home / 'log').read_text()}")


@pytest.fixture(params=["fake", pytest.param("service", marks=pytest.mark.slow)])
def ask(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask a target something; each test has a target of its own, the service is shared."""
    monkeypatch.delenv("TUNER_API_KEY", raising=False)
    fake = FakeTarget(looks_until_done=4)
    config = None
    if request.param == "service":
        config = TargetConfig("local", endpoint=request.getfixturevalue("endpoint"))

    @asynccontextmanager
    async def opened() -> AsyncIterator[Target]:
        if config is None:
            yield fake
            return
        async with open_target(config) as target:
            yield target

    def asked(question: Callable[[Target], Awaitable[Any]]) -> Any:
        async def answered() -> Any:
            async with opened() as target:
                return await question(target)

        return asyncio.run(answered())

    return asked


def new(**fields: Any) -> NewTunedModel:
    """A tuned model with an id that no other test has; it tunes for long."""
    examples = tuple(Example(str(number), str(number + 1)) for number in range(8))
    chosen = {"base_model": "models/tiny", "hyperparameters": MANY_STEPS} | fields
    return NewTunedModel(f"contract-{next(_ids)}", examples, **chosen)


async def end(target: Target, operation: Operation) -> Operation:
    """Wait for an operation to end."""
    deadline = time.monotonic() + END_S
    while not operation.done and time.monotonic() < deadline:
        operation = await target.operation(operation.name)
        await asyncio.sleep(0.02)
    return operation


async def refusal(call: Awaitable[Any]) -> type[TunerError] | None:
    """The error a call ends in, None when it works."""
    try:
        await call
    except TunerError as error:
        return type(error)
    return None


async def held_by(target: Target, tuned_model: str) -> dict[str, Role]:
    """Address: role, of everybody with access."""
    permissions = await target.permissions(tuned_model)
    return {each.grant.email_address: each.grant.role for each in permissions}


def test_base_models_say_what_they_can_do(ask: Ask) -> None:
    models = {each.name: each for each in ask(lambda target: target.models())}

    assert "createTunedModel" in models["models/tiny"].supported_generation_methods
    assert ask(lambda target: target.model("models/tiny")) == models["models/tiny"]


def test_a_base_model_that_is_not_there_is_not_found(ask: Ask) -> None:
    assert ask(lambda target: refusal(target.model("models/none"))) is NotFound


def test_a_model_is_being_created_as_asked(ask: Ask) -> None:
    wanted = new(display_name="Numbers", description="one more", temperature=0.7, top_p=0.9)

    async def made(target: Target) -> None:
        operation = await target.create(wanted)
        model = await target.tuned_model(wanted.name)
        await target.delete(wanted.name)

        assert operation.tuned_model == wanted.name
        assert operation.name.startswith(f"{wanted.name}/operations/")
        assert not operation.done
        assert operation.total_steps > 0
        assert model.state is State.CREATING
        for field in ("base_model", "display_name", "description", "temperature", "top_p"):
            assert getattr(model, field) == getattr(wanted, field)
        assert model.hyperparameters == MANY_STEPS

    ask(made)


def test_an_id_is_taken_once(ask: Ask) -> None:
    wanted = new()

    async def twice(target: Target) -> type[TunerError] | None:
        await target.create(wanted)
        second = await refusal(target.create(wanted))
        await target.delete(wanted.name)
        return second

    assert ask(twice) is AlreadyExists


def test_what_cannot_be_tuned_is_refused_and_nothing_is_made(ask: Ask) -> None:
    wanted = new(base_model="models/none")

    async def tried(target: Target) -> tuple[type[TunerError] | None, type[TunerError] | None]:
        return await refusal(target.create(wanted)), await refusal(target.tuned_model(wanted.name))

    assert ask(tried) == (NotFound, NotFound)


def test_a_tuning_reports_its_steps_and_ends_in_a_model_that_answers(ask: Ask) -> None:
    wanted = new(hyperparameters=FEW_STEPS)
    greedy = GenerationConfig(max_output_tokens=4, temperature=0.0, seed=1)

    async def tuned(target: Target) -> None:
        ended = await end(target, await target.create(wanted))
        model = await target.tuned_model(wanted.name)
        answer = await target.generate(wanted.name, "1", greedy)
        pieces = [piece async for piece in target.stream(wanted.name, "1", greedy)]
        await target.delete(wanted.name)

        assert (ended.done, ended.error, ended.cancelled) == (True, "", False)
        assert ended.completed_steps == ended.total_steps
        assert [each.step for each in ended.snapshots] == sorted(
            {each.step for each in ended.snapshots}
        )
        assert ended.snapshots[-1].step == ended.total_steps
        assert all(each.mean_loss > 0 for each in ended.snapshots)
        assert (model.state, model.snapshots) == (State.ACTIVE, ended.snapshots)
        assert "".join(piece.text for piece in pieces) == answer.text
        assert pieces[-1].finish_reason == answer.finish_reason != ""

    ask(tuned)


def test_a_model_that_is_still_tuning_does_not_answer(ask: Ask) -> None:
    wanted = new()

    async def asked(target: Target) -> type[TunerError] | None:
        await target.create(wanted)
        error = await refusal(target.generate(wanted.name, "1", GenerationConfig()))
        await target.delete(wanted.name)
        return error

    assert ask(asked) is RequestRefused


def test_a_cancelled_operation_ends_as_cancelled_and_its_model_as_failed(ask: Ask) -> None:
    wanted = new()

    async def cancelled(target: Target) -> tuple[Operation, State]:
        operation = await target.create(wanted)
        await target.cancel(operation.name)
        ended = await end(target, operation)
        model = await target.tuned_model(wanted.name)
        await target.delete(wanted.name)
        return ended, model.state

    ended, state = ask(cancelled)

    assert (ended.done, ended.cancelled, bool(ended.error)) == (True, True, True)
    assert state is State.FAILED


def test_operations_are_listed_for_one_model_and_for_all(ask: Ask) -> None:
    wanted = new()

    async def listed(target: Target) -> tuple[str, list[str], list[str]]:
        operation = await target.create(wanted)
        one = [each.name for each in await target.operations(wanted.name)]
        every = [each.name for each in await target.operations("tunedModels/-")]
        await target.delete(wanted.name)
        return operation.name, one, every

    name, one, every = ask(listed)

    assert one == [name]
    assert name in every


def test_what_is_not_there_is_not_found(ask: Ask) -> None:
    async def tried(target: Target) -> set[type[TunerError] | None]:
        missing = "tunedModels/none"
        return {
            await refusal(target.tuned_model(missing)),
            await refusal(target.operation(f"{missing}/operations/none")),
            await refusal(target.permissions(missing)),
            await refusal(target.delete(missing)),
            await refusal(target.update(missing, {"display_name": "x"})),
            await refusal(target.generate(missing, "1", GenerationConfig())),
        }

    assert ask(tried) == {NotFound}


def test_a_model_is_found_by_words_of_its_display_name(ask: Ask) -> None:
    wanted = new(display_name="Xylophone tunes")

    async def listed(target: Target) -> list[bool]:
        await target.create(wanted)
        queries = ("", "Xylophone", "owner:me", "saxophone", "readers:me")
        found = [
            wanted.name in [each.name for each in await target.tuned_models(query)]
            for query in queries
        ]
        await target.delete(wanted.name)
        return found

    assert ask(listed) == [True, True, True, False, False]


def test_an_update_changes_what_it_names_and_nothing_else(ask: Ask) -> None:
    wanted = new(display_name="Before", description="stays")

    async def updated(target: Target) -> None:
        await target.create(wanted)
        answer = await target.update(wanted.name, {"display_name": "After", "top_k": 7})
        model = await target.tuned_model(wanted.name)
        await target.delete(wanted.name)

        assert (model.display_name, model.description, model.top_k) == ("After", "stays", 7)
        assert answer.display_name == "After"

    ask(updated)


def test_a_deleted_model_is_gone_with_its_operations(ask: Ask) -> None:
    wanted = new()

    async def deleted(target: Target) -> tuple[type[TunerError] | None, type[TunerError] | None]:
        operation = await target.create(wanted)
        await target.delete(wanted.name)
        return (
            await refusal(target.tuned_model(wanted.name)),
            await refusal(target.operation(operation.name)),
        )

    assert ask(deleted) == (NotFound, NotFound)


def test_who_creates_a_model_owns_it(ask: Ask) -> None:
    wanted = new()

    async def shared(target: Target) -> list[Permission]:
        await target.create(wanted)
        permissions = await target.permissions(wanted.name)
        await target.delete(wanted.name)
        return list(permissions)

    [owner] = ask(shared)

    assert owner.grant.role is Role.OWNER
    assert owner.grant.email_address in (ME, "owner@localhost")


def test_a_grant_is_held_changed_and_revoked_by_its_name(ask: Ask) -> None:
    wanted = new()

    async def shared(target: Target) -> None:
        await target.create(wanted)
        granted = await target.grant(wanted.name, READER)
        assert granted.grant == READER
        assert granted in await target.permissions(wanted.name)

        changed = await target.change_role(granted.name, Role.WRITER)
        assert (changed.name, changed.grant.role) == (granted.name, Role.WRITER)
        assert (await held_by(target, wanted.name))[ANA] is Role.WRITER

        await target.revoke(granted.name)
        assert ANA not in await held_by(target, wanted.name)
        assert await refusal(target.revoke(granted.name)) is NotFound
        await target.delete(wanted.name)

    ask(shared)


@pytest.mark.parametrize(
    "grant",
    [
        READER,
        Grant(Role.WRITER, email_address=ANA.upper()),
        Grant(Role.READER, GranteeType.USER, ANA),
    ],
    ids=["the same", "another role, in capitals", "the same again"],
)
def test_a_grantee_has_one_permission(ask: Ask, grant: Grant) -> None:
    wanted = new()

    async def shared(target: Target) -> type[TunerError] | None:
        await target.create(wanted)
        await target.grant(wanted.name, READER)
        second = await refusal(target.grant(wanted.name, grant))
        await target.delete(wanted.name)
        return second

    assert ask(shared) is AlreadyExists


def test_everyone_and_groups_can_be_granted(ask: Ask) -> None:
    wanted = new()
    grants = [
        Grant(Role.READER, GranteeType.EVERYONE),
        Grant(Role.WRITER, GranteeType.GROUP, "team@example.com"),
    ]

    async def shared(target: Target) -> list[Grant]:
        await target.create(wanted)
        for grant in grants:
            await target.grant(wanted.name, grant)
        listed = [each.grant for each in await target.permissions(wanted.name)]
        await target.delete(wanted.name)
        return listed

    assert [grant for grant in ask(shared) if grant.role is not Role.OWNER] == grants


def test_ownership_changes_by_a_transfer_only(ask: Ask) -> None:
    wanted = new()

    async def tried(target: Target) -> set[type[TunerError] | None]:
        await target.create(wanted)
        [owner] = await target.permissions(wanted.name)
        granted = await target.grant(wanted.name, READER)
        refusals = {
            await refusal(target.grant(wanted.name, Grant(Role.OWNER, email_address="b@c.de"))),
            await refusal(target.change_role(granted.name, Role.OWNER)),
            await refusal(target.change_role(owner.name, Role.READER)),
            await refusal(target.revoke(owner.name)),
        }
        await target.delete(wanted.name)
        return refusals

    assert ask(tried) == {RequestRefused}


@pytest.mark.parametrize("reads_already", [False, True])
def test_a_transfer_makes_a_new_owner_and_a_writer(ask: Ask, reads_already: bool) -> None:
    wanted = new(hyperparameters=FEW_STEPS)

    async def handed_over(target: Target) -> None:
        await end(target, await target.create(wanted))
        [owner] = await target.permissions(wanted.name)
        if reads_already:
            await target.grant(wanted.name, READER)

        await target.transfer(wanted.name, ANA)

        assert await held_by(target, wanted.name) == {
            ANA: Role.OWNER,
            owner.grant.email_address: Role.WRITER,
        }
        assert await refusal(target.transfer(wanted.name, "next@example.com")) is NotAllowed
        assert await refusal(target.delete(wanted.name)) is NotAllowed
        assert (await target.update(wanted.name, {"description": "x"})).description == "x"

    ask(handed_over)
