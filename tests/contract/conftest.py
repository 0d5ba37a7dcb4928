"""The targets that the contract is tried on, and one tuned model in each."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.asking import end, new
from tests.fakes.service_process import running_service
from tests.fakes.target import FakeTarget
from tuner.targets import open_target
from tuner.types import (
    Operation,
    TargetConfig,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.contract.asking import Ask
    from tuner.targets import Target


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real service, with a small base model and a home of its own."""
    home = tmp_path_factory.mktemp("home")
    with running_service(home, "--base-model", "tiny=builtin:tiny") as address:
        yield address


@pytest.fixture(scope="session", params=["fake", pytest.param("service", marks=pytest.mark.slow)])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Ask a target something: the one in memory, or the service by a connection of its own."""
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


@pytest.fixture(scope="session")
def ended(ask: Ask) -> Operation:
    """A tuning that has ended well; the tests share its model, each with grantees of its own."""
    wanted = new(display_name="Xylophone tunes", description="stays", temperature=0.7, top_p=0.9)

    async def tuned(target: Target) -> Operation:
        return await end(target, await target.create(wanted))

    return ask(tuned)
