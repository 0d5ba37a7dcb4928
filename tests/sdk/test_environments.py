"""An environment is made once from its list of versions, and anew when the list is another."""

from __future__ import annotations

import subprocess

import pytest

from tests.sdk import environments

pytestmark = pytest.mark.slow


def versions(name):
    ask = "from importlib.metadata import version; print(version('idna'))"
    python = environments.python(name)
    return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def wanted(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "ROOT", tmp_path / "made")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    (tmp_path / "small.txt").write_text("idna==3.20\n")
    return tmp_path / "small.txt"


def test_an_environment_is_kept_until_its_list_changes(wanted):
    assert versions("small").strip() == "3.20"
    note = environments.ROOT / "small" / "note"
    note.write_text("still the same one")
    environments.python("small")
    assert note.exists()
    wanted.write_text("idna==3.10\n")
    assert versions("small").strip() == "3.10"
    assert not note.exists()


@pytest.mark.usefixtures("wanted")
def test_half_an_environment_is_made_anew():
    environments.python("small")
    (environments.ROOT / "small" / environments.STAMP).unlink()  # what a killed process leaves
    (environments.ROOT / "small" / "bin" / "python").unlink()
    assert versions("small").strip() == "3.20"


@pytest.mark.usefixtures("wanted")
def test_pip_makes_it_where_uv_cannot(monkeypatch):
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    assert versions("small").strip() == "3.20"
