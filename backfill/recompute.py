"""Some keys of some builds, made anew from the events that the state has applied.

The events go through the engine's own steps, `admit` and `lift`, into a database of its own in a
temporary folder, and are folded there: what comes out is what the state of these keys is to be. Of
each shard exactly those events count that it has applied, so a crash that left shards at different
positions changes nothing. Memory holds some batches; a key's tiles are in memory when it is folded.

While it goes on, nothing is folded further than events may still come: by the least watermark of
all partitions that have not been read to their end. So no session is closed too early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from ..engine.plan import Build
from ..engine.steps.admit import Admitted
from ..engine.steps.lift import Lifter
from ..state.database import Memory
from ..state.fold import fold
from ..state.keys import encode_keys
from ..state.shard import Shard
from ..windows.algebra import Int64s
from ..windows.tiles import NEVER_US, KeyedTiles, merge_keyed
from .at_rest import BUDGET
from .history import History, ends_of
from .sample import Chosen

PAGE_KEYS: Final = 128
_COMMIT_TILES: Final = 200_000
_FOLD_EVERY: Final = 16
_PAST_ALL: Final = 2**62

Progress = Callable[[int], None]
"""Is told how many more records were read."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Records of a partition before an offset that are in archive and log."""

    read: int
    dead: int


@dataclass
class Recomputed:
    """The keys as they are to be, in `shard`; `counted` by (ordinal, position of a shard).

    `keys` holds for each build those of which any event counted.
    """

    shard: Shard
    keys: dict[int, set[bytes]] = field(default_factory=dict)
    counted: dict[tuple[int, int], Counted] = field(default_factory=dict)

    @staticmethod
    def pages(keys: Sequence[bytes]) -> Iterator[list[bytes]]:
        """The keys, some hundred at a time."""
        for first in range(0, len(keys), PAGE_KEYS):
            yield list(keys[first : first + PAGE_KEYS])


@dataclass
class _Filling:
    """One build while it is being filled: what has gathered for its next commit."""

    build: Build
    lifter: Lifter
    chosen: Chosen
    parts: list[KeyedTiles] = field(default_factory=list)
    tiles: int = 0
    commits: int = 0


def recompute(
    folder: Path,
    history: History,
    builds: Sequence[Build],
    chosen: Mapping[int, Chosen],
    shards: Sequence[Shard],
    targets: Callable[[Build, Sequence[bytes]], Int64s],
    progress: Progress = lambda count: None,
) -> Recomputed:
    """Make the chosen keys of builds of one stream, all of that of `history`, in `folder`.

    `shards` are those of the home; `targets` gives the horizon to which each key of a build is to
    be folded at last. The caller lets the result's shard go. O(records of the stream).
    """
    made = Recomputed(Shard(0, folder, Memory(BUDGET), 1))
    filling = [_Filling(one, Lifter(one, len(shards)), chosen[one.id]) for one in builds]
    applied = {
        (one.id, ordinal): ends_of(shards, one.id, ordinal)
        for one in builds
        for ordinal in history.ordinals.values()
    }
    ends = {
        ordinal: sorted({int(e) for one in builds for e in applied[one.id, ordinal]})
        for ordinal in history.ordinals.values()
    }
    there = dict.fromkeys(history.ordinals.values(), Counted(0, 0))
    try:
        for piece in history.read(ends):
            batch = piece.batch
            there[piece.ordinal] = Counted(piece.read, piece.dead)
            for one in filling:
                _take(made, one, batch, piece.ordinal, applied[one.build.id, piece.ordinal])
                if one.tiles >= _COMMIT_TILES:
                    _commit(made, one, piece.watermark_us, targets)
            if batch.next_offset in ends[piece.ordinal]:
                made.counted[piece.ordinal, batch.next_offset] = there[piece.ordinal]
            progress(batch.read_count)
        for ordinal, edges in ends.items():
            for edge in edges:  # those that nothing reached: all that there is lies before them
                made.counted.setdefault((ordinal, edge), there[ordinal])
        for one in filling:
            _commit(made, one, _PAST_ALL, targets, last=True)
    except BaseException:
        made.shard.abandon()
        raise
    return made


def _take(made: Recomputed, one: _Filling, batch: Admitted, ordinal: int, applied: Int64s) -> None:
    """Lift the chosen keys' rows for one build, of the shards that have applied the batch."""
    takes = applied >= batch.next_offset
    if not takes.any():
        return
    rows = _chosen_rows(batch.frame, one.build, one.chosen)
    if not len(rows):
        return
    few = _at(batch, rows)
    since = np.where(takes, 0, _PAST_ALL)
    lifted = one.lifter.lift(few, ordinal, since, 0)
    if len(lifted.tiles):
        one.parts.append(lifted.tiles)
        one.tiles += len(lifted.tiles.tiles)
        made.keys.setdefault(one.build.id, set()).update(lifted.tiles.keys.to_pylist())


def _chosen_rows(frame: pl.DataFrame, build: Build, chosen: Chosen) -> Int64s:
    """The rows whose key is chosen, ascending; int64 (n,)."""
    names = [name for name, _ in build.entity_keys]
    distinct = frame.select(names).drop_nulls().unique()
    columns = [_arrow(distinct[name], type_.kind) for name, type_ in build.entity_keys]
    keys = encode_keys(columns, [type_.kind for _, type_ in build.entity_keys]).to_pylist()
    wanted = distinct.filter(pl.Series(chosen.of(keys), dtype=pl.Boolean))
    if not wanted.height:
        return np.empty(0, np.int64)
    row = "_row of the batch"
    found = frame.select(names).with_row_index(row).join(wanted, on=names, how="semi")
    rows: Int64s = np.sort(found[row].to_numpy().astype(np.int64))
    return rows


def _arrow(series: pl.Series, kind: str) -> pa.Array:
    array = (series.to_physical() if kind == "time" else series).to_arrow()
    return array.cast(pa.large_string()) if kind == "string" else array


def _at(batch: Admitted, rows: Int64s) -> Admitted:
    """The batch with these good rows alone, each as it was judged among all."""
    return replace(
        batch,
        offsets=batch.offsets[rows],
        log_us=batch.log_us[rows],
        event_us=batch.event_us[rows],
        watermark_us=batch.watermark_us[rows],
        frame=batch.frame[rows],
        bad=(),
        is_copy=None if batch.is_copy is None else batch.is_copy[rows],
    )


def _commit(
    made: Recomputed,
    one: _Filling,
    watermark_us: int,
    targets: Callable[[Build, Sequence[bytes]], Int64s],
    *,
    last: bool = False,
) -> None:
    """Commit what has gathered for a build; now and then, and at last, fold all its keys."""
    build, shape = one.build.id, one.build.shape
    if one.parts:
        merged = merge_keyed(shape, one.parts)
        made.shard.commit({build: (shape, merged)}, {})
        one.parts, one.tiles = [], 0
        one.commits += 1
    if not last and one.commits % _FOLD_EVERY:
        return
    reached_us = NEVER_US if watermark_us == NEVER_US else watermark_us - shape.depth_us
    for page in made.pages(sorted(made.keys.get(build, ()))):
        horizons = np.minimum(targets(one.build, page), reached_us)
        fold(made.shard, build, shape, page, horizons)
