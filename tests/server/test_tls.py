"""TLS: the files that will not do, the ones made for this machine, and gRPC and REST behind them."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.fakes.certificates import authority_and_pairs
from tests.fakes.engine import FakeEngine
from tuner.__main__ import run
from tuner.errors import InvalidInput, Unavailable
from tuner.server import lifecycle
from tuner.server.app import running
from tuner.server.messages import PACKAGE, ListModelsResponse, raw
from tuner.server.settings import Settings
from tuner.server.tls import RenewalWatcher, Tls, check_tls_files, ensure_dev_tls
from tuner.targets import open_target
from tuner.types import TargetConfig

NOW = datetime.now(UTC)


@pytest.fixture
def files(tmp_path):
    """A pair for localhost, one for a client, and the authority of both."""
    authority, (server, client) = authority_and_pairs("localhost", "client")
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in (
        ("ca.pem", authority),
        ("server.pem", server.certificate),
        ("server.key", server.key),
        ("client.pem", client.certificate),
        ("client.key", client.key),
    ):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    return folder


def pair(files, name="server"):
    return Tls(files / f"{name}.pem", files / f"{name}.key")


def wrong(tls, now=NOW):
    with pytest.raises(InvalidInput) as caught:
        check_tls_files(tls, now)
    return [(Path(each.path).name, each.what) for each in caught.value.problems]


def test_a_pair_that_fits_is_taken(files):
    check_tls_files(replace(pair(files), client_ca=files / "ca.pem"), NOW)


def test_what_is_wrong_with_each_file_is_said_at_once(files):
    (files / "server.key").chmod(0o640)
    tls = Tls(files / "none.pem", files / "server.key", client_ca=files / "client.pem")
    assert wrong(tls) == [
        ("none.pem", "No such file or directory"),
        ("server.key", "is secret, but others can read it"),
        ("client.pem", "is not the certificate of an authority"),
    ]


@pytest.mark.parametrize(("days", "what"), [(2, "expired on"), (-2, "is not valid before")])
def test_a_certificate_out_of_its_time_is_told(files, days, what):
    ((name, said),) = wrong(pair(files), NOW + timedelta(days=days))
    assert (name, said[: len(what)]) == ("server.pem", what)


def test_a_key_of_another_certificate_is_told(files):
    ((name, said),) = wrong(Tls(files / "server.pem", files / "client.key"))
    assert (name, said) == ("client.key", f"is not the key of {files / 'server.pem'}")


def test_files_that_hold_something_else_are_told(files):
    certificate, key = files / "server.pem", files / "server.key"
    swapped = Tls(key, certificate, client_ca=key)
    assert [said for _, said in wrong(swapped)] == [
        "has no certificate in PEM",
        "has no private key in PEM",
        "has no certificate in PEM",
    ]


def test_a_key_with_a_passphrase_is_told(files):
    locked = files / "locked.key"
    key = serialization.load_pem_private_key((files / "server.key").read_bytes(), None)
    how = serialization.BestAvailableEncryption(b"x")
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked.write_bytes(key.private_bytes(pem, pkcs8, how))
    locked.chmod(0o600)
    ((name, said),) = wrong(Tls(files / "server.pem", locked))
    assert (name, said) == ("locked.key", "is protected by a passphrase")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--tls", "no.pem", "no.key"], "no.pem: No such file"),
        (["--tls", "a", "b", "--dev-tls"], "mutually exclusive"),
        (["--client-ca", "ca.pem"], "--client-ca requires --tls"),
        (["--dev-tls", "--client-ca", "ca.pem"], "ca.pem: No such file"),
    ],
)
def test_what_serve_cannot_use_it_refuses_before_it_starts(tmp_path, capsys, arguments, what):
    assert run(["serve", *arguments, "--home", str(tmp_path)]) == 2
    assert what in capsys.readouterr().err
    assert not (tmp_path / "service" / "lock").exists()


def serial(tls):
    return x509.load_pem_x509_certificate(tls.certificate.read_bytes()).serial_number


def test_development_certificates_are_private_and_made_once(tmp_path):
    made = ensure_dev_tls(tmp_path, NOW)
    check_tls_files(replace(made, client_ca=made.ca), NOW)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"ca.pem": 0o644, "localhost.pem": 0o644, "localhost.key": 0o600}
    before = serial(made)
    assert serial(ensure_dev_tls(tmp_path, NOW + timedelta(days=700))) == before


def test_development_certificates_are_renewed_before_their_end(tmp_path):
    made = ensure_dev_tls(tmp_path, NOW)
    before = serial(made)
    later = NOW + timedelta(days=780)
    assert serial(ensure_dev_tls(tmp_path, later)) != before
    check_tls_files(made, later + timedelta(days=700))


@pytest.mark.parametrize("name", ["ca.pem", "localhost.pem", "localhost.key"])
@pytest.mark.parametrize("damage", [b"", b"torn", None])
def test_damaged_development_certificates_are_made_again(tmp_path, name, damage):
    made = ensure_dev_tls(tmp_path, NOW)
    before = serial(made)
    (tmp_path / name).unlink()
    if damage is not None:
        (tmp_path / name).write_bytes(damage)
    assert serial(ensure_dev_tls(tmp_path, NOW)) != before
    check_tls_files(made, NOW)


def test_a_certificate_of_another_authority_is_made_again(tmp_path):
    made = ensure_dev_tls(tmp_path / "a", NOW)
    other = ensure_dev_tls(tmp_path / "b", NOW)
    other.ca.replace(made.ca)
    before = serial(made)
    assert serial(ensure_dev_tls(tmp_path / "a", NOW)) != before


def test_a_renewed_pair_is_noticed_once_and_half_of_one_is_not(tmp_path):
    made = ensure_dev_tls(tmp_path / "tls", NOW)
    other = ensure_dev_tls(tmp_path / "other", NOW)
    renewals = RenewalWatcher(made)
    assert not renewals.is_renewed()
    other.certificate.replace(made.certificate)
    assert not renewals.is_renewed()
    other.key.replace(made.key)
    assert renewals.is_renewed()
    assert not renewals.is_renewed()
    made.key.unlink()
    assert not renewals.is_renewed()


async def models_over_grpc(address, ca, client=None):
    own = (client.key.read_bytes(), client.certificate.read_bytes()) if client else ()
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), *own)
    async with grpc.aio.secure_channel(address, credentials) as channel:
        call = channel.unary_unary(
            f"/{PACKAGE}.ModelService/ListModels",
            raw("ListModelsRequest").SerializeToString,
            ListModelsResponse.FromString,
        )
        return [each.name for each in (await call(raw("ListModelsRequest")())).models]


async def models_over_rest(address, ca, client=None):
    def ask():
        context = ssl.create_default_context(cafile=ca)
        if client:
            context.load_cert_chain(client.certificate, client.key)
        host, _, port = address.rpartition(":")
        connection = HTTPSConnection(host.strip("[]"), int(port), context=context, timeout=20)
        try:
            connection.request("GET", "/v1beta/models")
            body = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return [each["name"] for each in body["models"]]

    return await asyncio.to_thread(ask)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_grpc_and_rest_are_trusted_by_every_local_name(tmp_path, host):
    tls = ensure_dev_tls(tmp_path / "tls", NOW)
    settings = Settings(f"{host}:0", rest=f"{host}:0", tls=tls)
    async with running(settings, FakeEngine(), tmp_path) as (_, at):
        assert "models/tiny" in await models_over_grpc(at.grpc, tls.ca)
        assert "models/tiny" in await models_over_rest(at.rest, tls.ca)


@pytest.mark.slow
async def test_a_renewed_certificate_is_served_without_a_restart(tmp_path):
    tls = ensure_dev_tls(tmp_path / "tls", NOW)
    settings = Settings("localhost:0", rest="localhost:0", tls=tls)
    async with running(settings, FakeEngine(), tmp_path) as (_, at):
        await models_over_rest(at.rest, tls.ca)
        for path in tls.certificate.parent.iterdir():  # another authority with it
            path.unlink()
        ensure_dev_tls(tmp_path / "tls", NOW)
        assert await models_over_grpc(at.grpc, tls.ca)
        with pytest.raises(ssl.SSLCertVerificationError):
            await models_over_rest(at.rest, tls.ca)  # this handshake notices
        assert await models_over_rest(at.rest, tls.ca)


@pytest.mark.slow
async def test_with_a_client_authority_grpc_and_rest_require_its_certificate(tmp_path, files):
    tls = replace(pair(files), client_ca=files / "ca.pem")
    settings = Settings("localhost:0", rest="localhost:0", tls=tls)
    stranger = ensure_dev_tls(tmp_path / "tls", NOW)
    async with running(settings, FakeEngine(), tmp_path) as (_, at):
        ca, client = files / "ca.pem", pair(files, "client")
        assert await models_over_grpc(at.grpc, ca, client)
        assert await models_over_rest(at.rest, ca, client)
        for other in (None, stranger):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await models_over_grpc(at.grpc, ca, other)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            with pytest.raises(OSError, match=r"certificate|reset|alert|unknown ca|closed"):
                await models_over_rest(at.rest, ca, other)


@pytest.mark.slow
@pytest.mark.parametrize("shows", [True, False])
def test_our_own_client_finds_the_authority_and_shows_its_certificate(
    tmp_path, files, monkeypatch, shows
):
    tls = replace(pair(files), client_ca=files / "ca.pem", ca=files / "ca.pem")
    config = tmp_path / "certificates.json"
    paths = {"cert_path": str(files / "client.pem"), "key_path": str(files / "client.key")}
    config.write_text(json.dumps({"cert_configs": {"workload": paths}}))
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))
    monkeypatch.setenv("GOOGLE_API_CERTIFICATE_CONFIG", str(config))
    monkeypatch.setenv("GOOGLE_API_USE_CLIENT_CERTIFICATE", str(shows).lower())

    async def go():
        folder = tmp_path / "service"
        opened = running(Settings("localhost:0", tls=tls), FakeEngine(), folder)
        async with opened as (_, at):
            lifecycle.write_addresses(folder, at)
            async with open_target(TargetConfig("local")) as target:
                return [each.name for each in await target.models()]

    if shows:
        assert "models/tiny" in asyncio.run(go())
    else:
        with pytest.raises(Unavailable) as caught:
            asyncio.run(go())
        assert "client certificate" in caught.value.fix
