"""Reading a local log: stored batches of a partition, merged into one micro-batch.

Appended batches may be as small as one event; a reader asks for as many rows as it can use. So
each poll takes stored batches until it has enough, and puts them together in one pass.

An idle reader costs one small question to SQLite every 2 ms, after half a second every 10 ms:
whether anyone has committed since. Every second it looks whatever the answer was: no event may rest
on that answer alone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .local_file import connect, damaged, hash_of, named_errors
from .payloads import Payloads
from .source import RawBatch

_WAIT_S, _IDLE_WAIT_S = 0.002, 0.01
_IDLE_AFTER = 250  # polls that found nothing
_LOOK_EVERY = 100  # polls
_BATCH_BYTES_MAX = 32 << 20  # large records: a batch ends here, however few rows it has
_Row = tuple[int, int, int, int, bytes, bytes]

# Starts in the middle of a stored batch too: with the last one that begins at or before `offset`.
_QUERY = """
SELECT first_offset, count, log_us, hash, ends, data FROM batches
WHERE partition = :partition AND first_offset >= coalesce((
    SELECT max(first_offset) FROM batches WHERE partition = :partition AND first_offset <= :offset
), 0)
ORDER BY first_offset
"""


class LocalReader:
    """Reads a `LocalLog` on from `positions`, partition by partition in turn."""

    def __init__(self, path: Path, stream: str, positions: Mapping[str, int]) -> None:
        self._path = path
        self._db, _, _ = connect(path, stream)
        self._db.execute("PRAGMA query_only = ON")
        self._positions = dict(positions)
        self._turns = list(positions)
        self._rests: dict[str, RawBatch] = {}
        self._drained_at: int | None = None
        self._polls = self._empty = 0
        self._closed = threading.Event()

    def poll(self, rows_max: int) -> RawBatch | None:
        """The next records of one partition, or None after a wait of some ms with nothing new."""
        with named_errors(self._path):
            batch = self._next(rows_max)
            self._empty = 0 if batch is not None else self._empty + 1
            if batch is None:
                self._closed.wait(_WAIT_S if self._empty < _IDLE_AFTER else _IDLE_WAIT_S)
        return batch

    def seek(self, partition: str, offset: int) -> None:
        """Read `partition` from `offset` on."""
        if partition not in self._positions:
            self._turns.append(partition)
        self._positions[partition] = offset
        self._rests.pop(partition, None)
        self._drained_at = None

    def close(self) -> None:
        """Close the connection; ends a poll that waits in another thread."""
        self._closed.set()
        self._db.close()

    def _next(self, rows_max: int) -> RawBatch | None:
        # Changes with every commit of another connection. Asked first: what is committed while we
        # look is found at the next poll.
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        self._polls = (self._polls + 1) % _LOOK_EVERY
        if version == self._drained_at and self._polls:
            return None
        for turn, partition in enumerate(self._turns):
            batch = self._rests.pop(partition, None) or self._read(partition, rows_max)
            if batch is not None:
                self._turns = self._turns[turn + 1 :] + self._turns[: turn + 1]
                batch = self._cut(batch, rows_max)
                self._positions[partition] = batch.next_offset
                return batch
        self._drained_at = version
        return None

    def _cut(self, batch: RawBatch, rows_max: int) -> RawBatch:
        """The first `rows_max` records; the others are kept for the partition's next turn."""
        if len(batch) <= rows_max:
            return batch
        head, self._rests[batch.partition] = batch.split(rows_max)
        return head

    def _read(self, partition: str, rows_max: int) -> RawBatch | None:
        """Stored batches from the partition's position on, as many as make up `rows_max`."""
        position = self._positions[partition]
        rows: list[_Row] = []
        next_offset, size_bytes = position, 0
        cursor = self._db.execute(_QUERY, {"partition": int(partition), "offset": position})
        for row in cursor:
            first_offset, count, _, stored_hash, ends, data = row
            if first_offset + count <= position:
                continue
            where = f"partition {partition}, offset {first_offset}"
            if first_offset > next_offset:
                raise damaged(self._path, f"{where}: the batch at {next_offset} is missing")
            if hash_of(ends, data) != stored_hash or len(ends) != 4 * count:
                raise damaged(self._path, f"{where}: the batch's bytes do not have its hash")
            rows.append(row)
            next_offset = first_offset + count
            size_bytes += len(data)
            if next_offset - position >= rows_max or size_bytes >= _BATCH_BYTES_MAX:
                break
        cursor.close()  # an open one would keep the write-ahead log from shrinking
        return _merged(partition, rows, position) if rows else None


def _merged(partition: str, rows: list[_Row], position: int) -> RawBatch:
    """One batch of the stored ones, without the records before `position`."""
    first_offset, end_offset = rows[0][0], rows[-1][0] + rows[-1][1]
    counts = np.array([row[1] for row in rows], np.int64)
    sizes = np.array([len(row[5]) + 1 for row in rows], np.int64)
    ends = np.frombuffer(b"".join([row[4] for row in rows]), "<u4").astype(np.int64)
    ends += np.repeat(np.cumsum(sizes) - sizes, counts)
    payloads = Payloads(b"\n".join([row[5] for row in rows]), ends)
    skipped = position - first_offset
    return RawBatch(
        partition=partition,
        offsets=np.arange(position, end_offset, dtype=np.int64),
        log_us=np.repeat(np.array([row[2] for row in rows], np.int64), counts)[skipped:],
        payloads=payloads.slice(skipped, len(payloads)),
        next_offset=end_offset,
    )
