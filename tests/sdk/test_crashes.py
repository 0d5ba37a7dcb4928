"""The end of a service, whoever asks for it, and a second one beside it."""

from __future__ import annotations

import subprocess

import pytest

from tests.sdk.process import serving, tuner

pytestmark = pytest.mark.slow


def test_a_second_service_on_the_same_home_is_refused_and_says_who_holds_it(tmp_path):
    home = tmp_path / "home"
    with serving(home) as service:
        second = subprocess.run(
            tuner(home, "serve", "--grpc", "127.0.0.1:0", "--rest", "off"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 5
        assert f"process {service.process.pid}" in second.stderr
        assert service.address in second.stderr


def test_stop_ends_the_service_and_takes_its_address_away(tmp_path):
    home = tmp_path / "home"
    with serving(home) as service:
        subprocess.run(tuner(home, "serve", "--stop"), check=True)
        assert service.process.wait() == 0
        assert not (home / "service" / "address.json").exists()


def test_a_service_nobody_needs_leaves_by_itself(tmp_path):
    with serving(tmp_path / "home", "--idle-exit", "0.5") as service:
        assert service.process.wait(timeout=60) == 0
