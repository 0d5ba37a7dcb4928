"""The service on this machine is found again, started once, and replaced when it is gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.grpc_server import Script, serving
from tuner.errors import InvalidInput, NotAllowed, Unavailable
from tuner.targets import local, open_target
from tuner.types import TargetConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@dataclass
class Home:
    """A TUNER_HOME whose service is a stand-in; ``manners`` of those to start, the last stays."""

    path: Path
    manners: list[str]

    @property
    def started(self) -> list[int]:
        """The processes started, in order."""
        file = self.path / "started.txt"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def command(self) -> list[str]:
        manner = self.manners.pop(0) if len(self.manners) > 1 else self.manners[0]
        return [sys.executable, "-m", "tests.fakes.stand_in_service", str(self.path), manner]

    def kill(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    home = Home(tmp_path, ["start"])
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("TUNER_API_KEY", raising=False)
    monkeypatch.setattr(local, "_command", home.command)
    yield home
    for pid in home.started:
        home.kill(pid)


async def served_by() -> int:
    """The process that answers."""
    async with open_target(TargetConfig("local")) as target:
        [model] = await target.models()
    return int(model.name.removeprefix("models/of-"))


def test_the_service_is_started_when_it_is_first_needed_and_found_again(home: Home) -> None:
    first = asyncio.run(served_by())
    second = asyncio.run(served_by())

    assert first == second
    assert home.started == [first]


def test_commands_that_come_together_start_one_service(home: Home) -> None:
    async def together() -> set[int]:
        return set(await asyncio.gather(*(served_by() for _ in range(5))))

    assert len(asyncio.run(together())) == 1
    assert len(home.started) == 1


def test_a_killed_service_is_replaced(home: Home) -> None:
    first = asyncio.run(served_by())
    home.kill(first)

    second = asyncio.run(served_by())

    assert home.started == [first, second]


def test_an_address_left_behind_is_not_trusted_though_its_number_lives_again(home: Home) -> None:
    (home.path / "service").mkdir()
    stale = {"grpc": "127.0.0.1:1", "pid": os.getpid()}
    (home.path / "service" / "address.json").write_text(json.dumps(stale))

    assert asyncio.run(served_by()) == home.started[0]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"grpc": 1, "pid": null}'])
def test_an_address_file_that_makes_no_sense_is_replaced(home: Home, content: str) -> None:
    (home.path / "service").mkdir()
    (home.path / "service" / "address.json").write_text(content)

    assert asyncio.run(served_by()) == home.started[0]


def test_a_service_that_is_just_leaving_is_waited_for_and_replaced(home: Home) -> None:
    home.manners = ["leave", "start"]

    answered = asyncio.run(served_by())

    assert len(home.started) == 2
    assert answered == home.started[1]


def test_a_service_that_dies_says_why(home: Home) -> None:
    home.manners = ["die"]

    with pytest.raises(Unavailable, match="the database is damaged") as caught:
        asyncio.run(served_by())

    assert str(home.path / "service" / "serve.log") in caught.value.fix
    assert len(home.started) == 1


def test_ctrl_c_in_the_terminal_does_not_reach_the_service(home: Home) -> None:
    answered = asyncio.run(served_by())

    # a terminal interrupts its own session only
    assert os.getsid(answered) == answered
    assert home.started == [answered]


def test_a_named_endpoint_starts_nothing(home: Home) -> None:
    async def asked() -> None:
        async with serving(Script()) as address:
            config = TargetConfig("local", endpoint=address)
            async with open_target(config) as target:
                assert target.address == f"local ({address})"

    asyncio.run(asked())

    assert home.started == []


def test_missing_packages_are_named_with_the_way_to_get_them(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "NEEDED", ("json", "no_such_package"))

    with pytest.raises(InvalidInput, match="no_such_package") as caught:
        asyncio.run(served_by())

    assert "tuner[local]" in caught.value.fix
    assert home.started == []


def test_a_named_key_that_is_missing_starts_nothing(home: Home) -> None:
    config = TargetConfig("local", api_key_env="NO_SUCH_KEY")

    async def asked() -> None:
        async with open_target(config):
            pass

    with pytest.raises(NotAllowed, match="NO_SUCH_KEY"):
        asyncio.run(asked())

    assert home.started == []
