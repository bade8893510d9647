"""The events of a stream once more, as they were judged when they first came.

Read from the archive, and from the log where the state is ahead of the archive, each partition in
order of offsets, exactly up to the positions that the state has applied. Watermarks are computed
anew by the engine's own `admit`; what rests on more than the log's prefix (copies of an event,
records that a clock turned away) is taken from where it was written down. Nothing is written here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ..connectors.archive import ArchiveLog
from ..connectors.decode import DecodedBatch, JsonDecoder
from ..connectors.source import Log
from ..engine.plan import StreamPlan
from ..engine.runtime.feeds import DecodedFeed
from ..engine.runtime.sources import open_log
from ..engine.runtime.streams import has_one_home
from ..engine.settings import Settings
from ..engine.steps.admit import Admitted, admit
from ..engine.steps.lanes import from_offset, up_to_offset
from ..engine.steps.standing import Standing
from ..engine.steps.worker import home_of
from ..schemas.errors import SourceError, TegulaError
from ..schemas.outcomes import RecordCode
from ..state.archive_files import ArchiveFiles
from ..state.delta_files import read_rows
from ..state.registry import Registry
from ..state.shard import Shard
from ..windows.algebra import Bools, Int64s
from ..windows.tiles import NEVER_US

ROWS_MAX: Final = 131_072
_SILENT_POLLS: Final = 2_000
"""Polls of a log, some ms each, that bring nothing before it is taken to hold no more.

At the end of a Kafka partition there may be offsets without records, of transactions.
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is kept of a partition: from `first` up to `archived` in the archive.

    In the log from `log_first` up to `log_end`; None where it does not answer or has none such.
    """

    first: int
    archived: int
    log_first: int | None
    log_end: int | None

    @property
    def begin(self) -> int:
        """The first offset that can be read."""
        return self.first if self.archived > self.first else (self.log_first or 0)

    @property
    def end(self) -> int:
        """The offset up to which records can be read."""
        return max(self.archived, self.log_end or 0)


@dataclass(frozen=True, slots=True)
class Piece:
    """Admitted records of one partition; `watermark_us` is that of what is read until then.

    `read` and `dead` count the partition's records, and those that were dead-lettered, from its
    beginning to the piece's end.
    """

    ordinal: int
    batch: Admitted
    watermark_us: int
    read: int
    dead: int


@dataclass(slots=True)
class _Place:
    """How far a partition has been read."""

    offset: int
    running_max_us: int = NEVER_US
    read: int = 0
    dead: int = 0


class History:
    """One stream's events, for a state at rest."""

    def __init__(
        self, stream: StreamPlan, settings: Settings, registry: Registry, shards: Sequence[Shard]
    ) -> None:
        self.stream = stream
        self._settings = settings
        self._files = ArchiveFiles(settings.lake_path, stream.name, stream.schema)
        self._archive = ArchiveLog(stream.name, self._files, stream.event_time)
        self.ordinals = dict(registry.partitions(stream.name))
        self._expected = registry.log_identity(stream.name)
        number, whole = registry.stream_ordinal(stream.name), has_one_home(registry, stream)
        self.homes = {
            ordinal: home_of(ordinal, number, len(shards), whole=whole)
            for ordinal in self.ordinals.values()
        }
        ids = shards[number % len(shards)].seen_ids
        self._copies = {ordinal: ids.copies(ordinal) for ordinal in self.ordinals.values()}
        self._future = {
            ordinal: shards[home].verdicts.offsets(ordinal) for ordinal, home in self.homes.items()
        }
        self._log: Log | None = None
        self.log_fault: TegulaError | None = None
        self.bounds = self._bounds()
        standing = Standing(shards)
        self.knows_copies = stream.unique_by is None or all(
            standing.reached(o) <= max(ids.judged(o), self.bounds[name].archived)
            for name, o in self.ordinals.items()
        )
        """Whether it is known, of all that was applied, which events are copies of others."""

    @property
    def other_log(self) -> str | None:
        """The identity of the log, where it is not the one that was read before."""
        if self._log is None or self._expected in (None, self._log.identity):
            return None
        return self._log.identity

    def _bounds(self) -> Mapping[str, Bounds]:
        in_log: dict[str, tuple[int, int]] = {}
        try:
            self._log = open_kept_log(self.stream, self._settings)
            in_log = {name: self._log.bounds(name) for name in self._log.partitions()}
        except TegulaError as fault:
            self.log_fault = fault
        archived = {name: self._archive.bounds(name) for name in self._archive.partitions()}
        return {
            name: Bounds(*archived.get(name, (0, 0)), *in_log.get(name, (None, None)))
            for name in self.ordinals
        }

    def begins_us(self, partition: str) -> int:
        """The partition's running maximum at its first archived row, that row included.

        `NEVER_US` where the archive has it from offset 0, or not at all.
        """
        spans = self._files.spans(partition, 0)
        if not spans or self.bounds[partition].first == 0:
            return NEVER_US
        first = next(read_rows(spans[0].path, ["_offset", "_watermark_us"], 1, 0))
        return int(first["_watermark_us"].cast(int)[0]) + self.stream.disorder_us

    def read(self, ends: Mapping[int, Sequence[int]]) -> Iterator[Piece]:
        """All records from where history begins, up to the greatest of a partition's `ends`.

        `ends` holds, by ordinal, offsets at which a piece must end, ascending. What neither archive
        nor log holds is left out. Raises what reading raises.
        """
        names = {ordinal: name for name, ordinal in self.ordinals.items()}
        bounds = {ordinal: self.bounds[names[ordinal]] for ordinal in ends}
        last = {o: min(max(ends[o], default=0), bounds[o].end) for o in ends}
        places = {
            o: _Place(bounds[o].begin, self.begins_us(names[o]))
            for o in ends
            if bounds[o].begin < last[o]
        }
        for batch in self._batches({names[o]: o for o in places}, places, last):
            ordinal = self.ordinals[batch.partition]
            place = places[ordinal]
            if batch.next_offset <= place.offset or place.offset >= last[ordinal]:
                continue
            rest = up_to_offset(from_offset(batch, place.offset), last[ordinal])
            for edge in [e for e in ends[ordinal] if place.offset < e < rest.next_offset]:
                yield self._piece(ordinal, place, up_to_offset(rest, edge), places, last)
                rest = from_offset(rest, edge)
            yield self._piece(ordinal, place, rest, places, last)

    def _piece(
        self,
        ordinal: int,
        place: _Place,
        batch: DecodedBatch,
        places: Mapping[int, _Place],
        last: Mapping[int, int],
    ) -> Piece:
        past_clock: Bools | None = None
        if batch.stamped_by_producer:
            past_clock = np.isin(batch.offsets, self._future[ordinal])
        admitted = admit(
            batch,
            running_max_us=place.running_max_us,
            disorder_us=self.stream.disorder_us,
            ahead_us=self.stream.ahead_us,
            past_clock=past_clock,
        )
        copies = np.isin(admitted.offsets, self._copies[ordinal])
        if admitted.copies is not None:
            copies |= np.isin(admitted.offsets, admitted.copies)
        admitted = replace(admitted, is_copy=copies if copies.any() else None)
        place.offset = batch.next_offset
        place.running_max_us = admitted.running_max_us
        place.read += batch.read_count
        place.dead += sum(record.code is not RecordCode.TOMBSTONE for record in admitted.bad)
        waiting = [at.running_max_us for o, at in places.items() if at.offset < last[o]]
        watermark_us = min(waiting, default=2**62)
        if watermark_us > NEVER_US:
            watermark_us -= self.stream.disorder_us
        return Piece(ordinal, admitted, watermark_us, place.read, place.dead)

    def _batches(
        self, wanted: Mapping[str, int], places: Mapping[int, _Place], last: Mapping[int, int]
    ) -> Iterator[DecodedBatch]:
        archived = {
            name: self.bounds[name].first
            for name in wanted
            if self.bounds[name].archived > self.bounds[name].first
        }
        reader = self._archive.open(archived)
        try:
            while archived and (batch := reader.poll(ROWS_MAX)) is not None:
                yield batch
        finally:
            reader.close()
        behind = {
            name: max(places[o].offset, self.bounds[name].archived)
            for name, o in wanted.items()
            if places[o].offset < last[o]
        }
        if behind and self._log is not None:
            yield from self._tail(behind, {name: last[wanted[name]] for name in behind})

    def _tail(self, positions: dict[str, int], last: Mapping[str, int]) -> Iterator[DecodedBatch]:
        """What the log holds from `positions` on; those of `positions` are moved on."""
        assert self._log is not None
        stream = self.stream
        decoder = JsonDecoder(stream.schema, stream.event_time, self._settings.record_bytes_max)
        feed = DecodedFeed(self._log.open(positions), decoder)
        silent, pause = 0, threading.Event()
        try:
            while any(at < last[name] for name, at in positions.items()):
                batch = feed.poll()
                if batch is None:
                    silent += 1
                    pause.wait(0.005)
                    if silent > _SILENT_POLLS:
                        return  # what is missing shows in the counts
                    continue
                silent = 0
                positions[batch.partition] = batch.next_offset
                yield batch
        finally:
            feed.close()


def open_kept_log(stream: StreamPlan, settings: Settings) -> Log:
    """The log of a stream as it was kept: an embedded one that is gone is not made anew.

    Raises what opening it raises, and `SourceError` where it is gone.
    """
    file = settings.log_path(stream.name)
    if stream.source is None and not file.exists():
        raise SourceError("there is no embedded log", where=str(file))
    return open_log(stream, settings)


def ends_of(shards: Sequence[Shard], build: int, ordinal: int) -> Int64s:
    """Where each shard stands with a build in a partition; int64 (shards,), 0 before the first."""
    applied = [shard.applied.get((build, ordinal)) for shard in shards]
    return np.array([0 if at is None else at.next_offset for at in applied], np.int64)
