"""Endpoints, TLS and client certificates."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import grpc
import pytest
from google.ai import generativelanguage_v1beta as gl

from tests.fakes.certificates import authority_and_pairs
from tests.fakes.grpc_server import Script, serving
from tuner.errors import InvalidInput, NotAllowed
from tuner.targets import TARGETS
from tuner.targets.auth import (
    GOOGLE,
    GOOGLE_MTLS,
    Endpoint,
    client_certificate,
    google_endpoint,
    parse_endpoint,
)

if TYPE_CHECKING:
    from pathlib import Path

USE_CERTIFICATE = "GOOGLE_API_USE_CLIENT_CERTIFICATE"
USE_ENDPOINT = "GOOGLE_API_USE_MTLS_ENDPOINT"
CONFIG = "GOOGLE_API_CERTIFICATE_CONFIG"


@pytest.mark.parametrize(
    ("text", "endpoint", "shown"),
    [
        ("127.0.0.1:5000", Endpoint("127.0.0.1", 5000, tls=False), "127.0.0.1:5000"),
        ("localhost", Endpoint("localhost", 50051, tls=False), "localhost:50051"),
        ("[::1]:5000", Endpoint("::1", 5000, tls=False), "[::1]:5000"),
        ("http://127.0.0.2:5000/", Endpoint("127.0.0.2", 5000, tls=False), "127.0.0.2:5000"),
        ("https://localhost:5000", Endpoint("localhost", 5000), "localhost:5000"),
        ("tune.example.com", Endpoint("tune.example.com", 443), "tune.example.com"),
        ("tune.example.com:8443", Endpoint("tune.example.com", 8443), "tune.example.com:8443"),
        ("10.0.0.7:50051", Endpoint("10.0.0.7", 50051), "10.0.0.7:50051"),
        ("https://tune.example.com", Endpoint("tune.example.com", 443), "tune.example.com"),
    ],
)
def test_plaintext_is_for_loopback_alone(text: str, endpoint: Endpoint, shown: str) -> None:
    assert parse_endpoint(text) == endpoint
    assert str(endpoint) == shown


@pytest.mark.parametrize("text", ["http://tune.example.com", "http://10.0.0.7:50051"])
def test_http_to_another_machine_is_an_error(text: str) -> None:
    with pytest.raises(InvalidInput, match="not encrypted"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    "text", ["", ":5000", "host:port", "host:99999", "ftp://h", "h/path", "[::"]
)
def test_an_invalid_endpoint_is_an_error(text: str) -> None:
    with pytest.raises(InvalidInput, match="not an endpoint"):
        parse_endpoint(text)


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A client certificate where google-auth looks for one; returns the authority's."""
    authority, (server, client) = authority_and_pairs("localhost", "client")
    for name, content in (
        ("ca.pem", authority),
        ("server.pem", server.certificate),
        ("server.key", server.key),
        ("client.pem", client.certificate),
        ("client.key", client.key),
    ):
        (tmp_path / name).write_bytes(content)
    paths = {
        "cert_path": str(tmp_path / "client.pem"),
        "key_path": str(tmp_path / "client.key"),
    }
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"cert_configs": {"workload": paths}}))
    monkeypatch.setenv(CONFIG, str(config))
    return authority


@pytest.mark.parametrize(
    ("wish", "use", "host"),
    [
        (None, None, GOOGLE),
        (None, "true", GOOGLE_MTLS),
        ("auto", "false", GOOGLE),
        ("never", "true", GOOGLE),
        ("always", None, GOOGLE_MTLS),
    ],
)
@pytest.mark.usefixtures("certificate")
def test_the_environment_chooses_the_mtls_endpoint(
    monkeypatch: pytest.MonkeyPatch, wish: str | None, use: str | None, host: str
) -> None:
    for name, value in ((USE_ENDPOINT, wish), (USE_CERTIFICATE, use)):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)

    assert google_endpoint() == Endpoint(host, 443)


def test_a_wish_that_is_no_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USE_ENDPOINT, "sometimes")

    with pytest.raises(InvalidInput, match="sometimes"):
        google_endpoint()


@pytest.mark.usefixtures("certificate")
def test_a_client_certificate_is_shown_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(USE_CERTIFICATE, "false")
    assert client_certificate() is None

    monkeypatch.setenv(USE_CERTIFICATE, "true")
    shown = client_certificate()
    assert shown is not None
    assert b"BEGIN CERTIFICATE" in shown[0]


def test_a_client_certificate_that_cannot_be_read_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text("no json")
    monkeypatch.setenv(CONFIG, str(config))
    monkeypatch.setenv(USE_CERTIFICATE, "true")

    with pytest.raises(NotAllowed, match="client certificate"):
        client_certificate()


ASK = """
import asyncio, sys
from tuner.errors import TunerError
from tuner.targets import open_target
from tuner.types import TargetConfig

async def main():
    async with open_target(TargetConfig("gemini", endpoint=sys.argv[1])) as target:
        print([model.name for model in await target.models()])

try:
    asyncio.run(main())
except TunerError as error:
    sys.exit(str(error))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({USE_CERTIFICATE: "true"}, "['models/tiny']"),
        ({USE_CERTIFICATE: "false"}, "is not available"),
        (
            {USE_CERTIFICATE: "true", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": ""},
            "certificate authority",
        ),
    ],
    ids=["with certificate", "without", "unknown authority"],
)
@pytest.mark.usefixtures("certificate")
def test_a_service_that_wants_client_certificates_gets_ours(
    tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    script = Script({"ListModels": [gl.ListModelsResponse(models=[{"name": "models/tiny"}])]})
    ca = tmp_path / "ca.pem"
    credentials = grpc.ssl_server_credentials(
        [((tmp_path / "server.key").read_bytes(), (tmp_path / "server.pem").read_bytes())],
        root_certificates=ca.read_bytes(),
        require_client_auth=True,
    )
    roots = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(ca), "GEMINI_API_KEY": "k"}

    async def asked() -> str:
        async with serving(script, credentials) as address:
            return await _run(f"https://{address}", roots | environment, tmp_path)

    assert said in asyncio.run(asked())


async def _run(endpoint: str, environment: dict[str, str], tmp_path: Path) -> str:
    """A process of its own: gRPC reads its roots once a process."""
    config = {CONFIG: str(tmp_path / "config.json")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        ASK,
        endpoint,
        env=config | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()


@pytest.mark.parametrize("kind", TARGETS)
def test_the_function_that_opens_a_target_exists(kind):
    module, _, function = TARGETS[kind].opener.partition(":")

    assert callable(getattr(import_module(module), function))
