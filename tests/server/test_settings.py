"""Settings of `tuner serve`: addresses and who may reach them, base models, the service file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tuner.__main__ import run
from tuner.engine import TINY
from tuner.errors import InvalidInput
from tuner.server import access
from tuner.server.settings import (
    Settings,
    add_base_models,
    check_exposure,
    is_loopback,
    parse_address,
    read_service_file,
)
from tuner.server.store import open_store
from tuner.server.tls import Tls

TLS = Tls(Path("cert.pem"), Path("key.pem"))
EXPOSED = ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.com:1", "[::ffff:7f00:1]:1"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("50051", "127.0.0.1:50051"),
        ("localhost:1", "localhost:1"),
        ("[::1]:2", "[::1]:2"),
        ("127.8.8.8:3", "127.8.8.8:3"),
    ],
)
def test_an_address_is_parsed_and_a_port_alone_is_on_loopback(given, expected):
    assert parse_address(given, "--grpc") == expected
    assert is_loopback(expected)


@pytest.mark.parametrize("given", ["", "host", "127.0.0.1:99999", "127.0.0.1:x", "a b:1", "::1:5"])
def test_an_invalid_address_is_refused(given):
    with pytest.raises(InvalidInput, match=r"--rest .*: not an address"):
        parse_address(given, "--rest")


@pytest.mark.parametrize("given", EXPOSED)
def test_other_addresses_can_be_reached_by_other_machines(given):
    assert not is_loopback(parse_address(given, "--grpc"))


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "[::1]", "127.0.0.1:8080"])
def test_a_host_header_of_this_machine_is_recognised(host):
    assert is_loopback(host)


def exposure_problems(settings, folder):
    with pytest.raises(InvalidInput) as caught:
        check_exposure(settings, folder)
    return [each.what.split(":")[0].split()[0] + each.fix for each in caught.value.problems]


@pytest.mark.slow
@pytest.mark.parametrize("address", EXPOSED)
@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_an_exposed_service_needs_tls_and_a_valid_key(tmp_path, protocol, address):
    bare = Settings(**{protocol: address})
    safe = Settings(**{protocol: address}, tls=TLS)
    tls, key = exposure_problems(bare, tmp_path)
    assert (tls[:6], "--tls CERT KEY" in tls) == (f"--{protocol}", True)
    assert "tuner keys create" in key
    assert exposure_problems(safe, tmp_path) == [key]
    assert not (tmp_path / "service.db").exists()
    key_id, _ = access.create_key(tmp_path, "ana@x.org")
    assert exposure_problems(bare, tmp_path) == [tls]
    check_exposure(safe, tmp_path)
    access.revoke_key(tmp_path, key_id)
    assert exposure_problems(safe, tmp_path) == [key]


def test_on_loopback_nothing_is_required_and_nothing_created(tmp_path):
    check_exposure(Settings(rest="127.0.0.1:8080"), tmp_path)
    check_exposure(Settings("[::1]:1", rest=None), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_exposed_service_is_refused_before_anything_starts(tmp_path, capsys):
    arguments = ["--grpc", "0.0.0.0:0", "--rest", "[::]:0", "--home", str(tmp_path)]
    assert run(["serve", *arguments]) == 2
    text = capsys.readouterr().err
    assert text.count("without TLS") == 2
    assert text.count("no valid key") == 1
    assert not (tmp_path / "service").exists()


def test_a_damaged_database_exposes_nothing(tmp_path):
    with closing(open_store(tmp_path)):
        (tmp_path / "service.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(Exception, match="damaged"):
        check_exposure(Settings("0.0.0.0:1", tls=TLS), tmp_path)


def test_base_models_are_added_by_name_and_source():
    models = add_base_models({}, ["tiny=builtin:tiny", "models/qwen=Qwen/Qwen3-0.6B"])
    assert models["models/tiny"] == TINY
    assert models["models/qwen"].source == "Qwen/Qwen3-0.6B"
    assert "createTunedModel" in models["models/qwen"].methods


def test_every_invalid_pair_is_reported():
    with pytest.raises(InvalidInput) as caught:
        add_base_models({}, ["tiny", "Big=x", "ok=x", "a="])
    assert [each.what.split(":")[0] for each in caught.value.problems] == [
        *("--base-model tiny", "--base-model Big=x", "--base-model a=")
    ]


@pytest.mark.parametrize("source", ["/nowhere/model", "./nowhere", "builtin:nope"])
def test_a_missing_source_is_reported_before_the_start(tmp_path, source):
    with pytest.raises(InvalidInput, match=r"nowhere|nope"):
        add_base_models({}, [f"mine={source}"])
    file = tmp_path / "service.yaml"
    file.write_text(f"base_models:\n  mine:\n    source: {source}\n")
    with pytest.raises(InvalidInput, match="mine: "):
        read_service_file(file)


def test_a_service_file_declares_models(tmp_path):
    (tmp_path / "weights").mkdir()
    file = tmp_path / "service.yaml"
    file.write_text(
        "base_models:\n"
        "  mine:\n    source: weights\n    display_name: '1.0'\n    input_token_limit: 512\n"
        "    methods: [generateContent]\n    temperature: 0.5\n"
    )
    model = read_service_file(file)["models/mine"]
    assert model.source == str(tmp_path / "weights")
    assert (model.display_name, model.input_token_limit) == ("1.0", 512)
    assert model.methods == ("generateContent",)


@pytest.mark.parametrize("content", ["", "base_models:\n", "# nothing\n"])
def test_an_empty_service_file_declares_none(tmp_path, content):
    file = tmp_path / "service.yaml"
    file.write_text(content)
    assert read_service_file(file) == {}


def test_all_errors_of_a_service_file_are_reported_with_their_lines(tmp_path):
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
        read_service_file(file)
    assert [each.line for each in caught.value.problems] == [1, 3, 4, 5, 6, 7, 7, 8]


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\xff"])
def test_a_file_that_is_not_yaml_is_refused_by_name(tmp_path, content):
    file = tmp_path / "service.yaml"
    file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        read_service_file(file)
    assert caught.value.problems[0].path == str(file)
    with pytest.raises(InvalidInput, match="no such file"):
        read_service_file(tmp_path / "none.yaml")
