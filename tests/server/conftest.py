"""Runs tests that are coroutines, and gives them a service without a network."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import AsyncExitStack

import pytest

from tests.server.room import open_room


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames

    async def run():
        async with AsyncExitStack() as stack:
            fixtures = {name: pyfuncitem.funcargs[name] for name in names}
            for name, value in fixtures.items():
                if hasattr(value, "__aenter__"):
                    fixtures[name] = await stack.enter_async_context(value)
            await pyfuncitem.obj(**fixtures)

    asyncio.run(run())
    return True


@pytest.fixture
def room(tmp_path):
    """Entered by the hook above, in the event loop of the test."""
    return open_room(tmp_path)
