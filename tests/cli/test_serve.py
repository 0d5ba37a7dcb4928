from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from tests.fakes.engine import FakeEngine
from tuner.errors import Unavailable
from tuner.server.app import running
from tuner.server.settings import Settings
from tuner.server.tls import ensure_dev_tls
from tuner.targets import open_target
from tuner.types import TargetConfig

pytestmark = pytest.mark.slow


def test_a_taken_port_is_told_in_two_lines_and_gRPC_adds_none(tmp_path):  # noqa: N802 (its name)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "tuner", "serve", "--grpc", address, "--rest", "off"],
            check=False,
            capture_output=True,
            text=True,
            env={"TUNER_HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        )
    assert done.returncode == 5
    error, fix = done.stderr.splitlines()
    assert error.startswith(f"error: cannot listen on {address}")
    assert "--grpc" in fix


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_at_the_wrong_door_our_own_client_is_told_the_right_one(tmp_path, monkeypatch, scheme):
    tls = ensure_dev_tls(tmp_path / "tls", datetime.now(UTC))
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(tls.ca))
    settings = Settings("127.0.0.1:0", rest="127.0.0.1:0", tls=tls)

    async def go():
        async with running(settings, FakeEngine(), tmp_path / "service") as (_, at):
            address = f"{scheme}://{at.grpc if scheme == 'http' else at.rest}"
            async with open_target(TargetConfig("local", address)) as target:
                await target.models()

    with pytest.raises(Unavailable) as caught:
        asyncio.run(go())
    assert {"http": "write https://", "https": "does not serve gRPC"}[scheme] in caught.value.fix
