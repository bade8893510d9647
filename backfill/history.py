"""The events of a stream once more, as they were judged when they first came.

Read from the archive, and from the log where the state is ahead of the archive, each partition in
order of offsets, exactly up to the positions that the state has applied. Watermarks are computed
anew by the engine's own `admit`; what rests on more than the log's prefix (copies of an event,
records that a clock turned away) is taken from where it was written down. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..connectors.decode import DecodedBatch
from ..engine.plan import StreamPlan
from ..engine.runtime.streams import has_one_home
from ..engine.settings import Settings
from ..engine.steps.admit import Admitted, admit
from ..engine.steps.lanes import from_offset, up_to_offset
from ..engine.steps.standing import Standing
from ..engine.steps.worker import home_of
from ..schemas.errors import TegulaError
from ..schemas.outcomes import RecordCode
from ..state.registry import Registry
from ..state.shard import Shard
from ..windows.algebra import Bools, Int64s
from ..windows.tiles import NEVER_US
from .kept import KeptEvents


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
        self._kept = KeptEvents(stream, settings)
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
            ordinal: np.unique(np.concatenate([one.verdicts.offsets(ordinal) for one in shards]))
            for ordinal in self.ordinals.values()
        }
        self.bounds = {name: self._kept.bounds(name) for name in self.ordinals}
        standing = Standing(shards)
        self.knows_copies = stream.unique_by is None or all(
            standing.reached(o) <= max(ids.judged(o), self.bounds[name].archived)
            for name, o in self.ordinals.items()
        )
        """Whether it is known, of all that was applied, which events are copies of others."""

    @property
    def other_log(self) -> str | None:
        """The identity of the log, where it is not the one that was read before."""
        now = self._kept.log_identity
        return None if self._expected in (None, now) else now

    @property
    def log_fault(self) -> TegulaError | None:
        """Why the log does not answer, if it does not."""
        return self._kept.log_fault

    def begins_us(self, partition: str) -> int:
        """The partition's running maximum at its first archived row (`KeptEvents.begins_us`)."""
        return self._kept.begins_us(partition)

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
        for batch in self._kept.read({names[o]: last[o] for o in places}):
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


def ends_of(shards: Sequence[Shard], build: int, ordinal: int) -> Int64s:
    """Where each shard stands with a build in a partition; int64 (shards,), 0 before the first."""
    applied = [shard.applied.get((build, ordinal)) for shard in shards]
    return np.array([0 if at is None else at.next_offset for at in applied], np.int64)
