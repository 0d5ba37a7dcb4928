"""What every target promises about models and their tuning."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.contract.asking import FEW_STEPS, MANY_STEPS, end, new, refusal
from tuner.errors import AlreadyExists, NotFound, RequestRefused, TunerError
from tuner.types import (
    Feature,
    GenerationConfig,
    Operation,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.asking import Ask
    from tuner.targets import Target


@pytest.fixture(scope="module")
def running(ask: Ask) -> Iterator[Operation]:
    """A tuning that goes on for long; what comes after it waits, so its tests are the last."""
    operation = ask(lambda target: target.create(new(hyperparameters=MANY_STEPS)))
    yield operation
    ask(lambda target: target.delete(operation.tuned_model))


def test_base_models_say_what_they_can_do(ask: Ask) -> None:
    models = {each.name: each for each in ask(lambda target: target.models())}

    assert "createTunedModel" in models["models/tiny"].supported_generation_methods
    assert ask(lambda target: target.model("models/tiny")) == models["models/tiny"]


def test_a_base_model_that_is_not_there_is_not_found(ask: Ask) -> None:
    assert ask(lambda target: refusal(target.model("models/none"))) is NotFound


def test_what_cannot_be_tuned_is_refused_and_nothing_is_made(ask: Ask) -> None:
    wanted = new(base_model="models/none")

    async def tried(target: Target) -> tuple[type[TunerError] | None, type[TunerError] | None]:
        return await refusal(target.create(wanted)), await refusal(target.tuned_model(wanted.name))

    assert ask(tried) == (NotFound, NotFound)


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


def test_a_tuning_reports_its_steps(ended: Operation) -> None:
    steps = [each.step for each in ended.snapshots]

    assert (ended.done, ended.error, ended.cancelled) == (True, "", False)
    assert ended.completed_steps == ended.total_steps == steps[-1]
    assert steps == sorted(set(steps))
    assert all(each.mean_loss > 0 for each in ended.snapshots)


def test_a_tuning_ends_in_a_model_as_it_was_asked_for(ask: Ask, ended: Operation) -> None:
    model = ask(lambda target: target.tuned_model(ended.tuned_model))

    assert (model.state, model.snapshots) == (State.ACTIVE, ended.snapshots)
    assert (model.base_model, model.hyperparameters) == ("models/tiny", FEW_STEPS)
    assert (model.display_name, model.description) == ("Xylophone tunes", "stays")
    assert (model.temperature, model.top_p) == (0.7, 0.9)


def test_a_streamed_answer_is_the_answer_in_pieces(ask: Ask, ended: Operation) -> None:
    greedy = GenerationConfig(max_output_tokens=4, temperature=0.0, seed=1)

    async def answered(target: Target) -> None:
        answer = await target.generate(ended.tuned_model, "1", greedy)
        pieces = [piece async for piece in target.stream(ended.tuned_model, "1", greedy)]

        assert "".join(piece.text for piece in pieces) == answer.text
        assert pieces[-1].finish_reason == answer.finish_reason != ""

    ask(answered)


def test_an_id_is_taken_once(ask: Ask, ended: Operation) -> None:
    again = replace(new(), id=ended.tuned_model.removeprefix("tunedModels/"))

    assert ask(lambda target: refusal(target.create(again))) is AlreadyExists


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", True),
        ("Xylophone", True),
        ("owner:me", True),
        ("saxophone", False),
        ("readers:me", False),
    ],
)
def test_a_model_is_found_by_its_words_and_by_our_role(
    ask: Ask, ended: Operation, query: str, found: bool
) -> None:
    names = [each.name for each in ask(lambda target: target.tuned_models(query))]

    assert (ended.tuned_model in names) is found


def test_operations_are_listed_for_one_model_and_for_all(ask: Ask, ended: Operation) -> None:
    one = ask(lambda target: target.operations(ended.tuned_model))
    every = ask(lambda target: target.operations("tunedModels/-"))

    assert [each.name for each in one] == [ended.name]
    assert ended.name in [each.name for each in every]


def test_an_update_changes_what_it_names_and_nothing_else(ask: Ask, ended: Operation) -> None:
    async def updated(target: Target) -> None:
        answer = await target.update(ended.tuned_model, {"top_k": 7, "temperature": 0.5})
        model = await target.tuned_model(ended.tuned_model)

        assert (model.temperature, model.top_k) == (0.5, 7)
        assert (model.top_p, model.description) == (0.9, "stays")
        assert answer.top_k == 7

    ask(updated)


def test_a_cancelled_operation_ends_as_cancelled_and_its_model_as_failed(ask: Ask) -> None:
    async def cancelled(target: Target) -> tuple[Operation, State]:
        operation = await target.create(new(hyperparameters=MANY_STEPS))
        await target.cancel(operation.name)
        ended = await end(target, operation)
        return ended, (await target.tuned_model(operation.tuned_model)).state

    ended, state = ask(cancelled)

    assert (ended.done, ended.cancelled, bool(ended.error)) == (True, True, True)
    assert state is State.FAILED


def test_a_model_that_is_tuning_says_so_and_does_not_answer(ask: Ask, running: Operation) -> None:
    name = running.tuned_model

    assert running.name.startswith(f"{name}/operations/")
    assert (running.done, running.total_steps > 0) == (False, True)
    assert ask(lambda target: target.tuned_model(name)).state is State.CREATING
    call = partial(asked_too_early, name)
    assert ask(call) is RequestRefused


async def asked_too_early(name: str, target: Target) -> type[TunerError] | None:
    """The error that a prompt ends in."""
    return await refusal(target.generate(name, "1", GenerationConfig()))


def test_running_and_ended_operations_are_followed_in_one_listing(
    ask: Ask, running: Operation, ended: Operation
) -> None:
    names = [running.name, ended.name, f"{ended.name}0"]

    found = ask(lambda target: target.followed(names))

    assert set(found) == {running.name, ended.name}
    assert (found[running.name].done, found[ended.name]) == (False, ended)


def test_a_target_says_who_calls_it_and_what_it_lacks(ask: Ask) -> None:
    assert ask(said) == (True, {})


async def said(target: Target) -> tuple[bool, dict[Feature, str]]:
    return bool(target.caller), dict(target.lacks)


def test_a_deleted_model_is_gone_with_its_operations(ask: Ask, running: Operation) -> None:
    wanted = new()

    async def deleted(target: Target) -> set[type[TunerError] | None]:
        operation = await target.create(wanted)
        await target.delete(wanted.name)
        return {
            await refusal(target.tuned_model(wanted.name)),
            await refusal(target.operation(operation.name)),
        }

    assert not running.done
    assert ask(deleted) == {NotFound}
