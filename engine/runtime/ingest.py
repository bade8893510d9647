"""One worker's part of ingest: the steps between a stream's batches and the commits of its shards.

Plain and synchronous, so that the dataflow, a replay and the test driver run the very same thing:
`admit` a batch, `lift` it for each build of its lane, `add` the parts, `commit`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...connectors.decode import DecodedBatch
from ...schemas.outcomes import BadRecord
from ...schemas.redriven import COPY, LATE, REDRIVEN
from ...state.archive import ArchiveRows
from ...state.shard import Shard
from ...windows.algebra import Bools, Int64s
from ...windows.tiles import NEVER_US
from ..plan import Build, StreamPlan
from ..steps.admit import Admitted, admit, watermark_at
from ..steps.commit import Committer, ShardCommit, partition_shard
from ..steps.lift import Lifted, Lifter


@dataclass(frozen=True, slots=True)
class Work:
    """An admitted batch, the builds that it is for, and the watermark of their lane.

    `live` says that the lane is the live one, not that of a build which catches up.
    """

    ordinal: int
    batch: Admitted
    builds: tuple[int, ...]
    watermark_us: int
    live: bool = False


@dataclass(frozen=True, slots=True)
class LiftedWork:
    """What a batch adds to each of its builds; `since` is from where other outcomes count."""

    work: Work
    lifted: Mapping[int, tuple[Lifted, int]]

    @property
    def new_log_us(self) -> np.ndarray:
        """Log timestamps of rows that come live and for the first time; int64 (n,), by offset."""
        batch = self.work.batch
        if not self.work.live or not self.lifted:
            return batch.log_us[:0]
        first = min(since for _, since in self.lifted.values())
        return batch.log_us[np.searchsorted(batch.offsets, first) :]


class Ingest:
    """Lifts and commits for some shards and builds."""

    def __init__(self, shards: Sequence[Shard], builds: Sequence[Build]) -> None:
        self._shard_count = len(shards)
        self._lifters: dict[int, Lifter] = {}
        self._watermarks_us: dict[int, int] = {}
        self._not_finite: Counter[tuple[int, str]] = Counter()
        self.committer = Committer(shards, {})
        self.set_builds(builds)

    def set_builds(self, builds: Sequence[Build]) -> None:
        """Ingest for exactly these builds from now on."""
        self._lifters = {
            build.id: self._lifters.get(build.id) or Lifter(build, self._shard_count)
            for build in builds
        }
        self.committer.shapes = {build.id: build.shape for build in builds}

    def lift(self, work: Work) -> LiftedWork:
        """Lift a batch for each build that it is for, leaving out what is applied already."""
        lifted = {}
        for build in work.builds:
            if build not in self._lifters:
                continue
            applied = self.committer.applied(build, work.ordinal)
            since = int(applied[partition_shard(work.ordinal, self._shard_count)])
            part = self._lifters[build].lift(work.batch, work.ordinal, applied, since)
            lifted[build] = (part, since)
        return LiftedWork(work, lifted)

    def add(self, lifted: LiftedWork) -> None:
        """Gather a lifted batch for the next commit."""
        work = lifted.work
        for build, (part, since) in lifted.lifted.items():
            self.committer.add(build, work.ordinal, work.batch, part, since)
            known = self._watermarks_us.get(build, NEVER_US)
            self._watermarks_us[build] = max(known, work.watermark_us)
            for name, count in part.not_finite.items():
                self._not_finite[build, name] += count

    def not_finite(self, build: int) -> dict[str, int]:
        """By input, how many values of a build were NaN or infinite and so counted as null.

        Of the rows folded since the engine's start: each row once in a run, and again after a crash
        only if its commit was lost. Inputs without any are not in it. Safe from any thread.
        """
        return {name: n for (of, name), n in list(self._not_finite.items()) if of == build}

    def commit(self) -> list[ShardCommit]:
        """Commit what has gathered; folds whose turn it is follow in the same call."""
        return self.committer.commit(self._watermarks_us)


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
