"""Databases of older versions are upgraded, those of newer versions refused."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from tuner.server import lifecycle
from tuner.server.store import models, open_store, operations, permissions, queue, schema
from tuner.server.store.database import StoreFailed
from tuner.types import Example

pytestmark = pytest.mark.slow
DUMP = Path(__file__).parent / "data" / "schema_1.sql"


@pytest.fixture
def old(tmp_path):
    """The folder of a service that ran tuner 0.1.0."""
    with closing(sqlite3.connect(tmp_path / "service.db")) as connection:
        connection.executescript(DUMP.read_text())
    return tmp_path


def dump(path):
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump())


def test_a_database_of_version_1_is_upgraded_with_all_its_data(old):
    with closing(open_store(old, exclusive=True)) as store:
        assert store.tunings == old / "tunings"
        done = store.run(operations.find, "tunedModels/done/operations/uiddone")
        assert done.done
        assert (done.model.state, done.model.display_name) == ("ACTIVE", "Größe uiddone")
        assert [each.mean_loss for each in done.snapshots] == [0.5, 0.25]
        failed = store.run(operations.find, "tunedModels/failed/operations/uidfailed")
        assert (failed.error_code, failed.error_message) == (13, "the disk said no")
        rows = [row for _, row in store.run(permissions.page, "tunedModels/done", 0, 9)]
        roles = [("ownerdone", "OWNER"), ("team", "READER"), ("all", "READER")]
        assert [(row.id, row.role) for row in rows] == roles
        claim = store.run(queue.claim, 2_000_000_000_000, 1000)
        assert (claim.model.uid, claim.completed_steps) == ("uidrunning", 1)
        assert claim.examples == (Example("1", "2"), Example("a\u2028b", "ü"))


def test_groups_named_by_old_keys_become_groups(old):
    with closing(open_store(old, exclusive=True)) as store:
        found = {row.email_address: row.members for row in store.run(permissions.list_groups)}
        assert found == {
            "lab@example.com": ("ana@example.com",),
            "team@example.com": ("ana@example.com", "ben@example.com"),
        }
        keys = [row.id for row in store.run(permissions.list_keys)]
        assert keys == ["a" * 10, "b" * 10, "c" * 10]
        assert store.run(permissions.find_key, "a" * 10).salt == b"\x00\x01salt"


def test_a_copy_of_the_old_file_is_kept(old):
    before = dump(old / "service.db")
    open_store(old, exclusive=True).close()
    assert dump(old / "service.db.schema-1") == before
    assert (old / "service.db.schema-1").stat().st_mode & 0o077 == 0


def test_positions_are_not_reused_after_an_upgrade(old):
    with closing(open_store(old, exclusive=True)) as store:
        row = store.run(models.find, "tunedModels/done")
        store.run(models.insert, replace(row, name="tunedModels/n", uid="n"))
        query = "SELECT position FROM model WHERE uid = 'n'"
        assert store.run(lambda connection: connection.scalar(text(query))) == 5


def differences(connection):
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return compare_metadata(context, schema.metadata)


def test_an_upgraded_database_has_the_declared_tables(old):
    with closing(open_store(old, exclusive=True)) as store:
        found = store.run(lambda connection: inspect(connection).get_table_names())
        assert store.run(differences) == []
    assert set(found) - {"sqlite_sequence"} == set(schema.metadata.tables)


def test_there_is_a_migration_for_every_version():
    steps = {path.stem for path in schema.MIGRATIONS.glob("version_*.py")}
    assert steps == {f"version_{number}" for number in range(1, schema.VERSION + 1)}


@pytest.mark.parametrize("said", ["99", "ae1027a6acf"])
def test_an_unknown_version_is_refused_in_one_line_and_not_changed(tmp_path, said):
    open_store(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "service.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [said])
        connection.commit()
    before = dump(tmp_path / "service.db")
    with pytest.raises(StoreFailed, match=f"schema {said}") as caught:
        open_store(tmp_path, exclusive=True)
    assert "\n" not in caught.value.what
    assert caught.value.fix
    assert dump(tmp_path / "service.db") == before


def test_key_commands_do_not_upgrade_under_a_running_older_service(old):
    before = dump(old / "service.db")
    with lifecycle.service_lock(old), pytest.raises(StoreFailed, match="running service") as caught:
        open_store(old)
    assert "tuner serve --stop" in caught.value.fix
    assert dump(old / "service.db") == before
    open_store(old).close()


def test_a_current_database_is_opened_without_alembic(tmp_path):
    open_store(tmp_path).close()
    code = (
        "import sys; from pathlib import Path; from tuner.server.store import open_store;"
        f"open_store(Path({str(tmp_path)!r})).close(); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


KILLED_AT_EVERY_STATEMENT = """
import os, shutil, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from tuner.server.store import open_store
from alembic import command, config, op  # loaded once, not in every child

folder, at = Path(sys.argv[1]), 0
while True:
    copy = folder.with_name(f"copy{at}")
    shutil.copytree(folder, copy)
    if not (child := os.fork()):
        seen = 0
        @event.listens_for(Engine, "after_cursor_execute")
        def count(*_):
            global seen
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1
        open_store(copy, exclusive=True).close()
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
    at += 1
print(at)
"""


def test_a_migration_killed_at_any_statement_leaves_the_old_tables_or_the_new(old):
    whole = old / "whole"
    whole.mkdir()
    shutil.move(old / "service.db", whole)
    before = dump(whole / "service.db")
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EVERY_STATEMENT, str(whole)],
        check=True,
        capture_output=True,
        text=True,
    )
    kills = int(done.stdout)
    assert kills > 20
    after = dump(old / f"copy{kills}" / "service.db")
    found = [dump(old / f"copy{at}" / "service.db") for at in range(kills)]
    assert set(found) == {before, after}
    for at in (0, kills // 2, kills - 1):
        open_store(old / f"copy{at}", exclusive=True).close()
        assert dump(old / f"copy{at}" / "service.db") == after
