"""One stream as the engine reads it: its log, its archive, and the lanes of its builds.

Opening a stream finds where to read on. Truth is in the state: the live lane resumes after the
minimum applied position over shards and live builds, and no later than what the archive has; each
consumer drops by itself what it already holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...connectors.archive import ArchiveLog
from ...connectors.decode import JsonDecoder
from ...connectors.source import Log
from ...schemas.errors import LogRecreated, LogShrunk, TegulaError
from ...state.registry import Registry
from ...windows.tiles import NEVER_US
from ..plan import Build, StreamPlan
from ..steps.first_reading import FirstReading
from ..steps.lanes import Feed, Lane, Lanes, Place, Taken
from ..steps.standing import Standing
from ..steps.uniqueness import Uniqueness
from ..steps.worker import home_of
from .feeds import DecodedFeed, ThreadedFeed
from .ingest import Work, admit_batch


@dataclass(frozen=True, slots=True)
class Admitted:
    """A batch taken from a stream: the work to do, and what the archive needs to know of it."""

    work: Work
    watermark_before_us: int


class StreamReader:
    """Reads one stream for all its builds."""

    def __init__(
        self,
        stream: StreamPlan,
        log: Log,
        archive: ArchiveLog,
        registry: Registry,
        *,
        threaded: bool,
        now_us: Callable[[], int],
        record_bytes_max: int,
    ) -> None:
        self.stream = stream
        self.log = log
        self._archive = archive
        self._registry = registry
        self._threaded = threaded
        self._now_us = now_us
        self._record_bytes_max = record_bytes_max
        self._ordinals = dict(registry.partitions(stream.name))
        self._lanes: Lanes | None = None
        self._unique: Uniqueness | None = None
        self.bounds: dict[str, tuple[int, int]] = {}
        self.fault: TegulaError | None = None
        self._check_identity()

    def _check_identity(self) -> None:
        known = self._registry.log_identity(self.stream.name)
        if known is None:
            self._registry.set_log_identity(self.stream.name, self.log.identity)
        elif known != self.log.identity:
            raise LogRecreated(
                stream=self.stream.name,
                got_identity=self.log.identity,
                expected_identity=known,
            )

    def start(
        self, standing: Standing, live: Sequence[Build], archived: Mapping[str, Place]
    ) -> None:
        """Begin reading what is this worker's: `live` builds in one lane, from their positions.

        `archived` is where the archive stands; it too is fed by the live lane.
        """
        self._standing = standing
        self._check_partitions()
        stream = self._registry.stream_ordinal(self.stream.name)
        if self.stream.unique_by is not None:
            self._registry.put_progress(_unique(self.stream.name), {}, self._now_us())
        self._whole = has_one_home(self._registry, self.stream)
        self._number = stream
        self._first = FirstReading(standing)
        if self._whole and standing.worker.owns(stream % standing.shard_count):
            ids = standing.own(stream % standing.shard_count).seen_ids
            within_us = self.stream.unique_within_us
            self._unique = Uniqueness(ids, stream, self.stream.unique_by, within_us)
        places, floors = {}, {}
        for partition in self.log.partitions():
            # In the log's own order, whichever partition has the first event: where events of one
            # instant meet it decides, and another home should decide alike.
            ordinal = self.ordinal(partition)
            if not self._reads(ordinal):
                continue
            starts = [standing.place(build.id, ordinal) for build in live]
            starts.append(archived.get(partition))
            places[partition] = self._earliest(partition, starts)
            least = _least(starts)
            if least is not None and least.next_offset >= places[partition].next_offset:
                floors[partition] = least
            self._begin(ordinal, partition, places[partition], archived.get(partition))
            # Not idle before it has been silent for the idle timeout under this engine.
            places[partition].last_data_us = self._now_us()
        feed = self._feed({name: place.next_offset for name, place in places.items()})
        live_ids = tuple(build.id for build in live)
        self._lanes = Lanes(Lane(live_ids, places, feed, floors))

    def drop_unjudged(
        self, standing: Standing, builds: Sequence[Build], judged: Mapping[int, int]
    ) -> set[int]:
        """Before `start`: drop builds that hold what would be judged again; which these are.

        All of them, or none, in the shards of all workers: they conclude it from the same, `judged`
        being how far it is known which events are copies, by ordinal. The shard that knew it was
        lost, or went back, and the archive does not know it either: read again in another order, an
        event that a shard holds would be found to be the copy, and its copy would count in another.
        """
        ordinals = self._ordinals.values()
        if self.stream.unique_by is None or all(
            standing.reached(ordinal) <= judged.get(ordinal, 0) for ordinal in ordinals
        ):
            return set()
        for build in builds:
            standing.drop_build(build.id)
        return {build.id for build in builds}

    def _home(self, ordinal: int) -> int:
        count = self._standing.shard_count
        return home_of(ordinal, self._number, count, whole=self._whole)

    def _reads(self, ordinal: int) -> bool:
        """Whether this worker is the one that reads a partition."""
        return self._standing.worker.owns(self._home(ordinal))

    def _check_partitions(self) -> None:
        """Raise `LogShrunk` if a partition is gone of which something was applied."""
        for partition in self._ordinals.keys() - set(self.log.partitions()):
            ordinal = self._ordinals[partition]
            reached = self._standing.reached(ordinal)
            if reached:
                raise LogShrunk(
                    stream=self.stream.name,
                    partition=partition,
                    end_offset=0,
                    applied_offset=reached,
                )

    def _begin(self, ordinal: int, partition: str, place: Place, archived: Place | None) -> None:
        reached = 0 if archived is None else archived.next_offset
        future, copies = np.empty(0, np.int64), np.empty(0, np.int64)
        if reached > place.next_offset:
            future = self._archive.future(partition, place.next_offset)
            copies = self._archive.copies(partition, place.next_offset)
        kept_from = self.log.bounds(partition)[0]
        self._first.begin(ordinal, archived=reached, future=future, kept_from=kept_from)
        if self._unique is None:
            return
        self._unique.begin(ordinal, copies=copies, kept_from=kept_from)
        judged = self._unique.judged(ordinal)
        if judged is not None and judged < reached:
            for rows in self._archive.events(partition, judged):
                last = int(rows["_offset"][-1]) + 1
                self._unique.learn(ordinal, rows, self.stream.event_time, last)

    def add(self, build: Build) -> None:
        """Let a build catch up: from its own positions, through the archive, then the log."""
        ends = self._archive_ends()
        places: dict[str, Place] = {}
        for partition in self.lanes.live.places:
            place = self._standing.place(build.id, self.ordinal(partition))
            if place is None:
                first = self.log.bounds(partition)[0]
                place = Place(self._archive.bounds(partition)[0] if partition in ends else first)
            places[partition] = place
        archived = {
            p: end for p, end in ends.items() if self._reads_archive(p, places[p].next_offset, end)
        }
        in_log = {p: at.next_offset for p, at in places.items() if p not in archived}
        lane = Lane((build.id,), places, self._feed(in_log, threaded=False))
        if archived:
            lane.archive = _ArchiveFeed(
                self._archive.open({p: places[p].next_offset for p in archived})
            )
            lane.archived = archived
        self.lanes.add(lane)

    def _reads_archive(self, partition: str, offset: int, end: int) -> bool:
        """Whether a build at `offset` reads the archive first, which ends at `end`.

        Not where the archive begins later and the log does not: offsets without records (markers
        of transactions) lie between, or records that came before there was an archive.
        """
        begins_later = self._archive.bounds(partition)[0] > offset
        return offset < end and not (begins_later and self.log.bounds(partition)[0] <= offset)

    def _archive_ends(self) -> dict[str, int]:
        ends = {}
        for partition in self._archive.partitions():
            first, end = self._archive.bounds(partition)
            if end > first and partition in self.lanes.live.places:
                ends[partition] = end
        return ends

    def _earliest(self, partition: str, starts: Sequence[Place | None]) -> Place:
        first = self.log.bounds(partition)[0]
        least = _least(starts) or Place(first)
        if None in starts and least.next_offset >= first:
            # Somebody has nothing of it yet: from the beginning, where that still is.
            return Place(first)
        return least  # before the beginning of the log it is a gap, which opening the log names

    def _feed(self, positions: Mapping[str, int], *, threaded: bool | None = None) -> Feed:
        decoder = JsonDecoder(self.stream.schema, self.stream.event_time, self._record_bytes_max)
        feed = DecodedFeed(self.log.open(positions), decoder)
        return ThreadedFeed(feed) if (self._threaded if threaded is None else threaded) else feed

    @property
    def lanes(self) -> Lanes:
        """The lanes; only after `start`."""
        assert self._lanes is not None, "the stream has not been started"
        return self._lanes

    def ordinal(self, partition: str) -> int:
        """The number that the registry gave to a partition, once and for all."""
        known = self._ordinals.get(partition)
        if known is None:
            known = self._registry.partition_ordinal(self.stream.name, partition)
            self._ordinals[partition] = known
        return known

    def poll(self) -> Admitted | None:
        """The next batch of any lane, admitted; None if there is nothing now."""
        taken = self.lanes.poll()
        if taken is None:
            return None
        before_us = taken.place.running_max_us
        ordinal, now_us = self.ordinal(taken.batch.partition), self._now_us()
        past_clock = self._first.judge(ordinal, taken.batch, now_us + self.stream.ahead_us)
        batch = admit_batch(taken.batch, before_us, self.stream, past_clock)
        if self._unique is not None:
            is_copy = self._unique.judge(ordinal, batch, self._watermark_us(taken, now_us))
            batch = replace(batch, is_copy=is_copy)
        live, builds = taken.lane is self.lanes.live, taken.lane.builds
        self.lanes.moved(taken, batch.running_max_us, now_us)
        watermark_us = self._watermark_us(taken, now_us)
        if before_us > NEVER_US:
            before_us -= self.stream.disorder_us
        work = Work(ordinal, batch, builds, watermark_us, self._home(ordinal), live)
        return Admitted(work, before_us)

    def _watermark_us(self, taken: Taken, now_us: int) -> int:
        return taken.lane.watermark_us(
            self.stream.disorder_us, now_us - self.stream.idle_timeout_us
        )

    def survey(self) -> None:
        """Ask the log which partitions it has and where they begin and end.

        May wait for a broker, so it is not called by the thread that ingests. A log that does not
        answer is reported and asked again; one that was recreated ends the reading of it.
        """
        try:
            self.bounds = {name: self.log.bounds(name) for name in self.log.partitions()}
            self.fault = None
        except TegulaError as fault:
            self.fault = fault

    def find_partitions(self) -> None:
        """Read partitions that the last survey found newly, from their beginning.

        Raises `LogRecreated` if the survey found another log under the same name.
        """
        if isinstance(self.fault, LogRecreated):
            raise self.fault
        for partition, (first, _) in self.bounds.items():
            if partition not in self.lanes.live.places:
                ordinal = self.ordinal(partition)  # before it is read: the registry may not answer
                if self._reads(ordinal):
                    self.lanes.add_partition(partition, first)

    def close(self) -> None:
        """Give back what the lanes hold."""
        if self._lanes is not None:
            self._lanes.close()


def _least(starts: Sequence[Place | None]) -> Place | None:
    known = [start for start in starts if start is not None]
    return min(known, key=lambda place: place.next_offset, default=None)


class _ArchiveFeed:
    """An archive reader as a feed: its batches are decoded already."""

    def __init__(self, reader: object) -> None:
        self._reader = reader

    def poll(self):  # type: ignore[no-untyped-def]
        return self._reader.poll(1 << 18)  # type: ignore[attr-defined]

    def seek(self, partition: str, offset: int) -> None:
        self._reader.seek(partition, offset)  # type: ignore[attr-defined]

    def close(self) -> None:
        self._reader.close()  # type: ignore[attr-defined]


def has_one_home(registry: Registry, stream: StreamPlan) -> bool:
    """Whether all partitions of a stream have one home: its copies are to be known, or once were.

    They are kept where the stream's ids lie.
    """
    return stream.unique_by is not None or registry.progress(_unique(stream.name)) is not None


def _unique(stream: str) -> str:
    return f"unique/{stream}"
