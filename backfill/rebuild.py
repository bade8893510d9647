"""Making the state of some keys anew, from all events that their build has applied.

What `recompute` makes takes the place of all rows of the keys, in one commit a shard: as if their
events had been folded from the beginning. Positions stay where they are, so the engine reads on as
before. Where events are gone from archive and log, nothing is replaced.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..engine.plan import Build, StreamPlan
from ..schemas.errors import HistoryIncomplete
from ..state.keys import shard_of
from ..state.mending import replace_keys
from ..state.shard import Shard
from ..windows.algebra import Int64s
from ..windows.tiles import NEVER_US
from .at_rest import AtRest
from .history import History
from .positions import positions, wholeness
from .recompute import Progress, Recomputed, recompute
from .sample import Chosen


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was done for one build: keys that have a state now, keys of which no event counts."""

    build: int
    keys: int
    empty: int
    events: int


def rebuild(
    home: AtRest,
    builds: Sequence[Build],
    keys: Mapping[int, Sequence[bytes]],
    progress: Progress = lambda count: None,
) -> list[Rebuilt]:
    """Replace the state of `keys`, by build, in a home that is held for writing.

    Atomic for each shard and build: an interruption leaves a key as it was or as it is to be, and
    rebuilding again changes nothing more. Raises `HistoryIncomplete`, before anything of a stream's
    builds is replaced, where events that count are in neither archive nor log, or nobody says any
    more how the stream is read; and what reading it raises.
    """
    by_stream: dict[str, list[Build]] = {}
    for build in builds:
        if build.stream not in home.deployed.streams:
            raise HistoryIncomplete(
                where=f"view {build.view!r}, build {build.id}",
                got=f"the stream {build.stream!r} is not defined any more",
            )
        by_stream.setdefault(build.stream, []).append(build)
    return [
        one
        for name, mine in by_stream.items()
        for one in _rebuild_of(home.deployed.streams[name], home, mine, keys, progress)
    ]


def _rebuild_of(
    stream: StreamPlan,
    home: AtRest,
    builds: Sequence[Build],
    keys: Mapping[int, Sequence[bytes]],
    progress: Progress,
) -> list[Rebuilt]:
    """Replace the state of `keys` in builds of one stream."""
    history = History(stream, home.settings, home.registry, home.shards)
    for odd in positions(history, builds, (), home.shards):
        raise HistoryIncomplete(
            where=f"stream {stream.name!r}", got=f"{odd.cause}: {odd.stored or ''}"
        )
    chosen = {build.id: Chosen(frozenset(keys[build.id])) for build in builds}
    events = 0

    def advance(count: int) -> None:
        nonlocal events
        events += count
        progress(count)

    with tempfile.TemporaryDirectory(prefix="tegula-") as folder:

        def targets(build: Build, page: Sequence[bytes]) -> Int64s:
            return np.full(len(page), earliest_horizon_us(home.shards, build))

        place = Path(folder) / "made"
        made = recompute(place, history, builds, chosen, home.shards, targets, advance)
        try:
            for build in builds:
                _require_whole(home, history, build, made)
            return [_replace(home, build, keys[build.id], made, events) for build in builds]
        finally:
            made.shard.abandon()


def _replace(
    home: AtRest, build: Build, keys: Sequence[bytes], made: Recomputed, events: int
) -> Rebuilt:
    by_shard: dict[int, list[bytes]] = {}
    for key in sorted(set(keys)):
        by_shard.setdefault(shard_of(key, home.shard_count), []).append(key)
    kept = 0
    for number, mine in by_shard.items():
        replace_keys(home.shards[number], build.id, mine, made.shard)
        home.shards[number].sync()
        kept += sum(rows.head is not None for rows in made.shard.read_keys(build.id, mine))
    return Rebuilt(build.id, kept, len(set(keys)) - kept, events)


def _require_whole(home: AtRest, history: History, build: Build, made: Recomputed) -> None:
    whole = wholeness(history, build, home.shards, made.counted)
    if whole.covers(build, earliest_horizon_us(home.shards, build)):
        return
    odd = [f"{one.cause} ({one.recomputed} of {one.stored})" for one in whole.odd]
    raise HistoryIncomplete(
        where=f"view {build.view!r}, build {build.id}", got="; ".join([*whole.notes, *odd])
    )


def earliest_horizon_us(shards: Sequence[Shard], build: Build) -> int:
    """A horizon that no partition is behind; `NEVER_US` before the first event."""
    maxima = [
        at.running_max_us
        for shard in shards
        for (of, _), at in shard.applied.items()
        if of == build.id and at.running_max_us > NEVER_US
    ]
    if not maxima:
        return NEVER_US
    return min(maxima) - build.disorder_us - build.shape.depth_us
