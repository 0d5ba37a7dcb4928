"""What a service prints when it is ready."""

from __future__ import annotations

import re
from dataclasses import replace

from tuner.engine import TINY
from tuner.server.lifecycle import Addresses, startup_text


def text_for(at, home, **changes):
    values = {
        "tls": "without TLS",
        "has_keys": False,
        "exposed": [],
        "state": "STATE",
        "queued": 1,
    } | changes
    return startup_text(at, [TINY], home=home, **values)


def test_it_names_models_addresses_and_how_to_connect(tmp_path):
    text = text_for(Addresses("127.0.0.1:5", "127.0.0.1:6"), tmp_path)
    assert "tiny (tunes, generates)" in text
    assert "127.0.0.1:5" in text
    assert 'http_options={"base_url": "http://127.0.0.1:6"}' in text
    assert 'client_options={"api_endpoint": "http://127.0.0.1:6"}' in text
    assert "curl -H 'x-goog-api-key: KEY' http://127.0.0.1:6/v1beta/models" in text
    assert "1 tuning to continue" in text
    assert "owner@localhost" in text
    assert "needs REST" in text_for(Addresses("127.0.0.1:5"), tmp_path)


def test_with_the_services_own_authority_each_line_says_how_its_client_trusts_it(tmp_path):
    ca = str(tmp_path / "ca.pem")
    at = Addresses("localhost:5", "localhost:6", tls=True, ca=ca)
    text = text_for(at, tmp_path, tls="with TLS", exposed=["--grpc 0.0.0.0:5"])
    lines = {line.strip().split("  ")[0]: line for line in text.splitlines()}
    clients = dict(each.split("\n", 1) for each in re.split(r"\n    (?! )", text)[1:])
    assert lines["trust"].endswith(f"export CA={ca}")
    assert "REST on https://localhost:6, with TLS" in text
    assert "--grpc 0.0.0.0:5" in lines["open"]
    grpc_roots = "export GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=$CA"
    for client, trust, line in [
        ("tuner", grpc_roots, "target: {kind: local, endpoint: https://localhost:5"),
        ("google-generativeai", grpc_roots, "genai.configure("),
        ("google-generativeai, REST", "export REQUESTS_CA_BUNDLE=$CA", "genai.configure("),
        ("google-genai", "export SSL_CERT_FILE=$CA", "genai.Client("),
    ]:
        first, second = (each.strip() for each in clients[client].splitlines()[:2])
        assert first == trust
        assert second.startswith(line)
    assert "curl --cacert $CA" in clients["curl"]
    assert max(map(len, text.splitlines()[1:])) <= 120
    assert "$CA" not in text_for(replace(at, ca=None), tmp_path)
