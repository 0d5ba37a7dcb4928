from __future__ import annotations

import json
import logging
import re
from dataclasses import replace

import pytest

from tuner.engine import TINY
from tuner.errors import InvalidInput
from tuner.server import banner
from tuner.server.access.tls import Tls
from tuner.server.lifecycle import Addresses
from tuner.server.logs import JsonLines
from tuner.server.service_file import read
from tuner.server.settings import Settings, with_more


def test_base_models_are_added_by_name_and_source():
    models = with_more({}, ["tiny=builtin:tiny", "models/qwen=Qwen/Qwen3-0.6B"])
    assert models["models/tiny"] == TINY
    assert models["models/qwen"].source == "Qwen/Qwen3-0.6B"
    assert "createTunedModel" in models["models/qwen"].methods


def test_every_wrong_pair_is_named():
    with pytest.raises(InvalidInput) as caught:
        with_more({}, ["tiny", "Big=x", "ok=x", "a="])
    assert [each.what.split(":")[0] for each in caught.value.problems] == [
        *("--base-model tiny", "--base-model Big=x", "--base-model a=")
    ]


@pytest.mark.parametrize("source", ["/nowhere/model", "./nowhere", "builtin:nope"])
def test_a_source_that_is_not_there_is_told_before_the_start(tmp_path, source):
    with pytest.raises(InvalidInput, match=r"nowhere|nope"):
        with_more({}, [f"mine={source}"])
    file = tmp_path / "service.yaml"
    file.write_text(f"base_models:\n  mine:\n    source: {source}\n")
    with pytest.raises(InvalidInput, match="mine: "):
        read(file)


def test_a_service_file_declares_models(tmp_path):
    (tmp_path / "weights").mkdir()
    file = tmp_path / "service.yaml"
    file.write_text(
        "base_models:\n"
        "  mine:\n    source: weights\n    display_name: 1.0\n    input_token_limit: 512\n"
        "    methods: [generateContent]\n    temperature: 0.5\n"
    )
    model = read(file)["models/mine"]
    assert model.source == str(tmp_path / "weights")
    assert (model.display_name, model.input_token_limit) == ("1.0", 512)
    assert model.methods == ("generateContent",)


def test_everything_wrong_with_a_service_file_is_said_with_its_line(tmp_path):
    file = tmp_path / "service.yaml"
    file.write_text(
        "models: {}\n"
        "base_models:\n"
        "  Big: {source: x}\n"
        "  a: {sauce: x, source: y}\n"
        "  b: {display_name: x}\n"
        "  c: {source: x, top_k: many}\n"
        "  d: [1]\n"
        "  e: {source: x, source: y}\n"
    )
    with pytest.raises(InvalidInput) as caught:
        read(file)
    assert [each.line for each in caught.value.problems] == [1, 3, 4, 5, 6, 7, 7, 8]


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\xff"])
def test_a_file_that_is_not_yaml_is_refused_by_name(tmp_path, content):
    file = tmp_path / "service.yaml"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match="not YAML"):
        read(file)
    with pytest.raises(InvalidInput, match="No such file"):
        read(tmp_path / "none.yaml")


def test_the_banner_says_what_where_and_how_to_connect(tmp_path):
    at = Addresses("127.0.0.1:5", "127.0.0.1:6")
    text = banner.text(Settings(base_models={TINY.name: TINY}), tmp_path, at, 0, 1)
    assert "tiny (tunes, writes)" in text
    assert "127.0.0.1:5" in text
    assert 'http_options={"base_url": "http://127.0.0.1:6"}' in text
    assert 'client_options={"api_endpoint": "http://127.0.0.1:6"}' in text
    assert "curl -H 'x-goog-api-key: KEY' http://127.0.0.1:6/v1beta/models" in text
    bare = banner.text(Settings(), tmp_path, Addresses("127.0.0.1:5"), 0, 1)
    assert "needs a REST door" in bare
    assert "1 tuning to go on with" in text
    assert "owner@localhost" in text


def test_with_an_authority_of_our_own_each_line_says_how_its_client_learns_of_it(tmp_path):
    tls = Tls(tmp_path / "c", tmp_path / "k", client_ca=tmp_path / "ca", ca=tmp_path / "ca.pem")
    at = Addresses("localhost:5", "localhost:6", tls=True, ca=str(tls.ca))
    text = banner.text(Settings("0.0.0.0:5", tls=tls), tmp_path, at, 1, 0)
    lines = {line.strip().split("  ")[0]: line for line in text.splitlines()}
    clients = dict(each.split("\n", 1) for each in re.split(r"\n    (?! )", text)[1:])
    assert lines["trust"].endswith(f"export CA={tls.ca}")
    assert "REST on https://localhost:6, with TLS, for client certificates only" in text
    assert "--grpc 0.0.0.0:5" in lines["open"]
    for client, trust, own in [
        (
            "tuner",
            "export GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=$CA",
            "target: {kind: local, endpoint: ",
        ),
        ("google-generativeai", "export GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=$CA", "genai.configure("),
        ("google-generativeai, REST", "export REQUESTS_CA_BUNDLE=$CA", "genai.configure("),
        ("google-genai", "export SSL_CERT_FILE=$CA", "genai.Client("),
    ]:
        shell, line = (each.strip() for each in clients[client].splitlines()[:2])
        assert shell == trust
        assert line.startswith(own)
    assert "endpoint: https://localhost:5" in clients["tuner"]
    assert "curl --cacert $CA" in clients["curl"]
    assert max(map(len, text.splitlines()[1:])) <= 120
    public = banner.text(Settings(tls=replace(tls, ca=None)), tmp_path, replace(at, ca=None), 1, 0)
    assert "$CA" not in public


def test_a_log_line_is_json_with_what_the_event_brought_along():
    record = logging.makeLogRecord({"msg": "GetModel", "levelname": "INFO", "ms": 1.5})
    line = json.loads(JsonLines().format(record))
    assert (line["event"], line["level"], line["ms"]) == ("GetModel", "info", 1.5)
