"""From keys to stored rows: what of the online store a request needs, and asking for it.

One store step for each shard and view. A store on another machine is asked for all of them at
once, before the first view is finished (`ahead_of`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from ..schemas.errors import FormatUnknown, SinkError
from ..state.keys import shard_of
from ..state.online.rows import Ask, FarReader, Mark, OnlineReader, Segments
from ..windows.segments import hours_of_all_edges, hours_of_edges
from .plan import FeaturePlan, Part
from .single_cuts import NO_SEGMENTS
from .tables import NO_ROW, StoredRow

Marks = dict[int, Mark | None]
"""By shard, the mark under which rows were read; None where they were not all read under one."""


def ahead_of(
    store: OnlineReader,
    plan: FeaturePlan,
    keys: Sequence[Sequence[bytes | None]],
    shards: int,
    at_us: int,
) -> OnlineReader:
    """The store, or, where it is far, a reader that holds the rows of every view of a plan."""
    if not isinstance(store, FarReader):
        return store
    asks = []
    for part in plan.parts:
        distinct = list(dict.fromkeys(keys[part.entity]))
        asks += _asks(part, _by_shard(distinct, shards), hours_of(part, at_us))
    with suppress(SinkError, FormatUnknown):  # each view that needs it finds it, and says so
        return store.ahead(asks)
    return store


def rows_of(
    store: OnlineReader,
    part: Part,
    keys: Sequence[bytes | None],
    shards: int,
    hours: Sequence[int],
    marks: Marks,
) -> list[StoredRow | None]:
    """The rows of each key; None where its shard is not complete for the part's build.

    `hours` are those whose segments are wanted. A null key has no rows. What the shards' marks are
    is noted in `marks`.
    """
    rows: list[StoredRow | None] = [NO_ROW] * len(keys)
    by_shard = _by_shard(keys, shards)
    if isinstance(store, FarReader):
        store = store.ahead(_asks(part, by_shard, hours))
    for shard, members in by_shard.items():
        wanted = [key for _, key in members]
        segments: Sequence[Segments]
        if hours:
            mark, found, segments = store.read_with_segments(shard, part.build, wanted, hours)
        else:
            mark, found = store.read(shard, part.build, wanted)
            segments = [NO_SEGMENTS] * len(wanted)
        marks[shard] = mark
        complete = mark is not None and part.build in mark.builds
        for (i, _), (head, body), beside in zip(members, found, segments, strict=True):
            rows[i] = (head, body, beside) if complete else None
    return rows


def refined(
    store: OnlineReader,
    part: Part,
    keys: Sequence[bytes | None],
    shards: int,
    at_us: int,
    marks: Marks,
) -> list[StoredRow | None]:
    """The rows of keys anew, with all segments that any edge may cut; none without segments.

    A shard whose other keys were read under another mark has None in `marks` from then on.
    """
    if part.shape.segment_reach_us is None or not keys:
        return []
    hours = hours_of_all_edges({one.window for one in part.features}, at_us)
    newer: Marks = {}
    rows = rows_of(store, part, keys, shards, hours, newer)
    for shard, mark in newer.items():
        marks[shard] = mark if mark == marks.get(shard) else None
    return rows


def hours_of(part: Part, at_us: int) -> Sequence[int]:
    """The hours whose segments a reader needs after the newest event of its keys."""
    if part.shape.segment_reach_us is None:
        return ()
    return hours_of_edges({one.window for one in part.features}, at_us)


def _by_shard(
    keys: Sequence[bytes | None], shards: int
) -> Mapping[int, Sequence[tuple[int, bytes]]]:
    """The keys that are not null, with their places, by shard."""
    by_shard: dict[int, list[tuple[int, bytes]]] = {}
    for i, key in enumerate(keys):
        if key is not None:
            by_shard.setdefault(shard_of(key, shards), []).append((i, key))
    return by_shard


def _asks(
    part: Part, by_shard: Mapping[int, Sequence[tuple[int, bytes]]], hours: Sequence[int]
) -> list[Ask]:
    return [
        Ask(shard, part.build, [key for _, key in members], hours)
        for shard, members in by_shard.items()
    ]
