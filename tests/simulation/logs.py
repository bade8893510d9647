"""A log in memory that has everything a real one may have: gaps, new partitions, odd batches.

It outlives engines, as a broker does. How its records are cut into batches, in which order
partitions take their turns, and whether a reader says that it has passed a gap, is drawn by chance.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tegula.connectors.payloads import Payloads
from tegula.connectors.source import RawBatch
from tegula.schemas.errors import LogShrunk, LogTruncated

_ROWS_MAX = (1, 2, 5, 40, 65_536)


@dataclass(frozen=True)
class Entry:
    """A record as the log holds it."""

    offset: int
    log_us: int
    payload: bytes | None


@dataclass
class Topic:
    """One partition: its records, where it begins, and the offset that comes next."""

    entries: list[Entry] = field(default_factory=list)
    first: int = 0
    end: int = 0


class SimulatedLog:
    """The log of one stream."""

    def __init__(
        self, stream: str, chance: random.Random, partitions: int, *, by_producers: bool
    ) -> None:
        """`by_producers`: they set the timestamps of records, as with Kafka's CreateTime."""
        self.stream = stream
        self.by_producers = by_producers
        self.identity = f"simulated-{stream}"
        self.topics: dict[str, Topic] = {}
        self.chance = chance
        for _ in range(partitions):
            self.add_partition()

    def add_partition(self) -> str:
        """One more partition, as a topic may be given; its first offsets may hold no record."""
        name = str(len(self.topics))
        self.topics[name] = Topic(end=self.chance.choice((0, 0, 3)))
        return name

    def append(self, partition: str, payload: bytes | None, log_us: int) -> int:
        """Append a record; returns its offset."""
        topic = self.topics[partition]
        offset = topic.end
        topic.entries.append(Entry(offset, log_us, payload))
        topic.end += 1
        return offset

    def skip(self, partition: str, count: int) -> None:
        """Use up offsets without a record: markers of transactions."""
        self.topics[partition].end += count

    def forget(self, partition: str, before: int) -> None:
        """Drop what lies before an offset, as retention does."""
        topic = self.topics[partition]
        topic.first = max(topic.first, min(before, topic.end))
        topic.entries = [entry for entry in topic.entries if entry.offset >= topic.first]

    def partitions(self) -> tuple[str, ...]:
        return tuple(self.topics)

    def bounds(self, partition: str) -> tuple[int, int]:
        topic = self.topics[partition]
        return topic.first, topic.end

    def open(self, positions: Mapping[str, int]) -> SimulatedReader:
        return SimulatedReader(self, positions)

    def check(self, partition: str, offset: int) -> None:
        """Raise if a reader may not begin there."""
        first, end = self.bounds(partition)
        if offset < first:
            raise LogTruncated(
                stream=self.stream, partition=partition, first_offset=first, wanted_offset=offset
            )
        if offset > end:
            raise LogShrunk(
                stream=self.stream, partition=partition, end_offset=end, applied_offset=offset
            )


class SimulatedReader:
    """Reads a `SimulatedLog` on from its positions."""

    def __init__(self, log: SimulatedLog, positions: Mapping[str, int]) -> None:
        self._log = log
        for partition, offset in positions.items():
            log.check(partition, offset)
        self._positions = dict(positions)
        self._had_turn: set[str] = set()

    def poll(self, rows_max: int) -> RawBatch | None:
        chance = self._log.chance
        waiting = [p for p, at in self._positions.items() if at < self._log.topics[p].end]
        if not waiting:
            return None
        if self._had_turn.issuperset(waiting):
            self._had_turn.clear()
        partition = chance.choice([p for p in waiting if p not in self._had_turn])
        self._had_turn.add(partition)
        topic, begin = self._log.topics[partition], self._positions[partition]
        rows_max = min(rows_max, chance.choice(_ROWS_MAX))
        rows = [entry for entry in topic.entries if entry.offset >= begin][:rows_max]
        last = rows[-1].offset + 1 if rows else topic.end
        at_end = not any(entry.offset >= last for entry in topic.entries)
        next_offset = topic.end if at_end and (not rows or chance.random() < 0.5) else last
        self._positions[partition] = next_offset
        return RawBatch(
            partition,
            np.array([entry.offset for entry in rows], np.int64),
            np.array([entry.log_us for entry in rows], np.int64),
            Payloads.from_list([entry.payload for entry in rows]),
            next_offset,
            self._log.by_producers,
        )

    def seek(self, partition: str, offset: int) -> None:
        self._log.check(partition, offset)
        self._positions[partition] = offset

    def close(self) -> None:
        self._positions.clear()
