"""A target in memory where the commands expect the one on this machine."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import pytest

from tests.fakes.target import FakeTarget
from tuner.targets import TARGETS, Kind
from tuner.types import Example, NewTunedModel, TargetConfig

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.targets import Target

NAME = "tunedModels/capitals-3f9a"
ANA = "ana@example.com"

opened: list[FakeTarget] = []


async def open_fake(_: TargetConfig) -> Target:
    """What the table of targets opens during these tests."""
    return opened[-1]


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeTarget:
    """A target with one tuned model that answers."""
    fake = FakeTarget(looks_until_done=1, answers={NAME: {"Peru": "Lima is it"}})
    kind = Kind(f"{__name__}:open_fake", TARGETS["local"].limits, "a fake")
    monkeypatch.setitem(TARGETS, "local", kind)
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    opened.append(fake)

    async def tune() -> None:
        new = NewTunedModel(
            "capitals-3f9a",
            (Example("France", "Paris"),),
            base_model="models/tiny",
            display_name="Capitals",
        )
        await fake.operation((await fake.create(new)).name)

    asyncio.run(tune())
    return fake
