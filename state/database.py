"""Opening the RocksDB databases of the shards, with one memory budget over all of them.

Traps of the binding are closed here. Reopening a database ignores the table options unless they
are given for the column family `default` too, so that the cache falls back to 8 MB in silence: the
capacity is read back and asserted. Each database would size its write buffers by itself: one
`WriteBufferManager` bounds them together. An iterator that meets a damaged block looks as if it
had come to the end: `is_at_row` asks which of the two it was. And whatever RocksDB has to say comes
as a bare `Exception`: `named_faults` gives it the error that it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBufferManager,
)

from ..schemas.errors import DiskFull, StateCorrupt, StateError

MIB: Final = 1 << 20
BUFFERS_MAX: Final = 3
"""Write buffers that a shard may have, full ones included; then its writes wait."""

_SHARES: Final = 16
_BUFFER_MIN: Final = 4 * MIB
_BUFFER_MAX: Final = 32 * MIB
_NO_SPACE: Final = "No space left"
_TOO_MANY: Final = "Too many open files"


@dataclass(frozen=True, slots=True)
class Budget:
    """Memory of all shards of one process together, in bytes."""

    write_buffer_bytes: int = 256 * MIB
    block_cache_bytes: int = 128 * MIB


class Memory:
    """The cache and the write buffer budget that every shard of a process shares."""

    def __init__(self, budget: Budget = Budget()) -> None:
        self.budget = budget
        self.cache = Cache(budget.block_cache_bytes)
        self.write_buffers = WriteBufferManager(budget.write_buffer_bytes, False)

    @property
    def buffer_bytes(self) -> int:
        """Bytes of one write buffer of one shard.

        The manager asks for files when the budget is used up, and does not wait for them. On a disk
        that is too slow for what is written a shard waits by itself, at `BUFFERS_MAX` of these.
        """
        share = self.budget.write_buffer_bytes // _SHARES
        return min(max(share, _BUFFER_MIN), _BUFFER_MAX)


def open_database(path: Path, memory: Memory) -> Rdict:
    """Open or create the database in `path`.

    Raises `StateCorrupt` if RocksDB refuses the directory, `DiskFull` if it has no room to open it.
    """
    options = _options(memory)
    path.mkdir(parents=True, exist_ok=True)
    try:
        database = Rdict(str(path), options, column_families={"default": options})
    except Exception as fault:
        if _NO_SPACE in str(fault):
            raise DiskFull(where=str(path), got=str(fault)) from fault
        if _TOO_MANY in str(fault):
            raise StateError(
                "the system allows this process no more open files",
                where=str(path),
                got=str(fault),
                hint="`ulimit -n` allows too few for so many shards: 64 and more for each",
            ) from fault
        raise StateCorrupt(where=str(path), detail=str(fault)) from fault
    capacity = database.property_int_value("rocksdb.block-cache-capacity")
    assert capacity == memory.budget.block_cache_bytes, "table options were ignored on opening"
    return database


def is_at_row(rows: RdictIter) -> bool:
    """Whether `rows` stands on a row, rather than past the last.

    Raises `StateCorrupt` if it stopped at a row that cannot be read: damage must never be taken for
    absence.
    """
    if rows.valid():
        return True
    with named_faults("the state"):
        rows.status()
    return False


def rows_of(database: Rdict, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The rows whose keys begin with `prefix`, in order."""
    rows = database.iter(ReadOptions())
    rows.seek(prefix)
    while is_at_row(rows):
        key: bytes = rows.key()
        if not key.startswith(prefix):
            return
        yield key, rows.value()
        rows.next()


@contextmanager
def named_faults(where: Path | str) -> Iterator[None]:
    """Turns what RocksDB raises into `StateCorrupt`, or `StateError` where the disk refuses.

    Where that is for want of space, into `DiskFull`: such a database takes no more writes until it
    is opened anew.
    """
    try:
        yield
    except Exception as fault:
        if type(fault) is not Exception:
            raise
        detail = str(fault)
        if detail.startswith("Corruption"):
            raise StateCorrupt(where=str(where), detail=detail) from fault
        if _NO_SPACE in detail:
            raise DiskFull(where=str(where), got=detail) from fault
        raise StateError(
            "the state cannot be read or written",
            where=str(where),
            got=detail,
            hint="look after the disk, then start again; what was committed is whole",
        ) from fault


def _options(memory: Memory) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_manager(memory.write_buffers)
    options.set_write_buffer_size(memory.buffer_bytes)
    options.set_max_write_buffer_number(BUFFERS_MAX)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(2)
    options.set_max_open_files(256)
    # A crash can tear only the end of the log, and what was torn is read again from the source.
    table = BlockBasedOptions()
    table.set_block_cache(memory.cache)
    table.set_bloom_filter(10, False)
    table.set_cache_index_and_filter_blocks(True)
    options.set_block_based_table_factory(table)
    return options
