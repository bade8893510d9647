"""The registry's tables, and how a process opens them.

Every write runs alone: `BEGIN IMMEDIATE` on SQLite, an advisory lock on PostgreSQL. So a write may
read, decide and insert without a retry loop, and numbers are simply the greatest plus one. Rows
that give numbers away are never deleted; a number is never used twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import StaticPool

from ..schemas.errors import RegistryUnreachable, SettingsError

FORMAT: Final = 1
"""Version of these tables, kept in `meta`. A change of any table is a new version."""

_BUSY_TIMEOUT_S: Final = 30.0
_POSTGRES_LOCK: Final = 0x7467_756C  # any number that is ours alone in the database

TABLES: Final = sa.MetaData()

META = sa.Table(
    "meta",
    TABLES,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

VERSION = sa.Table(
    "version",
    TABLES,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("definitions", sa.Text, nullable=False),  # canonical JSON
    sa.Column("author", sa.String, nullable=False),
    sa.Column("message", sa.String, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
)

# The fingerprints of each view as of each version.
PRINT = sa.Table(
    "print",
    TABLES,
    sa.Column("version", sa.ForeignKey(VERSION.c.number), primary_key=True),
    sa.Column("view", sa.String, primary_key=True),
    sa.Column("structural", sa.String, nullable=False),
    sa.Column("operational", sa.String, nullable=False),
)

BUILD = sa.Table(
    "build",
    TABLES,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("view", sa.String, nullable=False),
    sa.Column("version", sa.ForeignKey(VERSION.c.number), nullable=False),
    sa.Column("structural", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
)

# A journal: the catalogue of version v is, for each view, its newest row up to v. A row without a
# view says that the definitions changed; a row without a build takes a removed view out.
CATALOGUE = sa.Table(
    "catalogue",
    TABLES,
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("definitions", sa.ForeignKey(VERSION.c.number), nullable=False),
    sa.Column("view", sa.String),
    sa.Column("build", sa.ForeignKey(BUILD.c.id)),
)

STREAM = sa.Table(
    "stream",
    TABLES,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("ordinal", sa.BigInteger, nullable=False, unique=True),
    sa.Column("identity", sa.String),
)

PARTITION = sa.Table(
    "partition",
    TABLES,
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("ordinal", sa.BigInteger, nullable=False, unique=True),
)

INCARNATION = sa.Table(
    "incarnation",
    TABLES,
    sa.Column("shard", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, nullable=False),
)

PROGRESS = sa.Table(
    "progress",
    TABLES,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("payload", sa.Text, nullable=False),  # canonical JSON
    sa.Column("updated_us", sa.BigInteger, nullable=False),
)


class Database:
    """A lazily connected database with transactions that cannot be told apart by dialect.

    `name` is the URL without its password, for errors; `file` an SQLite database's file. Another
    file that is put in its place is found: `replaced` counts how often. Safe for several threads;
    after a fork, make a new one.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            self._engine = _engine(parsed)
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as fault:
            raise SettingsError(
                "the registry's URL cannot be used",
                where="registry_url",
                got=str(fault).partition("\n")[0],
                expected="such as sqlite:///.tegula/registry.db or postgresql+psycopg://…",
            ) from fault
        self.name = parsed.render_as_string(hide_password=True)
        self.file = _file(parsed)
        self.replaced = 0
        self._inode: tuple[int, int] | None = None

    @property
    def absent(self) -> bool:
        """Whether this is an SQLite file that does not exist; reading would make an empty one."""
        return self.file is not None and not self.file.exists()

    def make_room(self) -> None:
        """Create the directory of an SQLite file."""
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)

    def copy_to(self, path: Path) -> bool:
        """Copy an SQLite file, as of one moment, to a new one; False for any other database."""
        if self.file is None:
            return False
        with self._guard(), self._engine.connect() as connection:
            source = connection.connection.driver_connection
            assert isinstance(source, sqlite3.Connection)
            try:
                with closing(sqlite3.connect(path)) as copy:
                    source.backup(copy)
            except sqlite3.Error as fault:
                raise RegistryUnreachable(where=self.name, detail=str(fault)) from fault
        return True

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that no other write runs beside; rolled back if the block raises."""
        with self._guard(), self._connected() as connection:
            connection = connection.execution_options(tegula_write=True)
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_LOCK)))
                yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of all tables."""
        with self._guard(), self._connected() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Give back all connections; a later call opens new ones."""
        self._engine.dispose()

    def _connected(self) -> sa.Connection:
        """A connection to the file that is there now, which may have been restored meanwhile.

        One that was opened before would go on showing the file that is no longer there.
        """
        if self.file is not None:
            try:
                found = self.file.stat()
            except OSError:
                return self._engine.connect()
            inode = (found.st_dev, found.st_ino)
            if self._inode not in (None, inode):
                self._engine.dispose()
                self.replaced += 1
            self._inode = inode
        return self._engine.connect()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.SQLAlchemyError as fault:
            cause = getattr(fault, "orig", None) or fault
            detail = str(cause).partition("\n")[0]
            raise RegistryUnreachable(where=self.name, detail=detail) from fault


def _file(url: URL) -> Path | None:
    """The file of an SQLite database that lies in one."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(url.database or "")


def _engine(url: URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True)
    # One connection for a database in memory: another connection would see another database.
    pool: dict[str, Any] = {} if _file(url) else {"poolclass": StaticPool}
    arguments = {"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False}
    engine = sa.create_engine(url, connect_args=arguments, **pool)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # Autocommit to the driver: it would begin transactions itself, and begin them deferred.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # an incarnation must outlive a power cut
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("tegula_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
