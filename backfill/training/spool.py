"""Frames that wait: in memory as long as they are few, then in files.

A `Workspace` holds many spools and one budget. When all of them together are past it, what they
hold goes to files, one each, as Arrow's IPC streams; reading gives all frames in the order in which
they were appended. The folder goes when the workspace is closed, and one that a killed process left
behind goes when the next is made beside it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import polars as pl
import pyarrow as pa

from ...schemas.errors import DiskFull

_PREFIX: Final = ".tegula-work-"
_OLDEST: Final = pl.CompatLevel.oldest()


class Workspace:
    """Spools that share `memory_bytes`; files lie in a folder of their own below `parent`.

    Not safe for several threads, but for reading.
    """

    def __init__(self, parent: Path, memory_bytes: int) -> None:
        self._parent = parent
        self._memory_bytes = memory_bytes
        self._spools: list[Spool] = []
        self._held_bytes = 0
        self._folder: Path | None = None
        self._lock: IO[str] | None = None
        self.spilled_bytes = 0
        sweep(parent)

    def spool(self) -> Spool:
        """A new spool, empty."""
        self._spools.append(Spool(self, len(self._spools)))
        return self._spools[-1]

    def hold(self, size_bytes: int) -> None:
        """So many more bytes are held in memory (less, if negative)."""
        self._held_bytes += size_bytes
        if self._held_bytes > self._memory_bytes:
            for spool in self._spools:
                spool.spill()

    def file(self, number: int) -> Path:
        """Where a spool may write."""
        if self._folder is None:
            self._parent.mkdir(parents=True, exist_ok=True)
            with _alone(self._parent):
                self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent))
                self._lock = (self._folder / "lock").open("w")
                fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self._folder / f"{number}.arrows"

    def close(self) -> None:
        """Forget everything."""
        for spool in self._spools:
            spool.drop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Spool:
    """Frames of one schema, appended and read in order; made by `Workspace.spool`.

    One thread may read while another, that of the workspace, appends to other spools: from the
    first read on what is in memory stays there, since the file may not be written any more.
    """

    def __init__(self, workspace: Workspace, number: int) -> None:
        self._workspace = workspace
        self._number = number
        self._frames: list[pl.DataFrame] = []
        self._path: Path | None = None
        self._sink: Any = None
        self._writer: Any = None
        self._bytes = 0
        self._is_read = False
        self._lock = threading.Lock()  # between spilling and the begin of reading
        self.rows = 0

    def append(self, frame: pl.DataFrame) -> None:
        """One more frame, which may be empty. Raises `DiskFull`."""
        self._frames.append(frame)
        self.rows += frame.height
        size = int(frame.estimated_size()) + 64
        self._bytes += size
        self._workspace.hold(size)

    def spill(self) -> None:
        """Write what is in memory to the file, unless it is being read. Raises `DiskFull`."""
        with self._lock:
            if self._frames and not self._is_read:
                self._write()

    def _write(self) -> None:
        try:
            # As one batch: each costs as much as thousands of rows, once more where it is read.
            table = pl.concat(self._frames).rechunk().to_arrow(compat_level=_OLDEST)
            if self._writer is None:
                self._path = self._workspace.file(self._number)
                self._sink = self._path.open("wb")
                self._writer = pa.ipc.new_stream(self._sink, table.schema)
            self._writer.write_batch(_one_batch(table))
        except OSError as fault:
            raise DiskFull(where=str(self._path), got=str(fault)) from fault
        self._workspace.spilled_bytes += self._bytes
        self._free()

    def read(self) -> Iterator[pl.DataFrame]:
        """All frames, in order. Nothing may be appended after."""
        with self._lock:
            self._is_read = True
            self._finish()
        if self._path is not None:
            with pa.memory_map(str(self._path)) as source:
                for batch in pa.ipc.open_stream(source):
                    # Columns may lie in the mapped file, which is kept as long as they are.
                    yield pl.DataFrame(pa.Table.from_batches([batch]))
        yield from self._frames

    def _finish(self) -> None:
        if self._writer is None:
            return
        try:
            self._writer.close()
            self._sink.close()
        except OSError as fault:
            raise DiskFull(where=str(self._path), got=str(fault)) from fault
        self._writer = self._sink = None

    def drop(self) -> None:
        """Forget the frames, and the file."""
        if self._sink is not None:
            with suppress(OSError):
                self._sink.close()
            self._writer = self._sink = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
        self._free()

    def _free(self) -> None:
        self._frames = []
        size, self._bytes = self._bytes, 0
        self._workspace.hold(-size)


def sweep(parent: Path) -> None:
    """Remove what workspaces of processes that are gone left below `parent`, and nothing else."""
    if not any(parent.glob(f"{_PREFIX}*")):
        return
    with _alone(parent):
        for folder in parent.glob(f"{_PREFIX}*"):
            try:
                with (folder / "lock").open("r+") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            except FileNotFoundError:
                with suppress(OSError):
                    folder.rmdir()  # killed before it had a lock, so it is empty
            except OSError:
                continue  # somebody works there


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """While folders are made and removed: one that has no lock yet is nobody's leftover."""
    folder = os.open(parent, os.O_RDONLY)  # locked itself: no file of ours stays there
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    """A table of one chunk, or none, as a batch."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
