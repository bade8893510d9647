"""The SQLite file of a partition that lies beside a stream's log: made by its first use, then kept.

What was driven again (`redrive.py`) and what was imported (`imports.py`) each have one. Its table
`log(identity, stream)` says whose it is; the identity is made with the file and names the
partition, so that a file that is made anew makes another partition.
"""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ..schemas.errors import FormatUnknown
from .local_file import existing, named_errors


@dataclass(frozen=True, slots=True)
class Layout:
    """What such a file holds: `what` for people, the ids in its header, its tables."""

    what: str
    application_id: int
    format_version: int
    tables: str


class BesideFile:
    """One file, opened as soon as it is there. Safe for several processes."""

    def __init__(self, path: Path, stream: str, layout: Layout) -> None:
        """Open the file of `stream`, if there is one; `create` makes it.

        Raises `FormatUnknown` for a file that is none, `SourceError` for one that is damaged.
        """
        self.path = path
        self._stream = stream
        self._layout = layout
        self._db: sqlite3.Connection | None = None
        self._identity = ""
        self._connect()

    @property
    def identity(self) -> str | None:
        """The file's own name; None as long as there is none."""
        if self._db is None:
            self._connect()
        return self._identity or None

    @property
    def db(self) -> sqlite3.Connection:
        """The connection; only once there is a file."""
        assert self._db is not None, "there is no such file yet"
        return self._db

    def close(self) -> None:
        """Let the file go."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def create(self) -> None:
        """Make the file where it is missing, whole or not at all, also if several try."""
        if self.identity is not None:
            return
        draft = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.new")
        with named_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with closing(sqlite3.connect(draft, isolation_level=None)) as db:
                    db.execute("PRAGMA journal_mode = WAL")
                    db.execute(f"PRAGMA application_id = {self._layout.application_id}")
                    db.execute(f"PRAGMA user_version = {self._layout.format_version}")
                    db.execute("CREATE TABLE log (identity TEXT NOT NULL, stream TEXT NOT NULL)")
                    db.executescript(self._layout.tables)
                    described = (uuid.uuid4().hex[:12], self._stream)
                    db.execute("INSERT INTO log VALUES (?, ?)", described)
                with suppress(FileExistsError):
                    self.path.hardlink_to(draft)
            finally:
                draft.unlink(missing_ok=True)
        self._connect()

    def _connect(self) -> None:
        if not self.path.exists():
            return
        with named_errors(self.path):
            db = existing(self.path)
            try:
                (application,) = db.execute("PRAGMA application_id").fetchone()
                (version,) = db.execute("PRAGMA user_version").fetchone()
                if (application, version) != (
                    self._layout.application_id,
                    self._layout.format_version,
                ):
                    raise self._unknown(f"application id {application:#x}, version {version}")
                db.execute("PRAGMA synchronous = FULL")
                identity, stream = db.execute("SELECT * FROM log").fetchone()
                if stream != self._stream:
                    raise self._unknown(f"the file of stream {stream!r}")
            except BaseException:
                db.close()
                raise
        self._db, self._identity = db, identity

    def _unknown(self, got: str) -> FormatUnknown:
        layout = self._layout
        expected = f"{layout.what} of stream {self._stream!r}, version {layout.format_version}"
        return FormatUnknown(where=str(self.path), got=got, expected=expected)
