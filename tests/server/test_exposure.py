"""Where a service may listen, and what it must have to listen where others can come."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tuner.__main__ import run
from tuner.errors import InvalidInput
from tuner.server.access import exposure, keys
from tuner.server.access.hosts import checked, is_loopback
from tuner.server.access.tls import Tls
from tuner.server.settings import Settings
from tuner.server.store.database import open_store

TLS = Tls(Path("cert.pem"), Path("key.pem"))
OPEN = ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.com:1", "[::ffff:7f00:1]:1"]


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
def test_an_address_is_taken_and_a_port_alone_is_on_loopback(given, expected):
    assert checked(given, "--grpc") == expected
    assert is_loopback(expected)


@pytest.mark.parametrize("given", ["", "host", "127.0.0.1:99999", "127.0.0.1:x", "a b:1", "::1:5"])
def test_what_is_no_address_is_refused(given):
    with pytest.raises(InvalidInput, match=r"--rest .*: no address"):
        checked(given, "--rest")


@pytest.mark.parametrize("given", OPEN)
def test_other_hosts_are_for_others(given):
    assert not is_loopback(checked(given, "--grpc"))


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "[::1]", "127.0.0.1:8080"])
def test_a_host_header_of_this_machine_is_known(host):
    assert is_loopback(host)


def told(settings, folder):
    with pytest.raises(InvalidInput) as caught:
        exposure.check(settings, folder)
    return [each.what.split(":")[0].split()[0] + each.fix for each in caught.value.problems]


@pytest.mark.slow
@pytest.mark.parametrize("address", OPEN)
@pytest.mark.parametrize("door", ["grpc", "rest"])
def test_neither_door_opens_to_others_without_tls_and_a_key_in_force(tmp_path, door, address):
    bare = Settings(**{door: address})
    safe = Settings(**{door: address}, tls=TLS)
    tls, key = told(bare, tmp_path)
    assert (tls[:6], "--tls CERT KEY" in tls) == (f"--{door}", True)
    assert "tuner keys create" in key
    assert told(safe, tmp_path) == [key]
    assert not (tmp_path / "service.db").exists()
    key_id, _ = keys.create(tmp_path, "ana@x.org")
    assert told(bare, tmp_path) == [tls]
    exposure.check(safe, tmp_path)
    keys.revoke(tmp_path, key_id)
    assert told(safe, tmp_path) == [key]


def test_on_loopback_nothing_is_needed_and_nothing_made(tmp_path):
    exposure.check(Settings(rest="127.0.0.1:8080"), tmp_path)
    exposure.check(Settings("[::1]:1", rest=None), tmp_path)
    assert not list(tmp_path.iterdir())


def test_serving_beyond_loopback_is_refused_before_anything_starts(tmp_path, capsys):
    arguments = ["--grpc", "0.0.0.0:0", "--rest", "[::]:0", "--home", str(tmp_path)]
    assert run(["serve", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("without TLS") == 2
    assert said.count("no key in force") == 1
    assert not (tmp_path / "service").exists()


def test_a_database_that_cannot_be_read_is_no_reason_to_let_others_in(tmp_path):
    with closing(open_store(tmp_path)):
        (tmp_path / "service.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(Exception, match="damaged"):
        exposure.check(Settings("0.0.0.0:1", tls=TLS), tmp_path)
