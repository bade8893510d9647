"""The embedded log: durable, ordered, many writing processes, no broker.

When `append` returns, the events survive a power cut. `append_many` puts what many callers bring
into one commit (group commit), since it is the commit that costs, not the events. Processes meet
in the file only (`local_file`): any number may append, and each reads over its own connection.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..schemas.errors import LogShrunk, LogTruncated
from .local_file import bounds, connect, create, hash_of, named_errors, writing
from .local_reader import LocalReader
from .payloads import Payloads
from .source import Append, Receipt

__all__ = ["Append", "LocalLog"]

_ROW_BYTES_MAX = 8 << 20  # larger appends become several rows, so that no poll reads a giant one


class LocalLog:
    """The log of one stream in the file `path`, made if it is missing. Safe for several threads.

    `partitions` counts for a new file only; an existing one keeps its own number. Raises
    `FormatUnknown` for a file that is no log of this stream, `SourceError` for one that is damaged
    or cannot be opened.
    """

    def __init__(self, path: Path | str, stream: str, partitions: int = 4) -> None:
        self._path = Path(path)
        self._stream = stream
        self._lock = threading.Lock()
        create(self._path, stream, partitions)
        self._db, self._identity, count = connect(self._path, stream)
        self._partitions = tuple(str(number) for number in range(count))
        self._turns = itertools.cycle(self._partitions)

    @property
    def identity(self) -> str:
        """The uuid that the file was given when it was made."""
        return self._identity

    def partitions(self) -> tuple[str, ...]:
        """`"0"`, `"1"`, … as many as the log was made with."""
        return self._partitions

    def bounds(self, partition: str) -> tuple[int, int]:
        """The first offset and the end of `partition`; both 0 while nothing was appended."""
        with self._lock, named_errors(self._path):
            return bounds(self._db, int(partition))

    def append(
        self, events: Sequence[bytes], *, partition: str | None = None, now_us: Callable[[], int]
    ) -> Receipt:
        """Append `events` to one partition, durably; `now_us` gives the log timestamp in µs."""
        return self.append_many([Append(events, partition)], now_us=now_us)[0]

    def append_many(self, appends: Sequence[Append], *, now_us: Callable[[], int]) -> list[Receipt]:
        """Append for many callers in one commit: on return all of it is durable, or none is there.

        The log timestamp is read once the write lock is held, so it follows the order of offsets;
        a clock that goes back does not take the log back with it.
        """
        with self._lock:
            chosen = [int(append.partition or next(self._turns)) for append in appends]
            receipts: list[Receipt] = []
            gathered: dict[int, list[bytes]] = {}
            with named_errors(self._path), writing(self._db):
                firsts = {number: bounds(self._db, number)[1] for number in set(chosen)}
                for append, number in zip(appends, chosen, strict=True):
                    events = gathered.setdefault(number, [])
                    first_offset = firsts[number] + len(events)
                    receipts.append(Receipt(str(number), first_offset, len(append.events)))
                    events.extend(append.events)
                at_us = now_us()
                for number, events in gathered.items():
                    self._insert(number, firsts[number], events, at_us)
        return receipts

    def _insert(self, number: int, first_offset: int, events: list[bytes], at_us: int) -> None:
        """Write `events` as rows of bounded size, dated `at_us` or as the partition's last row."""
        if not events:
            return
        last = self._db.execute(
            "SELECT log_us FROM batches WHERE partition = ? ORDER BY first_offset DESC LIMIT 1",
            (number,),
        ).fetchone()
        log_us = max(at_us, last[0]) if last else at_us
        payloads = Payloads.from_list(events)
        starts = payloads.starts
        start = 0
        while start < len(payloads):
            limit = int(starts[start]) + _ROW_BYTES_MAX
            stop = max(start + 1, int(np.searchsorted(payloads.ends, limit, side="right")))
            part = payloads.slice(start, stop)
            ends = part.ends.astype("<u4").tobytes()
            self._db.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    number,
                    first_offset + start,
                    len(part),
                    log_us,
                    hash_of(ends, part.data),
                    ends,
                    part.data,
                ),
            )
            start = stop

    def open(self, positions: Mapping[str, int]) -> LocalReader:
        """A reader over its own connection.

        Raises `LogTruncated` or `LogShrunk` for a position that the partition does not hold.
        """
        for partition, offset in positions.items():
            known = partition in self._partitions
            first, end = self.bounds(partition) if known else (0, 0)
            if offset < first:
                raise LogTruncated(
                    stream=self._stream,
                    partition=partition,
                    first_offset=first,
                    wanted_offset=offset,
                )
            if offset > end or not known:
                raise LogShrunk(
                    stream=self._stream,
                    partition=partition,
                    end_offset=end,
                    applied_offset=offset,
                )
        return LocalReader(self._path, self._stream, positions)

    def close(self) -> None:
        """Close the log's own connection; readers have theirs."""
        with self._lock:
            self._db.close()
