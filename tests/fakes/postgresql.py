"""A PostgreSQL of the tests' own: made in a folder, on loopback, ended with the session."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
PASSWORD = "secret"
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_wal_size=64MB")


@dataclass(frozen=True)
class Server:
    """One server; ``folder`` holds its data, its socket and its log."""

    folder: Path
    port: int

    def url(self, name: str, user: str = "postgres", password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{name}"

    def control(self, *arguments: str) -> None:
        _as_postgres("pg_ctl", "-D", str(self.folder / "data"), "-w", *arguments)

    def start(self) -> None:
        settings = [f"port={self.port}", f"unix_socket_directories={self.folder}", *QUICK]
        options = " ".join(f"-c {each}" for each in settings)
        self.control("-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self.control("-m", "immediate", "stop")

    def do(self, sql: str, name: str = "postgres") -> str:
        """What the SQL answers, run by a program that is no part of tuner."""
        return subprocess.run(
            ["psql", "-X", "-At", "-c", sql, self.url(name)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()


@contextmanager
def running() -> Iterator[Server]:
    """A server that asks for the password ``secret``; skips, or fails in CI, where there is none."""
    if not PROGRAMS:
        why = "PostgreSQL is not installed: apt-get install postgresql"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    with TemporaryDirectory(prefix="tuner-postgresql-") as name:  # pytest's are for root alone
        folder = Path(name)
        _give_away(folder)
        (folder / "password").write_text(PASSWORD)
        arguments = ["-A", "scram-sha-256", "--pwfile", str(folder / "password"), "-U", "postgres"]
        _as_postgres("initdb", "-D", str(folder / "data"), "-E", "UTF8", "-N", *arguments)
        server = Server(folder, _free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()


_numbers = itertools.count()


def new_database(server: Server) -> str:
    """The URL of an empty database."""
    name = f"tuner_{next(_numbers)}"
    server.do(f"CREATE DATABASE {name}")
    return server.url(name)


def _give_away(path: Path) -> None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() == 0:
        shutil.chown(path, "postgres", "postgres")


def _as_postgres(program: str, *arguments: str) -> None:
    command = [str(PROGRAMS[-1] / program), *arguments]
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
