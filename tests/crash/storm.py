"""A target in bad weather: slow, faulty, deadly, and used by others; it watches what is done to it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.crash.mortal import Mortal, current
from tests.crash.overruled import FORCED
from tests.fakes.target import ME, Crash
from tuner.errors import NotAllowed, Unavailable
from tuner.types import Grant, Role, State

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from tests.crash.shapes import Service
    from tests.crash.stories import Story
    from tuner.jobs.lock import JobLocks

CHANGES = ("create", "delete", "cancel", "grant", "change_role", "transfer")
LOCKED = ("create", "cancel", "grant", "change_role", "transfer")
STRANGER = "stranger@example.com"


class Weather(NamedTuple):
    """How likely what is, at every call or moment."""

    fault: float = 0.05
    kill: float = 0.01
    stop: float = 0.005
    loss: float = 0.002
    others: float = 0.03


CALM = Weather(0, 0, 0, 0, 0)


class Violation(AssertionError):
    """Something was done that must never be done."""


class Storm:
    """All of ``Target`` for every life of a story."""

    caller, lacks = f"the key of {ME}", MappingProxyType({})

    def __init__(self, story: Story, chance: Random, ledger: Path) -> None:
        self.story, self.chance, self.ledger = story, chance, ledger
        self.service: Service = story.service()
        self.weather = CALM
        self.losses = 0
        self.history: list[str] = []
        self.wrong: list[str] = []
        self.by_others: list[tuple[str, ...]] = []
        self.intended: dict[Mortal, dict[tuple[str, str], str]] = {}
        self.runners: dict[Mortal, JobLocks] = {}
        self.looked: dict[tuple[Mortal, str], int] = {}

    @property
    def address(self) -> str:
        """Another one for every life: what a process keeps by address dies with it."""
        return f"fake (seen by {id(current.get())})"

    @property
    def ours(self) -> list[tuple[str, ...]]:
        """What we did."""
        return list((Counter(self.service.effects) - Counter(self.by_others)).elements())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        async def call(*given: Any) -> Any:
            return await self._call(name, given)

        return call

    async def close(self) -> None:
        """There is nothing to give back."""

    # -- moments ----------------------------------------------------------------------------------

    def moment(self, name: str) -> None:
        """Here a life may end, stop, or lose its ledger."""
        life = current.get()
        assert life
        if life.is_dead:
            raise Crash
        if self._happens(self.weather.loss):
            self.lose()
        if self._happens(self.weather.kill):
            self.history.append(f"  killed at {name}")
            life.die()
        if self._happens(self.weather.stop):
            seconds = self.chance.uniform(1, 40)
            self.history.append(f"  stopped for {seconds:.0f} s at {name}")
            life.stop(seconds)

    def lose(self) -> None:
        """The ledger is gone."""
        self.losses += 1
        self.history.append("  the ledger is deleted")
        for file in self.ledger.parent.glob(f"{self.ledger.name}*"):
            file.unlink()

    def _happens(self, likely: float) -> bool:
        return likely > 0 and self.chance.random() < likely

    # -- calls ------------------------------------------------------------------------------------

    async def _call(self, name: str, given: tuple[Any, ...]) -> Any:
        life = current.get()
        assert life
        if life.is_dead:
            raise Crash
        if name in LOCKED:
            self._check_lock(life, name, given)
        self.moment(f"before {name}")
        await asyncio.sleep(self.chance.uniform(0.0, 0.5))
        self._others()
        self._fault(name, "lost")
        before = len(self.service.effects)
        if name == "delete":
            self._check_delete(life, given[0])
        looked = (life, _model(name, given)) if given else None
        self.looked.pop(looked, None)
        answer = await getattr(self.service, name)(*given)
        for effect in self.service.effects[before:]:
            self.history.append(" ".join(effect))
            self._check(effect, life)
        self._fault(name, "done, reply lost")
        if name == "permissions":
            self.looked[looked] = len(answer)
        await asyncio.sleep(self.chance.uniform(0.0, 0.5))
        self.moment(f"after {name}")
        return answer

    def _fault(self, name: str, how: str) -> None:
        if not self._happens(self.weather.fault / 2):
            return
        error = self.chance.choice([
            Unavailable("UNAVAILABLE"),
            Unavailable("DEADLINE_EXCEEDED"),
            Unavailable("RESOURCE_EXHAUSTED", retry_after_s=0.2, is_quota=True),
            Unavailable("RESOURCE_EXHAUSTED", retry_after_s=60.0, is_quota=True),
            NotAllowed("UNAUTHENTICATED"),
        ])  # fmt: skip
        if how != "lost" and name in CHANGES and isinstance(error, NotAllowed):
            error = Unavailable("INTERNAL")  # what was refused was not done
        self.history.append(f"  {name} {how}: {error.what}")
        raise error

    def _others(self) -> None:
        """Somebody else does something with a model of ours."""
        if self.story.is_alone or not self._happens(self.weather.others) or not self.service.held:
            return
        name = self.chance.choice(sorted(self.service.held))
        service, before = self.service, len(self.service.effects)
        held = service.shared[name]
        what = self.chance.choice(["grant", "delete", "transfer", "revoke"])
        owner = next(p.grant.email_address for p in held.values() if p.grant.role is Role.OWNER)
        if what == "delete":
            _now(service, owner, service.delete(name))
        elif what == "transfer" and owner == ME:
            _now(
                service,
                owner,
                service.transfer(name, self.chance.choice([STRANGER, "lead@example.com"])),
            )
        elif what == "grant" and not any(p.grant.email_address == STRANGER for p in held.values()):
            _now(service, owner, service.grant(name, Grant(Role.READER, email_address=STRANGER)))
        elif what == "revoke":
            given = [
                p.name
                for p in held.values()
                if p.grant.role is not Role.OWNER and p.grant.email_address != ME
            ]
            if given:
                _now(service, owner, service.revoke(self.chance.choice(given)))
        for effect in service.effects[before:]:
            self.by_others.append(effect)
            self.history.append(f"  somebody else: {' '.join(effect)}")

    # -- what must never be -----------------------------------------------------------------------

    def _blame(self, what: str) -> None:
        self.wrong.append(what)
        self.history.append(f"  WRONG: {what}")

    def _check_lock(self, life: Mortal, name: str, given: tuple[Any, ...]) -> None:
        model = _model(name, given)
        if life in self.runners and not self.runners[life].holds("local", model):
            self._blame(f"{name} {model} by a runner without the lock")
        others = [each for each in self.runners if each is not life and not each.over.is_set()]
        if any(self.runners[each].holds("local", model) for each in others):
            self._blame(f"{name} {model} while another runner has the lock")

    def _check_delete(self, life: Mortal, model: str) -> None:
        """Right before, it must have been seen that nobody else has access; then nobody can help it."""
        held = self.service.held.get(model)
        if held and held.state is not State.FAILED and self.looked.get((life, model)) != 1:
            self._blame(f"{model} is deleted, and nobody saw that no others have access")

    def _check(self, effect: tuple[str, ...], life: Mortal) -> None:
        action, model = effect[:2]
        if (action, model) not in self.intended.get(life, {}):
            self._blame(f"{action} {model} was not announced")
        if action == "create" and not self.losses and not self._is_written_down(model):
            self._blame(f"{model} is created before the ledger knows of it")
        if action in ("grant", "change_role", "transfer"):
            self._check_worth(model, self.intended.get(life, {}).get((action, model), ""))
        done = Counter(self.service.effects)
        again = sum(count for each, count in done.items() if each[:2] == ("delete", model))
        revoked = done[("revoke", *effect[1:])]
        if action in ("create", "grant", "transfer") and done[effect] > 1 + again + revoked:
            self._blame(f"{' '.join(effect)} for the {done[effect]}th time")

    def _check_worth(self, model: str, why: str) -> None:
        is_unworthy, is_named = model in self.story.unworthy(), why.startswith(FORCED)
        if is_unworthy and not (self.story.force and is_named):
            self._blame(f"{model} is given away though it missed its gate: {why or 'no reason'}")
        if is_named and not is_unworthy:
            self._blame(f"{model} passed its gate, and is said to be forced")
        rivals = self.story.rivals() - {model}
        given = {each[1] for each in self.ours if each[0] in ("grant", "transfer")}
        if model in self.story.rivals() and rivals & given and self.story.is_alone:
            self._blame(f"{model} is given away, and so is another of its matrix")

    def _is_written_down(self, model: str) -> bool:
        with sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True) as db:
            found = db.execute("SELECT 1 FROM job WHERE tuned_model = ?", (model,)).fetchone()
        db.close()
        return found is not None


def _model(name: str, given: tuple[Any, ...]) -> str:
    if name == "create":
        return given[0].name
    return str(given[0]).partition("/operations/")[0].partition("/permissions/")[0]


def _now(service: Service, who: str, work: Any) -> None:
    """Done by somebody else, at once."""
    me, service.me = service.me, who
    try:
        work.send(None)
    except StopIteration:
        pass
    finally:
        service.me = me


async def open_storm(_config: object) -> Storm:
    """What ``local`` opens: the storm that the life stands in."""
    storm: Storm = current.get().storm
    return storm
