"""Which events were read already: ids of a stream with when they happened, and the copies found.

    0 u32 | `d` | stream ordinal u32, hash 16 bytes               →   event times i64 each (µs)
    0 u32 | `b` | stream ordinal u32, bucket u64, hash 16 bytes   →   nothing
    0 u32 | `e` | partition ordinal u32, first offset u64         →   offsets of copies, u64 each
    0 u32 | `j` | partition ordinal u32                           →   next offset to be judged, u64

Keys are big-endian, values little-endian. The hash is the 128-bit xxh3 of the id (texts as UTF-8,
numbers in decimal); nearly always it has one event. A bucket is a span of event time as long as the
stream's `unique_within`, numbered from 2**63 for the one that begins in 1970: by it old ids are
found and dropped. Rows of one stream lie in one shard. What a batch adds is written, synced, before
the batch goes on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rocksdict import Rdict, WriteBatch

from .database import named_faults, rows_of
from .rows import BUCKET_PREFIX, COPY_PREFIX, ID_PREFIX, JUDGED_PREFIX

_BUCKET: Final = struct.Struct(">IQ")
_OFFSET: Final = struct.Struct("<Q")
_BIAS: Final = 1 << 63
_DROPPED_AT_ONCE: Final = 20_000


Seen = tuple[bytes, int, Sequence[int]]
"""The hash of an id, the bucket of an event that newly counts under it, the times of all so far."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A partition judged up to `next_offset`; `copies` int64 (n,) are new ones, ascending."""

    ordinal: int
    copies: NDArray[np.int64]
    next_offset: int


class SeenIds:
    """The ids and copies in an open database. For the thread that commits."""

    def __init__(self, database: Rdict, path: Path) -> None:
        self._database = database
        self._path = path

    def times(self, stream: int, digests: Sequence[bytes]) -> list[tuple[int, ...]]:
        """When the events happened that count under each id."""
        if not digests:
            return []
        with named_faults(self._path):
            found = self._database.get([_id_key(stream, digest) for digest in digests]) or []
        return [() if value is None else _times(value) for value in found]

    def judged(self, ordinal: int) -> int:
        """The first offset of a partition whose event was not judged yet."""
        with named_faults(self._path):
            value = self._database.get(JUDGED_PREFIX + ordinal.to_bytes(4, "big"))
        return 0 if value is None else int(_OFFSET.unpack(value)[0])

    def copies(self, ordinal: int) -> NDArray[np.int64]:
        """The offsets of a partition's copies, ascending; int64 (n,)."""
        rows = [_offsets(value) for _, value in self._copy_rows(ordinal)]
        return np.concatenate(rows) if rows else np.empty(0, np.int64)

    def add(self, stream: int, seen: Sequence[Seen], judged: Judged) -> None:
        """Keep what a batch was judged to be; synced at return."""
        batch = WriteBatch(raw_mode=True)
        for digest, bucket, times_us in seen:
            batch.put(_id_key(stream, digest), struct.pack(f"<{len(times_us)}q", *times_us))
            batch.put(_bucket_key(stream, bucket) + digest, b"")
        ordinal = judged.ordinal.to_bytes(4, "big")
        if len(judged.copies):
            first = int(judged.copies[0]).to_bytes(8, "big")
            batch.put(COPY_PREFIX + ordinal + first, judged.copies.astype("<u8").tobytes())
        batch.put(JUDGED_PREFIX + ordinal, _OFFSET.pack(judged.next_offset))
        with named_faults(self._path):
            self._database.write(batch)
            self._database.flush_wal(True)

    def drop(self, stream: int, before: int, before_us: int) -> None:
        """Drop ids of events before an instant, found in buckets before one.

        Some thousands at most: what is left goes another time.
        """
        batch = WriteBatch(raw_mode=True)
        prefix = BUCKET_PREFIX + stream.to_bytes(4, "big")
        old: list[bytes] = []
        for key, _ in self._rows(prefix):
            if key >= _bucket_key(stream, before) or len(old) == _DROPPED_AT_ONCE:
                break
            batch.delete(key)
            old.append(key[len(prefix) + 8 :])
        for digest, times_us in zip(old, self.times(stream, old), strict=True):
            kept = [at_us for at_us in times_us if at_us >= before_us]
            if kept:
                batch.put(_id_key(stream, digest), struct.pack(f"<{len(kept)}q", *kept))
            else:
                batch.delete(_id_key(stream, digest))
        self._write(batch)

    def forget(self, ordinal: int, before: int) -> None:
        """Forget copies that all lie before an offset: the log no longer has them."""
        batch = WriteBatch(raw_mode=True)
        for key, value in self._copy_rows(ordinal):
            if int(_offsets(value)[-1]) >= before:
                break
            batch.delete(key)
        self._write(batch)

    def _write(self, batch: WriteBatch) -> None:
        if batch.len():
            with named_faults(self._path):
                self._database.write(batch)

    def _copy_rows(self, ordinal: int) -> Iterator[tuple[bytes, bytes]]:
        return self._rows(COPY_PREFIX + ordinal.to_bytes(4, "big"))

    def _rows(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        with named_faults(self._path):
            yield from rows_of(self._database, prefix)


def _id_key(stream: int, digest: bytes) -> bytes:
    return ID_PREFIX + stream.to_bytes(4, "big") + digest


def _bucket_key(stream: int, bucket: int) -> bytes:
    return BUCKET_PREFIX + _BUCKET.pack(stream, bucket + _BIAS)


def _times(value: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(value) // 8}q", value)


def _offsets(value: bytes) -> NDArray[np.int64]:
    return np.frombuffer(value, "<u8").astype(np.int64)
