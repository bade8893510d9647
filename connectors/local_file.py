"""The file of a local log: its tables, how it is made and opened, and what can be wrong with it.

One SQLite file a stream, in write-ahead mode with `synchronous=FULL`: a commit survives a power
cut. A row holds one appended batch, not one event, so the cost of a commit is paid once a batch.

    log(identity, stream, partitions)                     one row, written when the file is made
    batches(partition, first_offset, count, log_us, hash, ends, data)

Event i of a batch has offset `first_offset + i`; batches of a partition follow each other without
gaps, and their `log_us` never goes back. `data` joins the events by newlines, `ends` says where
each ends (little-endian uint32, as in `Payloads`), `hash` is the xxh3 of both, checked on reading.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import xxhash

from ..schemas.errors import FormatUnknown, LogFull, SourceError

APPLICATION_ID = 0x54474C47  # "TGLG" in the file's header tells our file from another program's
FORMAT_VERSION = 1
_BUSY_TIMEOUT_S = 30.0  # how long a writer waits for the others before it gives up
_PAGE_BYTES = 16_384  # batches span many pages; larger ones are read faster
_TABLES = """
CREATE TABLE log (identity TEXT NOT NULL, stream TEXT NOT NULL, partitions INTEGER NOT NULL);
CREATE TABLE batches (
    partition INTEGER NOT NULL, first_offset INTEGER NOT NULL, count INTEGER NOT NULL,
    log_us INTEGER NOT NULL, hash INTEGER NOT NULL, ends BLOB NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (partition, first_offset)
);
"""


def create(path: Path, stream: str, partitions: int) -> None:
    """Make the file where it is missing, whole or not at all, also if several processes try."""
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}.new")
    with named_errors(path):
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(draft, isolation_level=None)) as db:
                db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
                db.execute("PRAGMA journal_mode = WAL")
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
                db.executescript(_TABLES)
                described = (uuid.uuid4().hex, stream, partitions)
                db.execute("INSERT INTO log VALUES (?, ?, ?)", described)
            with suppress(FileExistsError):
                path.hardlink_to(draft)
        finally:
            draft.unlink(missing_ok=True)


def existing(path: Path) -> sqlite3.Connection:
    """A connection to a file that is there, for any thread; it never makes an empty one."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def connect(path: Path, stream: str) -> tuple[sqlite3.Connection, str, int]:
    """A connection to the log of `stream`, the log's identity, and its number of partitions.

    Raises `FormatUnknown` if the file is none, or another stream's.
    """
    with named_errors(path):
        db = existing(path)
        try:
            (application,) = db.execute("PRAGMA application_id").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if (application, version) != (APPLICATION_ID, FORMAT_VERSION):
                raise _unknown(path, f"application id {application:#x}, version {version}")
            db.execute("PRAGMA synchronous = FULL")
            identity, stored, partitions = db.execute("SELECT * FROM log").fetchone()
            if stored != stream:
                raise FormatUnknown(
                    where=str(path), got=f"the log of stream {stored!r}", expected=repr(stream)
                )
        except BaseException:
            db.close()
            raise
    return db, identity, partitions


def bounds(db: sqlite3.Connection, partition: int) -> tuple[int, int]:
    """The first offset and the end of a partition; both 0 while nothing was appended."""
    query = "SELECT first_offset, first_offset + count FROM batches WHERE partition = ? ORDER BY"
    first = db.execute(f"{query} first_offset LIMIT 1", (partition,)).fetchone()
    last = db.execute(f"{query} first_offset DESC LIMIT 1", (partition,)).fetchone()
    return (first[0], last[1]) if first else (0, 0)


def hash_of(ends: bytes, data: bytes) -> int:
    """The xxh3 of a batch as SQLite holds it, a signed 64-bit integer."""
    unsigned = xxhash.xxh3_64_intdigest(data, seed=xxhash.xxh3_64_intdigest(ends))
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """A transaction that holds the write lock from its start; rolled back if the block raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turns what SQLite raises into errors that say what is wrong with the log and what helps."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if name.startswith("SQLITE_NOTADB"):
            raise _unknown(path, "something that is no SQLite file") from error
        if name.startswith("SQLITE_CORRUPT"):
            raise damaged(path, str(error)) from error
        vague = name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN"))
        if name.startswith("SQLITE_FULL") or (vague and _is_full(path)):
            raise LogFull(where=str(path), got=f"{error} ({name})") from error
        message, hint = _KNOWN.get("_".join(name.split("_")[:2]), ("cannot be used", ""))
        raise SourceError(
            f"the local log {message}", where=str(path), got=f"{error} ({name})", hint=hint
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise LogFull(where=str(path), got=str(error)) from error
        raise SourceError(
            "the local log cannot be used", where=str(path), got=str(error)
        ) from error


def _is_full(path: Path) -> bool:
    """Whether nothing is free where the file lies, which SQLite does not always say."""
    try:
        return os.statvfs(path.parent).f_bavail == 0
    except OSError:
        return False


def damaged(path: Path, detail: str) -> SourceError:
    """What is raised for a file whose bytes contradict each other."""
    return SourceError(
        "the local log is damaged",
        where=str(path),
        got=detail,
        hint="restore the file from a copy; events read before are in the archive",
    )


_KNOWN = {
    "SQLITE_BUSY": (
        f"was locked by another process for more than {_BUSY_TIMEOUT_S:.0f} s",
        "look for a process that holds the file open and has stopped",
    ),
    "SQLITE_READONLY": ("may not be written", "check the owner of the file and of its folder"),
    "SQLITE_CANTOPEN": ("cannot be opened", "check that the folder exists and may be written"),
    "SQLITE_IOERR": ("cannot be read or written", "check the disk"),
}


def _unknown(path: Path, got: str) -> FormatUnknown:
    expected = f"a local log, application id {APPLICATION_ID:#x}, version {FORMAT_VERSION}"
    return FormatUnknown(where=str(path), got=got, expected=expected)
