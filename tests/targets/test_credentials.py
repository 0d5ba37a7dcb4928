"""Whose credentials are taken, in which order, and what is said when there are none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tuner.errors import InvalidInput, NotAllowed
from tuner.targets.auth import SCOPES, find_identity
from tuner.types import TargetConfig

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.targets.auth import Identity


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no gcloud here"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def person(tmp_path: Path) -> Path:
    """What ``gcloud auth application-default login`` leaves behind."""
    file = tmp_path / "person.json"
    fields = {"client_id": "i", "client_secret": "s", "refresh_token": "r"}
    file.write_text(json.dumps({"type": "authorized_user", **fields}))
    return file


@pytest.fixture
def robot(tmp_path: Path) -> Path:
    """A service account's key, made for this test."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    fields = {
        "type": "service_account",
        "client_email": "robot@project.iam.gserviceaccount.com",
        "private_key": key.decode(),
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    file = tmp_path / "robot.json"
    file.write_text(json.dumps(fields))
    return file


def find(**fields: str) -> Identity:
    return find_identity(TargetConfig("gemini", **fields))


@pytest.mark.parametrize("variable", ["GEMINI_API_KEY", "GOOGLE_API_KEY"])
def test_an_api_key_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, " secret\n")

    found = find()

    assert (found.kind, found.api_key, found.source) == ("key", "secret", variable)


def test_geminis_own_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "second")
    monkeypatch.setenv("GEMINI_API_KEY", "first")

    assert find().api_key == "first"


def test_the_variable_the_spec_names_comes_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "second")
    monkeypatch.setenv("TEAM_KEY", "first")

    assert find(api_key_env="TEAM_KEY").api_key == "first"


def test_a_named_variable_that_is_empty_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "another's")

    with pytest.raises(NotAllowed, match="TEAM_KEY"):
        find(api_key_env="TEAM_KEY")


def test_a_key_is_never_part_of_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "secret")

    assert "secret" not in repr(find())


def test_a_service_account_file_asks_for_the_scopes_of_tuning(robot: Path) -> None:
    found = find(credentials_file=str(robot))

    assert found.kind == "google"
    assert found.credentials.service_account_email == "robot@project.iam.gserviceaccount.com"
    assert tuple(found.credentials._default_scopes) == SCOPES


def test_a_persons_file_keeps_the_scopes_of_the_login(person: Path) -> None:
    found = find(credentials_file=str(person))

    assert found.credentials.refresh_token == "r"
    assert found.credentials.scopes is None


def test_application_default_credentials_beat_an_api_key_when_named(
    monkeypatch: pytest.MonkeyPatch, person: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(person))
    monkeypatch.setenv("GEMINI_API_KEY", "secret")

    assert find().kind == "google"


def test_a_quota_project_is_billed(person: Path) -> None:
    found = find(credentials_file=str(person), quota_project="the-project")

    assert found.credentials.quota_project_id == "the-project"


def test_a_service_account_can_be_impersonated(person: Path) -> None:
    found = find(credentials_file=str(person), impersonate="bot@p.iam.gserviceaccount.com")

    assert found.credentials.service_account_email == "bot@p.iam.gserviceaccount.com"
    assert "bot@p.iam" in found.source


def test_without_any_credentials_three_ways_out_are_named() -> None:
    with pytest.raises(NotAllowed) as caught:
        find()

    for way in ("GEMINI_API_KEY", "gcloud auth application-default login", "target: local"):
        assert way in caught.value.fix


@pytest.mark.parametrize("content", [None, b"", b"not json", b"{}", b"\xff\xfe", b'{"type": "x"}'])
def test_a_file_that_is_no_credentials_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "credentials.json"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(InvalidInput) as caught:
        find(credentials_file=str(file))

    assert caught.value.problems[0].path == str(file)


@pytest.mark.parametrize("other", ["credentials_file", "impersonate"])
def test_an_api_key_and_google_credentials_exclude_each_other(other: str) -> None:
    with pytest.raises(InvalidInput, match="mutually exclusive"):
        find(api_key_env="TEAM_KEY", **{other: "x"})
