"""`tuner keys` and `tuner serve`, as they are typed."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing

import pytest

from tuner.__main__ import run
from tuner.server.access import identify
from tuner.server.api_errors import ApiError
from tuner.server.store.database import open_store

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))
    return tmp_path


def who(home, key):
    async def go():
        with closing(open_store(home / "service")) as store:
            return await identify(store, {"x-goog-api-key": key})

    return asyncio.run(go())


def test_a_key_is_printed_once_works_and_can_be_revoked(home, capsys):
    assert run(["keys", "create", "ana@x.org"]) == 0
    shown = capsys.readouterr()
    key = shown.out.strip()
    assert "first key" in shown.err
    assert who(home, key).email_address == "ana@x.org"
    assert run(["keys", "list", "-o", "json"]) == 0
    listed = capsys.readouterr().out
    assert key not in listed
    (row,) = json.loads(listed)
    assert row["email"] == "ana@x.org"
    assert run(["keys", "revoke", row["id"]]) == 0
    with pytest.raises(ApiError, match="revoked"):
        who(home, key)


def test_a_table_of_keys_stays_aligned_under_long_addresses(home, capsys):
    addresses = ["ana@x.org", f"{'long' * 15}@example.com"]
    for each in addresses:
        run(["keys", "create", each])
    capsys.readouterr()
    run(["keys", "--home", str(home), "list"])
    heading, *rows = capsys.readouterr().out.splitlines()
    assert [row[heading.index("email") :].split()[0] for row in rows] == addresses
    assert len({row.index("T", heading.index("created")) for row in rows}) == 1


def test_the_key_itself_names_the_key_to_revoke_and_is_not_repeated(home, capsys):
    assert home
    run(["keys", "create", "ana@x.org"])
    key = capsys.readouterr().out.strip()
    assert run(["keys", "revoke", key]) == 0
    assert key not in capsys.readouterr().err


def test_what_is_no_address_makes_no_key(home, capsys):
    assert run(["keys", "create", "ana"]) == 2
    assert "'ana' is not an e-mail address" in capsys.readouterr().err
    assert not (home / "service").exists()


def test_a_key_that_is_not_there_cannot_be_revoked(home, capsys):
    assert home
    assert run(["keys", "revoke", "none"]) == 2
    assert "tuner keys list" in capsys.readouterr().err


def test_stopping_what_does_not_run_is_no_error(home, capsys):
    assert home
    assert run(["serve", "--stop"]) == 0
    assert "no service runs" in capsys.readouterr().err
