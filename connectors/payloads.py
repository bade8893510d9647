"""Many records' bytes as one buffer: how payloads travel from a log to the decoder.

A micro-batch holds tens of thousands of small payloads. Kept as a list they cost a Python object
each at every step; kept joined, with the positions of their ends, a step is one call over one
buffer, and the buffer is already newline-delimited JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SEPARATOR = b"\n"


@dataclass(frozen=True, slots=True)
class Payloads:
    """Records joined by one newline each: record i is `data[ends[i - 1] + 1 : ends[i]]`.

    `ends` is int64, shape (n,), ascending; before the first record the end counts as -1. A record
    may itself hold newlines: only `ends` says where records lie. `null`, bool (n,), marks records
    without any payload (Kafka's tombstones), which lie in `data` as empty; None means there are
    none.

    >>> p = Payloads.from_list([b'{"a":1}', None, b""])
    >>> len(p), p.record(0), p.record(1), p.record(2)
    (3, b'{"a":1}', None, b'')
    """

    data: bytes
    ends: NDArray[np.int64]
    null: NDArray[np.bool_] | None = None

    @classmethod
    def from_list(cls, records: Sequence[bytes | None]) -> Payloads:
        """Join `records`; None marks a record without a payload."""
        count = len(records)
        null: NDArray[np.bool_] | None = None
        if None in records:
            null = np.fromiter((r is None for r in records), np.bool_, count)
            records = [b"" if r is None else r for r in records]
        lengths = np.fromiter(map(len, records), np.int64, count)  # type: ignore[arg-type]
        data = SEPARATOR.join(records)  # type: ignore[arg-type]
        return cls(data, _ends(lengths), null)

    @classmethod
    def concat(cls, parts: Sequence[Payloads]) -> Payloads:
        """One buffer holding the records of all `parts`, in order."""
        parts = [p for p in parts if len(p)]
        if len(parts) <= 1:
            return parts[0] if parts else EMPTY
        data = SEPARATOR.join([p.data for p in parts])
        starts = np.cumsum([0, *(len(p.data) + 1 for p in parts[:-1])])
        ends = np.concatenate([p.ends + start for p, start in zip(parts, starts, strict=True)])
        null = None
        if any(p.null is not None for p in parts):
            null = np.concatenate([_nulls(p) for p in parts])
        return cls(data, ends, null)

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each record begins in `data`; int64 (n,)."""
        starts = np.empty_like(self.ends)
        if len(starts):
            starts[0] = 0
            starts[1:] = self.ends[:-1] + 1
        return starts

    @property
    def lengths_bytes(self) -> NDArray[np.int64]:
        """Bytes of each record; int64 (n,), 0 for a record without a payload."""
        return self.ends - self.starts

    def record(self, index: int) -> bytes | None:
        """The bytes of one record; None where it has no payload. `index` in [0, n)."""
        if self.null is not None and self.null[index]:
            return None
        start = int(self.ends[index - 1]) + 1 if index else 0
        return self.data[start : int(self.ends[index])]

    def __iter__(self) -> Iterator[bytes | None]:
        start = 0
        nulls = None if self.null is None else self.null.tolist()
        for index, end in enumerate(self.ends.tolist()):
            yield None if nulls is not None and nulls[index] else self.data[start:end]
            start = end + 1

    def slice(self, start: int, stop: int) -> Payloads:
        """Records [start, stop); copies one piece of the buffer."""
        if start >= stop:
            return EMPTY
        if start == 0 and stop == len(self):
            return self
        first = int(self.ends[start - 1]) + 1 if start else 0
        null = None if self.null is None else self.null[start:stop]
        return Payloads(
            self.data[first : int(self.ends[stop - 1])], self.ends[start:stop] - first, null
        )

    def take(self, indices: NDArray[np.int64]) -> Payloads:
        """The records at `indices`, in that order.

        Copies runs of neighbours, not records: dropping a few records from many is cheap.
        """
        if not len(indices):
            return EMPTY
        breaks = np.flatnonzero(np.diff(indices) != 1) + 1
        runs_start = indices[np.concatenate(([0], breaks))]
        runs_stop = indices[np.concatenate((breaks - 1, [len(indices) - 1]))]
        first = self.starts[runs_start].tolist()
        last = self.ends[runs_stop].tolist()
        data = SEPARATOR.join([self.data[a:b] for a, b in zip(first, last, strict=True)])
        null = None if self.null is None else self.null[indices]
        return Payloads(data, _ends(self.lengths_bytes[indices]), null)


def _ends(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ends of records of these lengths, one separator between neighbours."""
    ends: NDArray[np.int64] = np.cumsum(lengths + 1, dtype=np.int64) - 1
    return ends


def _nulls(payloads: Payloads) -> NDArray[np.bool_]:
    if payloads.null is None:
        return np.zeros(len(payloads), np.bool_)
    return payloads.null


EMPTY = Payloads(b"", np.empty(0, np.int64))
