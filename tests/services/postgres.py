"""A real PostgreSQL server for tests, started once a test run.

    def test_something(postgres_url: str):
        registry = Registry(postgres_url)

Each test has a database of its own. Needs the programs of PostgreSQL; without them the tests that
ask for one are skipped, and fail where `CI=true`. The server keeps nothing on the disk for sure
(`fsync=off`), listens on a free port of 127.0.0.1, and is stopped by its process id. It refuses to
run as root, so there it runs as the user `postgres`, in a folder that this user can reach.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest

from tests.services.kafka import free_ports
from tests.services.started import Started

_START_TIMEOUT_S = 60.0
_USER = "postgres"


class Server(Started):
    """A server in `folder`, made for it."""

    def __init__(self, folder: Path, programs: Path, port: int) -> None:
        super().__init__(folder, "PostgreSQL")
        self._programs = programs
        self._port = port

    def start(self) -> None:
        """Make the server's databases, start it, and wait until it answers."""
        data = self._folder / "data"
        words = ["-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        made = subprocess.run(
            self._command("initdb", "-D", str(data), *words), capture_output=True, text=True
        )
        assert made.returncode == 0, f"initdb failed:\n{made.stdout}{made.stderr}"
        options = ("listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=16MB")
        flags = [word for option in options for word in ("-c", option)]
        where = ("-D", str(data), "-p", str(self._port), "-k", str(self._folder))
        self._run(self._command("postgres", *where, *flags), self._answers, _START_TIMEOUT_S)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server; it does not wait for clients that are still there."""
        super().stop(how)

    def make_database(self) -> str:
        """A new, empty database; its URL."""
        name = f"t{uuid.uuid4().hex}"
        with self._connected() as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://{_USER}@127.0.0.1:{self._port}/{name}"

    def _connected(self) -> psycopg.Connection[object]:
        where = {"host": "127.0.0.1", "port": self._port, "user": _USER}
        return psycopg.connect(**where, autocommit=True)  # type: ignore[arg-type]

    def _answers(self) -> bool:
        try:
            self._connected().close()
        except psycopg.OperationalError:
            return False
        return True

    def _command(self, program: str, *words: str) -> Sequence[str]:
        rights: list[str] = []
        if os.geteuid() == 0:
            group = str(pwd.getpwnam(_USER).pw_gid)
            rights = ["setpriv", f"--reuid={_USER}", f"--regid={group}", "--init-groups"]
        return [*rights, str(self._programs / program), *words]


def programs() -> Path | None:
    """The folder with PostgreSQL's programs; Debian keeps them out of the path."""
    found = shutil.which("postgres")
    if found is not None and shutil.which("initdb") is not None:
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders and (folders[-1] / "initdb").exists() else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The run's server."""
    found = programs()
    if found is None:
        reason = "a PostgreSQL server needs its programs: see .ci/services"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="tegula-postgres-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, _USER)
        server = Server(folder, found, free_ports(1)[0])
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture
def postgres_url(postgres: Server) -> str:
    """An empty database, for one test."""
    return postgres.make_database()
