"""The contract of a log: ordered partitions of records, read by position and never by guess.

A log yields micro-batches. Each is of one partition and says for every record its offset and the
log's own timestamp, and where to read on. Whoever reads keeps the positions: a log remembers
nothing about its readers, so a restart, a replay and a test read the same bytes in the same order.

An offset is a coordinate, not a count: offsets ascend inside a partition, and gaps are allowed. A
position is the offset to be read next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .payloads import Payloads

__all__ = ["Append", "Log", "LogReader", "Origins", "Payloads", "RawBatch", "Receipt"]


@dataclass(frozen=True, slots=True)
class Origins:
    """What records that are driven again were before: one entry a record, ascending by `offsets`.

    `watermark_us` int64 (n,): the watermark of the row that each was; `was_good` bool (n,): those
    that were events already, folded by every build for which they were not expired.
    """

    offsets: NDArray[np.int64]
    watermark_us: NDArray[np.int64]
    was_good: NDArray[np.bool_]

    def at(self, offsets: NDArray[np.int64]) -> Origins:
        """Those of the records at `offsets`, which must be among these."""
        places = np.searchsorted(self.offsets, offsets)
        return Origins(offsets, self.watermark_us[places], self.was_good[places])


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Records of one partition, as the log holds them.

    `offsets` int64 (n,), ascending; `log_us` int64 (n,), µs since the epoch; `next_offset` is where
    to read on: greater than the last offset, and greater still where the log skipped some.
    `stamped_by_producer` says that whoever wrote the records set `log_us`, and not the log.
    `origins` says of records that are driven again what they were; None for all others.
    """

    partition: str
    offsets: NDArray[np.int64]
    log_us: NDArray[np.int64]
    payloads: Payloads
    next_offset: int
    stamped_by_producer: bool = False
    origins: Origins | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    def split(self, rows: int) -> tuple[RawBatch, RawBatch]:
        """The first `rows` records, and the others; of both there is at least one."""
        head = replace(
            self,
            offsets=self.offsets[:rows],
            log_us=self.log_us[:rows],
            payloads=self.payloads.slice(0, rows),
            next_offset=int(self.offsets[rows]),
        )
        rest = replace(
            self,
            offsets=self.offsets[rows:],
            log_us=self.log_us[rows:],
            payloads=self.payloads.slice(rows, len(self)),
        )
        return head, rest


@dataclass(frozen=True, slots=True)
class Append:
    """Events that one caller appends together: to one partition, in this order.

    `partition` None leaves the choice to the log, which takes its partitions in turn.
    """

    events: Sequence[bytes]
    partition: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where appended records lie: within `count` offsets of `partition` from `first_offset` on.

    In a log that others append to at the same time (Kafka) some of these may be theirs.
    """

    partition: str
    first_offset: int
    count: int

    @property
    def next_offset(self) -> int:
        """The position that a reader has reached once it has read these records."""
        return self.first_offset + self.count


class LogReader(Protocol):
    """Reads on from given positions; not safe for use by several threads."""

    def poll(self, rows_max: int) -> RawBatch | None:
        """At most `rows_max` records of one partition; partitions take turns.

        None means that nothing is there now; the call returns within a few ms either way, and it
        waits those few ms itself, so that a loop around it does not spin.
        """
        ...

    def seek(self, partition: str, offset: int) -> None:
        """Read `partition` from `offset` on; adds it where it was not being read."""
        ...

    def close(self) -> None:
        """Give back what the reader holds; reading on is an error, closing again is not."""
        ...


@runtime_checkable
class Log(Protocol):
    """A partitioned log of one stream."""

    @property
    def identity(self) -> str:
        """Names this incarnation of the log: a log made anew under the same name has another.

        Positions belong to an identity. Offsets of one incarnation say nothing about the next.
        """
        ...

    def partitions(self) -> tuple[str, ...]:
        """Names of all partitions there are now, in the log's own order; may grow."""
        ...

    def bounds(self, partition: str) -> tuple[int, int]:
        """The first offset that is kept, and the offset that will be written next."""
        ...

    def open(self, positions: Mapping[str, int]) -> LogReader:
        """A reader of the partitions in `positions`, each from its given offset on.

        Raises `LogTruncated` if a partition begins after its position or ends before it: reading
        "from wherever it begins" would skip records in silence.
        """
        ...
