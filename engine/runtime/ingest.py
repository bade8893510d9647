"""One worker's part of ingest: the steps between a stream's batches and the commits of its shards.

Plain and synchronous, so that the dataflow, a replay and the test driver run the very same thing:
`admit` a batch, `lift` it for each build of its lane into a parcel for each worker, `add` what
comes for the own shards, `commit`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...connectors.decode import DecodedBatch
from ...schemas.outcomes import BadRecord
from ...schemas.redriven import COPY, LATE, REDRIVEN
from ...state.archive import ArchiveRows
from ...windows.algebra import Bools, Int64s
from ..plan import Build, StreamPlan
from ..steps.admit import Admitted, admit, watermark_at
from ..steps.commit import Committer, ShardCommit
from ..steps.lift import Lifter
from ..steps.parcel import Parcel, Share, cut, outcomes_of
from ..steps.standing import Standing
from ..steps.watermarks import Watermarks


@dataclass(frozen=True, slots=True)
class Work:
    """An admitted batch, the builds that it is for, and the watermark of their lane.

    `home` is the partition's own shard, where what has no key is counted. `live` says that the lane
    is the live one, not that of a build which catches up.
    """

    ordinal: int
    batch: Admitted
    builds: tuple[int, ...]
    watermark_us: int
    home: int = 0
    live: bool = False


class Ingest:
    """Lifts what this worker reads, and commits what comes for its shards."""

    def __init__(self, standing: Standing, builds: Sequence[Build]) -> None:
        self._standing = standing
        self._worker = standing.worker
        self._shard_count = standing.shard_count
        self._lifters: dict[int, Lifter] = {}
        self.watermarks = Watermarks()
        self._not_finite: Counter[tuple[int, str]] = Counter()
        self.committer = Committer(standing.shards, {}, self._shard_count)
        self.set_builds(builds)

    def set_builds(self, builds: Sequence[Build]) -> None:
        """Ingest for exactly these builds from now on."""
        self._lifters = {
            build.id: self._lifters.get(build.id) or Lifter(build, self._shard_count)
            for build in builds
        }
        self.committer.shapes = {build.id: build.shape for build in builds}

    def lift(self, work: Work) -> list[Parcel]:
        """Lift a batch for each build that it is for: a parcel for each worker, by its index.

        What is applied already is left out.
        """
        batch, count = work.batch, self._worker.count
        shares: list[dict[int, Share]] = [{} for _ in range(count)]
        not_finite: dict[int, Mapping[str, int]] = {}
        first_new = batch.next_offset
        for build in work.builds:
            if build not in self._lifters:
                continue
            # What is pending may end before what a shard has: it was read again for another shard.
            pending = self.committer.pending_offset(build, work.ordinal)
            applied = np.maximum(self._standing.applied(build, work.ordinal), pending)
            since = int(applied[work.home])
            lifted = self._lifters[build].lift(batch, work.ordinal, applied, since)
            counts = outcomes_of(batch, lifted, since, work.home, self._shard_count)
            for share, tiles in zip(
                shares, cut(lifted.tiles, self._shard_count, count), strict=True
            ):
                share[build] = Share(tiles, counts)
            first_new = min(first_new, since)
            if lifted.not_finite:
                not_finite[build] = lifted.not_finite
        parcels = [
            Parcel(
                self._worker.index,
                work.ordinal,
                batch.next_offset,
                batch.running_max_us,
                work.watermark_us,
                -(-batch.read_count // count),
                share,
            )
            for share in shares
        ]
        own = self._worker.index
        if work.live and shares[own]:
            log_us = batch.log_us[np.searchsorted(batch.offsets, first_new) :]
            parcels[own] = replace(parcels[own], log_us=log_us)
        if not_finite:
            parcels[own] = replace(parcels[own], not_finite=not_finite)
        return parcels

    def add(self, parcel: Parcel) -> None:
        """Gather a parcel for the next commit."""
        self.committer.add(parcel)
        for build in parcel.shares:
            self.watermarks.told(build, parcel.reader, parcel.watermark_us)
        for build, by_input in parcel.not_finite.items():
            for name, count in by_input.items():
                self._not_finite[build, name] += count

    def not_finite(self, build: int) -> dict[str, int]:
        """By input, how many values of a build were NaN or infinite and so counted as null.

        Of the rows folded since the engine's start: each row once in a run, and again after a crash
        only if its commit was lost. Inputs without any are not in it. Safe from any thread.
        """
        return {name: n for (of, name), n in list(self._not_finite.items()) if of == build}

    def commit(self) -> list[ShardCommit]:
        """Commit what has gathered; folds whose turn it is follow in the same call."""
        return self.committer.commit(self.watermarks.least_us())


def admit_batch(
    batch: DecodedBatch, running_max_us: int, stream: StreamPlan, past_clock: Bools | None
) -> Admitted:
    """Admit a batch by its stream's bounds; `past_clock` are rows that the clock turned away."""
    return admit(
        batch,
        running_max_us=running_max_us,
        disorder_us=stream.disorder_us,
        ahead_us=stream.ahead_us,
        past_clock=past_clock,
    )


def archive_rows(admitted: Admitted, before_us: int, ingested_us: int) -> ArchiveRows:
    """All records of a batch, good and bad, as the archive keeps them.

    `before_us` is the partition's watermark before the batch (`NEVER_US` if there is none).
    """
    bad: tuple[BadRecord, ...] = admitted.bad
    bad_offsets = np.array([record.offset for record in bad], dtype=np.int64)
    offsets = np.concatenate((admitted.offsets, bad_offsets))
    log_us = np.concatenate(
        (admitted.log_us, np.array([record.log_us for record in bad], dtype=np.int64))
    )
    watermark_us = np.concatenate(
        (admitted.watermark_us, watermark_at(admitted, bad_offsets, before_us))
    )
    order = np.argsort(offsets)
    good = np.flatnonzero(order < len(admitted.offsets))
    return ArchiveRows(
        partition=admitted.partition,
        next_offset=admitted.next_offset,
        offsets=offsets[order],
        log_us=log_us[order],
        watermark_us=watermark_us[order],
        ingested_us=ingested_us,
        frame=admitted.frame,
        good=good,
        bad=bad,
        change=_change(admitted, offsets[order], good),
    )


def _change(admitted: Admitted, offsets: Int64s, good: Int64s) -> np.ndarray | None:
    """What the archive's `_change` says of the records at `offsets`, of which some are `good`."""
    if admitted.origins is None and admitted.is_copy is None:
        return None
    change = np.full(len(offsets), None, dtype=object)
    if admitted.origins is not None:
        was_good = admitted.origins.at(offsets).was_good
        change[was_good], change[~was_good] = LATE, REDRIVEN
    if admitted.is_copy is not None:
        change[good[admitted.is_copy]] = COPY
    return change
