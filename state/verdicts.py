"""Records that were future by the wall clock when they were first read: kept, so that it stands.

The only verdict that rests on a clock (`engine/steps/first_reading.py` says when it is given). It
is written, synced, before the batch that it is about goes on: whatever is read again after a crash,
by the archive or by another build is then judged alike. Every shard of the worker that reads the
partition has these rows; any one of them is enough.

    0 u32 | `v` | partition ordinal u32 | first offset u64     →   offsets u64 each, ascending

Keys are big-endian, values little-endian; one row a batch that had such records, or for what other
shards had and this one lacked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rocksdict import Rdict, WriteBatch

from .database import named_faults, rows_of
from .rows import VERDICT_PREFIX

_KEY: Final = struct.Struct(">IQ")


class Verdicts:
    """The verdicts in an open database. For the thread that commits."""

    def __init__(self, database: Rdict, path: Path) -> None:
        self._database = database
        self._path = path

    def offsets(self, ordinal: int) -> NDArray[np.int64]:
        """The offsets of a partition's records that are future, ascending; int64 (n,)."""
        rows = [_offsets(value) for _, value in self._rows(ordinal)]
        return np.unique(np.concatenate(rows)) if rows else np.empty(0, np.int64)

    def add(self, ordinal: int, offsets: NDArray[np.int64]) -> None:
        """Keep that these records, none of which is kept yet, are future; synced at return.

        Mostly they lie after all that are kept.
        """
        key = VERDICT_PREFIX + _KEY.pack(ordinal, int(offsets[0]))
        with named_faults(self._path):
            self._database.put(key, offsets.astype("<u8").tobytes())
            self._database.flush_wal(True)

    def forget(self, ordinal: int, before: int) -> None:
        """Forget rows whose records all lie before an offset: the log no longer has them."""
        batch = WriteBatch(raw_mode=True)
        for key, value in self._rows(ordinal):
            if int(_offsets(value)[-1]) >= before:
                break
            batch.delete(key)
        if batch.len():
            with named_faults(self._path):
                self._database.write(batch)

    def _rows(self, ordinal: int) -> Iterator[tuple[bytes, bytes]]:
        prefix = VERDICT_PREFIX + ordinal.to_bytes(4, "big")
        with named_faults(self._path):
            yield from rows_of(self._database, prefix)


def _offsets(value: bytes) -> NDArray[np.int64]:
    return np.frombuffer(value, "<u8").astype(np.int64)
