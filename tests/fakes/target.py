"""A tuning service in memory, with every rule of the real one, that can fail at any moment.

A moment is the instant before or after a call that succeeds: ``FakeTarget(crash_at=3)`` dies at the
fourth of them, with the effect of the call undone (before) or done and its reply lost (after).
``FakeTarget(faults={3: Unavailable("gone")})`` raises that instead; each fault strikes once.
``FakeTarget().moment`` after a run is how many moments there are to try.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.fakes.ownership import Shares, model_of
from tuner.errors import AlreadyExists, NotFound, RequestRefused
from tuner.types import (
    Answer,
    Feature,
    GenerationConfig,
    Grant,
    Model,
    NewTunedModel,
    Operation,
    Permission,
    Role,
    Snapshot,
    State,
    TunedModel,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator


ME = "me@example.com"
METHODS = ("generateContent", "createTunedModel")
TUNABLE = Model("models/tiny", display_name="Tiny", supported_generation_methods=METHODS)
UNTUNABLE = Model("models/fixed", supported_generation_methods=("generateContent",))


class Crash(BaseException):
    """The process is gone: nothing may catch this but the test."""


@dataclass
class FakeTarget:
    """The whole ``Target`` protocol; the public fields are what a test sets and asserts.

    Attributes:
        crash_at: The moment to raise Crash at; -1 is never.
        faults: What else to raise, by moment.
        answers: What a model says, by model name and prompt; anything else it answers with "".
        looks_until_done: A tuning ends at this look at its operation or model.
        tuning_error: Makes every tuning end in failure with this text.
        operations_are_gone: The service forgets its operations; only the models' state is left.
        me: Who is asking; change it to see the world as somebody else.
        lacks: What it cannot do, and why; with LISTING in it ``followed`` is refused.
        calls: Whatever was called, in order.
        effects: What was changed, in order: what was done, to which model, and for whom.
    """

    crash_at: int = -1
    faults: dict[int, BaseException] = field(default_factory=dict)
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    base_models: tuple[Model, ...] = (TUNABLE, UNTUNABLE)
    looks_until_done: int = 3
    tuning_error: str = ""
    operations_are_gone: bool = False
    me: str = ME
    address: str = "fake (in memory)"
    lacks: dict[Feature, str] = field(default_factory=dict)

    held: dict[str, TunedModel] = field(default_factory=dict)
    requests: dict[str, NewTunedModel] = field(default_factory=dict)
    running: dict[str, Operation] = field(default_factory=dict)
    shared: dict[str, dict[str, Permission]] = field(default_factory=dict)
    creates: int = 0
    grants: int = 0
    role_changes: int = 0
    revokes: int = 0
    transfers: int = 0
    calls: list[str] = field(default_factory=list)
    effects: list[tuple[str, ...]] = field(default_factory=list)
    moment: int = 0
    closed: bool = False

    @property
    def caller(self) -> str:
        return f"the key of {self.me}"

    def __post_init__(self) -> None:
        """A crash is a fault like any other."""
        if self.crash_at >= 0:
            self.faults[self.crash_at] = Crash()

    async def models(self) -> list[Model]:
        with self._call("models"):
            return list(self.base_models)

    async def model(self, name: str) -> Model:
        with self._call("model"):
            return self._base_model(name)

    async def tuned_models(self, query: str = "") -> list[TunedModel]:
        with self._call("tuned_models"):
            return [model for model in self.held.values() if self._matches(model, query)]

    async def tuned_model(self, name: str) -> TunedModel:
        with self._call("tuned_model"):
            self._look(self._tuned_model(name).name)
            return self.held[name]

    async def operation(self, name: str) -> Operation:
        with self._call("operation"):
            operation = self._operation(name)
            self._look(operation.tuned_model)
            return self.running[name]

    async def operations(self, tuned_model: str) -> list[Operation]:
        with self._call("operations"):
            if tuned_model != "tunedModels/-":
                self._tuned_model(tuned_model)
            found = [] if self.operations_are_gone else list(self.running.values())[::-1]
            mine = [each for each in found if tuned_model in (each.tuned_model, "tunedModels/-")]
            for each in mine:
                self._look(each.tuned_model)
            return [self.running[each.name] for each in mine]

    async def followed(self, names: Collection[str]) -> dict[str, Operation]:
        with self._call("followed"):
            if Feature.LISTING in self.lacks:
                raise RequestRefused(f"{self.address} has no such listing")
            found = [] if self.operations_are_gone else [n for n in names if n in self.running]
            for name in found:
                self._look(self.running[name].tuned_model)
            return {name: self.running[name] for name in found}

    async def permissions(self, tuned_model: str) -> list[Permission]:
        with self._call("permissions"):
            self._tuned_model(tuned_model)
            return list(self.shared[tuned_model].values())

    async def generate(self, model: str, prompt: str, config: GenerationConfig) -> Answer:
        with self._call("generate"):
            return self._answer(model, prompt, config)

    async def count_tokens(self, model: str, text: str) -> int:
        with self._call("count_tokens"):
            self._answer(model, text, GenerationConfig())
            return len(text.split())

    async def stream(
        self, model: str, prompt: str, config: GenerationConfig
    ) -> AsyncIterator[Answer]:
        with self._call("stream"):
            answer = self._answer(model, prompt, config)
            words = answer.text.split(" ")
            for word in words[:-1]:
                yield Answer(f"{word} ")
            yield answer._replace(text=words[-1])

    async def create(self, new: NewTunedModel) -> Operation:
        with self._call("create"):
            self._check_new(new)
            self.creates += 1
            self.requests[new.name] = new
            self.held[new.name] = self._new_model(new)
            self.shared[new.name] = {}
            self._shares(new.name).hold(Grant(Role.OWNER, email_address=self.me))
            name = f"{new.name}/operations/op{self.creates}"
            operation = Operation(name, new.name, total_steps=self.looks_until_done)
            self.running[operation.name] = operation
            self.effects.append(("create", new.name))
            return operation

    async def update(self, name: str, changes: dict[str, str | float | int]) -> TunedModel:
        with self._call("update"):
            self._need(name, Role.WRITER, "edit")
            self.held[name] = self.held[name]._replace(**changes)
            return self.held[name]

    async def delete(self, name: str) -> None:
        with self._call("delete"):
            self._need(name, Role.OWNER, "delete")
            del self.held[name], self.shared[name]
            self.effects.append(("delete", name))
            self.running = {
                each.name: each for each in self.running.values() if each.tuned_model != name
            }

    async def cancel(self, operation: str) -> None:
        with self._call("cancel"):
            found = self._operation(operation)
            self._need(found.tuned_model, Role.WRITER, "cancel")
            if not found.done:
                self.running[operation] = found._replace(cancelled=True)
                self.effects.append(("cancel", found.tuned_model))

    async def grant(self, tuned_model: str, grant: Grant) -> Permission:
        with self._call("grant"):
            made = self._need(tuned_model, Role.WRITER, "share").add(grant)
            self.grants += 1
            self.effects.append(("grant", tuned_model, str(grant)))
            return made

    async def change_role(self, permission: str, role: Role) -> Permission:
        with self._call("change_role"):
            shares = self._need(model_of(permission), Role.WRITER, "share")
            self.role_changes += 1
            changed = shares.change(permission, role)
            self.effects.append(("change_role", model_of(permission), str(changed.grant)))
            return changed

    async def revoke(self, permission: str) -> None:
        with self._call("revoke"):
            shares = self._need(model_of(permission), Role.WRITER, "share")
            revoked = shares.held.pop(shares.changeable(permission).name)
            self.revokes += 1
            self.effects.append(("revoke", model_of(permission), str(revoked.grant)))

    async def transfer(self, tuned_model: str, email_address: str) -> None:
        with self._call("transfer"):
            shares = self._need(tuned_model, Role.OWNER, "transfer")
            shares.transfer(self.me, email_address)
            self.transfers += 1
            self.effects.append(("transfer", tuned_model, email_address))

    async def close(self) -> None:
        self.closed = True

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        """Both moments of a call; one that is refused has no second."""
        self.calls.append(name)
        self._strike()
        yield
        self._strike()

    def _strike(self) -> None:
        fault = self.faults.pop(self.moment, None)
        self.moment += 1
        if fault is not None:
            raise fault

    def _base_model(self, name: str) -> Model:
        for model in self.base_models:
            if model.name == name:
                return model
        raise NotFound(f"there is no {name}")

    def _tuned_model(self, name: str) -> TunedModel:
        if name not in self.held or self._shares(name).role(self.me) is None:
            raise NotFound(f"there is no {name}, or you may not see it")
        return self.held[name]

    def _operation(self, name: str) -> Operation:
        if name not in self.running or self.operations_are_gone:
            raise NotFound(f"there is no {name}")
        return self.running[name]

    def _new_model(self, new: NewTunedModel) -> TunedModel:
        names = ("display_name", "description", "temperature", "top_p", "top_k", "hyperparameters")
        return TunedModel(
            new.name,
            State.CREATING,
            base_model=new.base_model or self.held[new.tuned_model_source].base_model,
            tuned_model_source=new.tuned_model_source,
            create_time=float(self.creates),
            **{name: getattr(new, name) for name in names},
        )

    def _check_new(self, new: NewTunedModel) -> None:
        if new.name in self.held:
            raise AlreadyExists(f"{new.name} exists")
        if new.tuned_model_source:
            self._tuned_model(new.tuned_model_source)
        elif (
            "createTunedModel" not in self._base_model(new.base_model).supported_generation_methods
        ):
            raise RequestRefused(f"{new.base_model} cannot be tuned")

    def _look(self, tuned_model: str) -> None:
        """Time passes when somebody looks: one step a look, and then the end."""
        for operation in self.running.values():
            if operation.tuned_model == tuned_model and not operation.done:
                self._progress(operation)
                return

    def _progress(self, operation: Operation) -> None:
        step = operation.completed_steps + 1
        snapshot = Snapshot(step, 1, 1.0 / step, float(step))
        done = operation.cancelled or step >= self.looks_until_done
        error = "the tuning was cancelled" if operation.cancelled else self.tuning_error
        moved = operation._replace(
            completed_steps=step,
            snapshots=(*operation.snapshots, snapshot),
            done=done,
            error=error if done else "",
        )
        self.running = {**self.running, operation.name: moved}
        if done:
            state = State.FAILED if error else State.ACTIVE
            model = self.held[operation.tuned_model]
            self.held[model.name] = model._replace(state=state, snapshots=moved.snapshots)

    def _answer(self, model: str, prompt: str, config: GenerationConfig) -> Answer:
        if not model.startswith("tunedModels/"):
            self._base_model(model)
        elif self._tuned_model(model).state is not State.ACTIVE:
            raise RequestRefused(f"{model} is {self.held[model].state}, not ACTIVE")
        words = self.answers.get(model, {}).get(prompt, "").split(" ")
        kept = words[: config.max_output_tokens]
        reason = "STOP" if kept == words else "MAX_TOKENS"
        return Answer(" ".join(kept), reason, len(prompt.split()), len(kept))

    def _matches(self, model: TunedModel, query: str) -> bool:
        role = self._shares(model.name).role(self.me)
        named = {"owner:me": Role.OWNER, "writers:me": Role.WRITER, "readers:me": Role.READER}
        if query in named:
            return role is named[query]
        return role is not None and query in f"{model.display_name}\n{model.description}"

    def _shares(self, tuned_model: str) -> Shares:
        return Shares(tuned_model, self.shared[tuned_model])

    def _need(self, tuned_model: str, role: Role, verb: str) -> Shares:
        shares = self._shares(self._tuned_model(tuned_model).name)
        shares.need(self.me, role, verb)
        return shares
