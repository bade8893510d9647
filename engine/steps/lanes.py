"""Lanes: which builds read a stream from where, and how one that is behind joins the others.

All live builds of a stream share one lane. A build that is catching up has a lane of its own: it
reads the archive from its position, then the log, and when it has come close, the live lane waits
while it reads up to the *fence* (the live lane's position in each partition). Then its builds
join the live lane. No event is skipped or taken twice, because a lane's position says exactly what
its builds have been given. The running maxima travel with the positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import numpy as np
import polars as pl

from ...connectors.decode import DecodedBatch
from ...schemas.imported import is_imported
from ...schemas.outcomes import BadRecord
from ...schemas.redriven import is_redriven
from ...windows.tiles import NEVER_US

JOIN_ROWS: Final = 100_000
"""A lane this close to the live one is let up to the fence while the live one waits."""


class Feed(Protocol):
    """Decoded batches of some partitions; from the log, or from the archive."""

    def poll(self) -> DecodedBatch | None:
        """The next batch of any partition, or None if there is nothing now."""
        ...

    def seek(self, partition: str, offset: int) -> None: ...

    def close(self) -> None: ...


@dataclass
class Place:
    """Where a lane stands in one partition."""

    next_offset: int
    running_max_us: int = NEVER_US
    last_data_us: int = 0


@dataclass
class Lane:
    """Some builds that read a stream together.

    `archived` holds, for partitions still read from the archive, where it ends; the others are
    read from the log. `floors` holds, for partitions read from before what was applied, where that
    is and the running maximum there: what is read before it may not be all that ever was.
    """

    builds: tuple[int, ...]
    places: dict[str, Place]
    log: Feed
    floors: dict[str, Place] = field(default_factory=dict)
    archive: Feed | None = None
    archived: dict[str, int] = field(default_factory=dict)
    _rest: DecodedBatch | None = None

    def poll(self) -> DecodedBatch | None:
        """The next batch at this lane's positions, and nothing that lies before them.

        None says that there is nothing now, and nothing else: what is passed over is read past.
        """
        while (batch := self._read()) is not None:
            if batch.partition not in self.places:
                continue
            begin = self.places[batch.partition].next_offset
            if batch.next_offset > begin:
                return self._up_to_floor(from_offset(batch, begin))
        return None

    def _up_to_floor(self, batch: DecodedBatch) -> DecodedBatch:
        """The batch as far as the partition's floor; at the floor its running maximum counts."""
        floor = self.floors.get(batch.partition)
        if floor is None:
            return batch
        place = self.places[batch.partition]
        if place.next_offset >= floor.next_offset:
            place.running_max_us = max(place.running_max_us, floor.running_max_us)
            del self.floors[batch.partition]
        elif batch.next_offset > floor.next_offset:
            self._rest = from_offset(batch, floor.next_offset)
            return up_to_offset(batch, floor.next_offset)
        return batch

    def _read(self) -> DecodedBatch | None:
        if self._rest is not None:
            rest, self._rest = self._rest, None
            return rest
        while self.archive is not None:
            batch = self.archive.poll()
            if batch is None:
                for partition in tuple(self.archived):
                    self.read_log(partition, self.places[partition].next_offset)
                break
            if batch.partition in self.archived:
                return batch
            # The archive has grown on, but the log is to say what comes next.
        return self.log.poll()

    def moved(self, batch: DecodedBatch, running_max_us: int, now_us: int) -> None:
        """Note that `batch` has been taken."""
        place = self.places[batch.partition]
        place.next_offset = batch.next_offset
        place.running_max_us = running_max_us
        place.last_data_us = now_us
        end = self.archived.get(batch.partition)
        if end is not None and batch.next_offset >= end:
            self.read_log(batch.partition, batch.next_offset)

    def read_log(self, partition: str, offset: int) -> None:
        """Read a partition from `offset` on from the log, also if the archive has more of it."""
        self.archived.pop(partition, None)
        self.log.seek(partition, offset)
        if not self.archived and self.archive is not None:
            self.archive.close()
            self.archive = None

    def behind(self, live: Lane) -> int:
        """How many offsets this lane has still to read before it stands where `live` does."""
        return sum(
            max(0, place.next_offset - self.places[name].next_offset)
            for name, place in live.places.items()
            if name in self.places
        )

    def watermark_us(self, disorder_us: int, idle_before_us: int) -> int:
        """The stream's watermark as this lane sees it: the minimum over its partitions.

        Partitions without data since `idle_before_us` do not hold it back, nor do those that never
        had any, nor records that were driven again; `NEVER_US` if that leaves none. Imported ones
        end: where all are silent, those do not count if others have begun.
        """
        begun = {
            name: place
            for name, place in self.places.items()
            if place.running_max_us > NEVER_US and not is_redriven(name)
        }
        awake = [p for p in begun.values() if p.last_data_us >= idle_before_us]
        awake = awake or [p for name, p in begun.items() if not is_imported(name)]
        awake = awake or list(begun.values())
        if not awake:
            return NEVER_US
        return min(place.running_max_us for place in awake) - disorder_us

    def close(self) -> None:
        self.log.close()
        if self.archive is not None:
            self.archive.close()


@dataclass(frozen=True, slots=True)
class Taken:
    """A batch with the lane that it came by."""

    lane: Lane
    batch: DecodedBatch
    place: Place


class Lanes:
    """The lanes of one stream: one live, and one for each build that is catching up."""

    def __init__(self, live: Lane) -> None:
        self.live = live
        self.behind: list[Lane] = []
        self.joined: list[int] = []
        self._turn = 0

    def add(self, lane: Lane) -> None:
        """Let a build catch up by a lane of its own."""
        self.behind.append(lane)
        self._join_those_there()

    def poll(self) -> Taken | None:
        """The next batch of any lane; lanes take turns."""
        if any(lane.behind(self.live) <= JOIN_ROWS for lane in self.behind):
            order = [lane for lane in self.behind if lane.behind(self.live) <= JOIN_ROWS]
        else:
            lanes = [self.live, *self.behind]
            self._turn = (self._turn + 1) % len(lanes)
            order = [*lanes[self._turn :], *lanes[: self._turn]]
        for lane in order:
            batch = lane.poll() if lane is self.live else self._up_to_fence(lane)
            if batch is not None:
                return Taken(lane, batch, lane.places[batch.partition])
        return None

    def _up_to_fence(self, lane: Lane) -> DecodedBatch | None:
        """The next batch of a lane that is behind, and nothing of what lies past the fence."""
        # Past partitions that are there to one that is not: two rounds of turns come to all.
        for _ in range(2 * len(lane.places)):
            batch = lane.poll()
            if batch is None:
                return None
            fence = self.live.places.get(batch.partition)
            if fence is None:
                continue
            begin = lane.places[batch.partition].next_offset
            if batch.next_offset > fence.next_offset:
                batch = up_to_offset(batch, fence.next_offset)
                # The lane may not join yet (another partition has far to go), and then the live
                # one moves on: what was cut off must come again. From the log, where the live
                # lane reads it too: an archive that gave it again would not get on.
                lane.read_log(batch.partition, max(fence.next_offset, begin))
            if batch.next_offset > begin:
                return batch
        return None

    def moved(self, taken: Taken, running_max_us: int, now_us: int) -> None:
        """Note that a batch has been taken, and let lanes join that have reached the fence."""
        taken.lane.moved(taken.batch, running_max_us, now_us)
        self._join_those_there()

    def _join_those_there(self) -> None:
        for lane in [lane for lane in self.behind if lane.behind(self.live) == 0]:
            self.behind.remove(lane)
            lane.close()
            self.live.builds = (*self.live.builds, *lane.builds)
            self.joined.extend(lane.builds)

    def take_joined(self) -> list[int]:
        """The builds that have joined the live lane since the last call."""
        joined, self.joined = self.joined, []
        return joined

    def drop_build(self, build: int) -> None:
        """Stop feeding a build."""
        self.live.builds = tuple(b for b in self.live.builds if b != build)
        for lane in list(self.behind):
            if build in lane.builds:
                self.behind.remove(lane)
                lane.close()

    def add_partition(self, partition: str, offset: int) -> None:
        """Read a partition that the log has newly, in every lane, from `offset` on."""
        for lane in (self.live, *self.behind):
            if partition not in lane.places:
                lane.places[partition] = Place(offset)
                lane.log.seek(partition, offset)

    def close(self) -> None:
        for lane in (self.live, *self.behind):
            lane.close()


def from_offset(batch: DecodedBatch, offset: int) -> DecodedBatch:
    """The batch without its records before `offset`."""
    begin = int(np.searchsorted(batch.offsets, offset))
    bad = tuple(record for record in batch.bad if record.offset >= offset)
    if begin == 0 and len(bad) == len(batch.bad):
        return batch
    return _cut(batch, begin, len(batch.offsets), bad, batch.next_offset)


def up_to_offset(batch: DecodedBatch, offset: int) -> DecodedBatch:
    """The batch without its records at or after `offset`."""
    if batch.next_offset <= offset:
        return batch
    end = int(np.searchsorted(batch.offsets, offset))
    bad = tuple(record for record in batch.bad if record.offset < offset)
    return _cut(batch, 0, end, bad, offset)


def _cut(
    batch: DecodedBatch, begin: int, end: int, bad: tuple[BadRecord, ...], next_offset: int
) -> DecodedBatch:
    frame: pl.DataFrame = batch.frame.slice(begin, end - begin)
    return replace(
        batch,
        next_offset=next_offset,
        offsets=batch.offsets[begin:end],
        log_us=batch.log_us[begin:end],
        event_us=batch.event_us[begin:end],
        frame=frame,
        bad=bad,
        read_count=end - begin + len(bad),
    )


def positions_of(lane: Lane) -> Mapping[str, int]:
    """The lane's next offset in each partition."""
    return {name: place.next_offset for name, place in lane.places.items()}
