"""Making a training set, from the spine to rows in its order.

1. the spine is read once: instants, keys and columns are checked, rows go to buckets;
2. each stream is read once, from archive and log: events that count go to their keys' buckets;
3. bucket by bucket, the values of all its rows are computed;
4. they are put together in the spine's order, a piece at a time.

Nothing but one bucket and one piece has to be in memory. The same spine, definitions, positions and
number of buckets give the same rows, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from ...engine.settings import Settings
from .asked import Asked, Part
from .assemble import Piece, assembled
from .buckets import EventBuckets, SpineBuckets, bucket_count
from .compute import Begin, events_of, frame_of, numbered, rows_of
from .intake import Intake, take_in
from .options import Options, Progress
from .sources import StreamEvents
from .spine import Spine
from .spool import Spool, Workspace

_EVENT_BYTES = 96
"""About what an event costs in a bucket, its inputs apart."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made. `ends` are positions to read up to, by stream and partition; with None,
    all that there is. `buckets` is how many there were the last time, None the first."""

    asked: Asked
    spine: Spine
    options: Options
    now_us: int
    ends: Mapping[str, Mapping[str, int]] | None = None
    buckets: int | None = None


@dataclass
class Making:
    """A set while it is made, and what is known of it afterwards."""

    order: Order
    sources: dict[str, StreamEvents] = field(default_factory=dict)
    events: dict[str, EventBuckets] = field(default_factory=dict)
    rows: int = 0
    spine_hash: str = ""
    spine_schema: dict[str, str] = field(default_factory=dict)
    late_rows: int = 0
    buckets: int = 1

    @property
    def notes(self) -> list[str]:
        """What whoever uses the set should know of its sources."""
        return [note for source in self.sources.values() for note in source.notes]


def make(
    making: Making,
    settings: Settings,
    workspace: Workspace,
    progress: Progress = lambda what, done, total: None,
) -> Iterator[Piece]:
    """The set's rows, in the spine's order; `making` is whole when all were taken.

    Raises `BadSpine` for rows that cannot be used, and what reading archive and log raises.
    """
    order = making.order
    order.options.check()
    taken = take_in(order, workspace, progress)
    making.rows, making.spine_hash = taken.rows, taken.hash
    making.spine_schema = {name: str(dtype) for name, dtype in taken.schema.items()}
    for stream in order.asked.streams:
        ends = None if order.ends is None else order.ends[stream.name]
        source = StreamEvents(stream, settings, order.now_us, ends)
        making.sources[stream.name] = source
    making.buckets = order.buckets or _buckets(making, taken)
    spines = _spine_buckets(making, taken, workspace)
    _read_events(making, spines, workspace, progress)
    outputs = _compute(making, taken, spines, workspace, progress)
    for piece in assembled(order.asked, order.options, taken, outputs, order.now_us):
        making.late_rows += piece.late
        yield piece


def _buckets(making: Making, taken: Intake) -> int:
    asked = making.order.asked
    builds = {part.build.view: part.build for part in asked.parts}
    size = sum(
        making.sources[build.stream].record_count * (_EVENT_BYTES + 16 * len(build.inputs))
        for build in builds.values()
    )
    size += taken.rows * 64 * (len(asked.entities) + len(asked.columns))
    return bucket_count(size, making.order.options.memory_bytes)


def _spine_buckets(making: Making, taken: Intake, workspace: Workspace) -> dict[Any, SpineBuckets]:
    spines = {keys: SpineBuckets(workspace, making.buckets) for keys in making.order.asked.entities}
    first = 0
    for frame in taken.keyed.read():
        for number, buckets in enumerate(spines.values()):
            buckets.add(first, frame[f"_key{number}"], frame["_at_us"])
        first += frame.height
    taken.keyed.drop()
    return spines


def _read_events(
    making: Making, spines: Mapping[Any, SpineBuckets], workspace: Workspace, progress: Progress
) -> None:
    order = making.order
    for part in order.asked.parts:
        if part.build.view not in making.events:
            keys = spines[part.keys].keys
            making.events[part.build.view] = EventBuckets(
                workspace, making.buckets, part.build, keys, order.options.landing_us
            )
    total = sum(source.record_count for source in making.sources.values())
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress("Reading events", done, total)

    for name, source in making.sources.items():
        mine = [one for one in making.events.values() if one.build.stream == name]
        for batch in source.read(advance):
            for one in mine:
                one.add(batch.ordinal, batch.admitted)


def _compute(
    making: Making,
    taken: Intake,
    spines: Mapping[Any, SpineBuckets],
    workspace: Workspace,
    progress: Progress,
) -> list[list[Spool]]:
    """For each part the spools of its buckets, each with a frame a piece of the spine."""
    parts, count = making.order.asked.parts, making.buckets
    outputs = [[workspace.spool() for _ in range(count)] for _ in parts]
    edges = np.cumsum([0, *taken.piece_rows])
    done = 0

    def one(bucket: int) -> list[pl.DataFrame]:
        return _bucket(making, spines, bucket)

    cores = min(making.order.options.cores, count)
    with ThreadPoolExecutor(cores, thread_name_prefix="tegula-dataset") as pool:
        # A few at a time: what has been computed waits in memory until it is taken.
        for first in range(0, count, cores):
            for bucket, frames in zip(
                range(first, count),
                pool.map(one, range(first, min(first + cores, count))),
                strict=False,
            ):
                for output, frame in zip(outputs, frames, strict=True):
                    cuts = np.searchsorted(frame["_row"].to_numpy(), edges)
                    for begin, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
                        output[bucket].append(frame[begin:end])
                done += frames[0].height
                progress("Computing rows", done, taken.rows * len(spines))
                for spool in (one.spools[bucket] for one in spines.values()):
                    spool.drop()
                for spool in (one.spools[bucket] for one in making.events.values()):
                    spool.drop()
    return outputs


def _bucket(making: Making, spines: Mapping[Any, SpineBuckets], bucket: int) -> list[pl.DataFrame]:
    """The columns of every part for the rows in one bucket."""
    options = making.order.options
    by_known = options.clock == "known"
    asked: dict[Any, Any] = {}
    rows: dict[str, Any] = {}
    frames = []
    for part in making.order.asked.parts:
        if part.keys not in asked:
            frame = (
                pl.concat(spines[part.keys].spools[bucket].read())
                if (spines[part.keys].spools[bucket].rows)
                else _NO_ROWS
            )
            asked[part.keys] = numbered(frame)
        pairs, keys = asked[part.keys]
        view = part.build.view
        if view not in rows:
            events = events_of(list(making.events[view].spools[bucket].read()), keys)
            known_us = np.empty(0, np.int64) if events is None else events.known_us
            rows[view] = (rows_of(part.build, events, by_known=by_known), known_us)
        source = making.sources[part.build.stream]
        begin = Begin(source.begins_us, source.is_cut)
        mine, known_us = rows[view]
        frames.append(frame_of(part, mine, known_us, pairs, begin, options.include))
    return frames


_NO_ROWS = pl.DataFrame(schema={"_row": pl.Int64, "_key": pl.Binary, "_at_us": pl.Int64})


def part_of(asked: Asked, column: str) -> Part:
    """The part that a column of the set belongs to."""
    return next(part for part in asked.parts if column in part.columns)


def bounded(order: Order, ends: Mapping[str, Mapping[str, int]], buckets: int) -> Order:
    """The same, of no more than was read before."""
    return replace(order, ends=ends, buckets=buckets)


Sink = Callable[[pl.DataFrame], None]
