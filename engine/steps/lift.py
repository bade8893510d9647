"""Lifting: from admitted rows to a build's partial tiles, with one outcome for each row.

What becomes of a row is judged apart (`judge.py`). Those that are folded are sorted once by (key,
event time, offset); each slot's monoid then lifts all tiles in one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ...state.keys import hashes_of, shards_of
from ...windows.algebra import Int64s, Order, Runs
from ...windows.ladder import INSTANT
from ...windows.tiles import KeyedTiles, Tiles, bounds_of, group
from ..plan import Build
from .admit import Admitted
from .judge import Judge


@dataclass(frozen=True, slots=True)
class Lifted:
    """What a batch adds to a build.

    `folded` int64 (shards,) counts rows by their key's shard; the other outcomes are whole counts;
    `late` marks some of the folded. `not_finite` counts, by the name of the input, values of folded
    rows that were NaN or infinite and so counted as null; an input without any is not in it.
    """

    tiles: KeyedTiles
    folded: np.ndarray
    filtered: int
    duplicate: int
    expired: int
    late: np.ndarray
    not_finite: Mapping[str, int] = field(default_factory=dict)


class Lifter:
    """Lifts batches for one build; holds its expressions ready to run."""

    def __init__(self, build: Build, shard_count: int) -> None:
        self._shape = build.shape
        self._shard_count = shard_count
        self._judge = Judge(build)

    def lift(self, batch: Admitted, ordinal: int, applied: np.ndarray, counted_from: int) -> Lifted:
        """Lift `batch`, leaving out rows that a shard has applied already.

        `ordinal` is the partition's; `applied` int64 (shards,) holds each shard's next offset for
        this build and partition; outcomes other than folded count from offset `counted_from`.
        """
        fresh = batch.offsets >= counted_from
        judged = self._judge.judge(batch)
        rows = np.flatnonzero(judged.counts)
        keys, codes = self._judge.encode(batch.frame, rows)
        shards = shards_of(hashes_of(keys.to_pylist()), self._shard_count)
        offsets = batch.offsets[rows]
        if len(rows) and offsets[0] < applied.max():
            new = offsets >= applied[shards[codes]]
            rows, codes = rows[new], codes[new]
        late = batch.event_us[rows] < batch.watermark_us[rows]
        tiles, not_finite = self._tiles(batch, rows, keys, codes, ordinal)
        held = np.diff(tiles.bounds) > 0
        return Lifted(
            tiles if held.all() else tiles.take(np.flatnonzero(held)),
            np.bincount(shards[codes], minlength=self._shard_count),
            int((judged.filtered & fresh).sum()),
            0 if judged.duplicate is None else int((judged.duplicate & fresh).sum()),
            int((judged.expired & fresh).sum()),
            np.bincount(shards[codes[late]], minlength=self._shard_count),
            not_finite,
        )

    def _tiles(
        self,
        batch: Admitted,
        rows: np.ndarray,
        keys: pa.LargeBinaryArray,
        codes: np.ndarray,
        ordinal: int,
    ) -> tuple[KeyedTiles, Mapping[str, int]]:
        event_us, log_us = batch.event_us[rows], batch.log_us[rows]
        order = _by_key_and_time(codes, event_us)
        rows, codes, event_us = rows[order], codes[order], event_us[order]
        start_us = event_us - event_us % self._shape.finest_us
        rung = np.full(len(rows), self._shape.finest, dtype=np.uint8)
        ahead = event_us > log_us[order]
        # Dated ahead of its log timestamp: kept as an instant, or a second that has only begun
        # could hold an event that lies after the instant of reading.
        start_us[ahead], rung[ahead] = event_us[ahead], INSTANT
        runs = Runs.of_changes(codes, start_us, rung)
        places = Order(event_us, np.full(len(rows), ordinal, np.int64), batch.offsets[rows])
        inputs, not_finite = self._judge.columns(batch.frame, rows)
        states: list[np.ndarray | pa.LargeBinaryArray] = []
        for slot in self._shape.slots:
            column = None if slot.input is None else inputs[slot.input]
            states.extend(slot.monoid.lift(column, places, runs))
        first = runs.starts
        tiles = Tiles(start_us[first], rung[first], runs.lengths, tuple(states))
        key = codes[first]
        if ahead.any():
            key, tiles = group(self._shape, key, tiles)
        newest_us = np.full(len(keys), np.iinfo(np.int64).min)
        newest_us[codes] = event_us  # ascending within a key: the last one stays
        return KeyedTiles(keys, bounds_of(key, len(keys)), newest_us, tiles), not_finite


def _by_key_and_time(codes: Int64s, event_us: Int64s) -> Int64s:
    """Indices that sort rows by (key, event time, position); rows come in order of position."""
    if not len(codes):
        return np.empty(0, dtype=np.int64)
    oldest_us = int(event_us.min())
    span_bits = (int(event_us.max()) - oldest_us).bit_length()
    row_bits = len(codes).bit_length()
    code_bits = int(codes.max()).bit_length()
    elapsed = event_us - oldest_us
    if code_bits + span_bits + row_bits <= 63:
        # All three in one integer: an unstable sort of it is a stable one of (key, time).
        packed = (((codes << span_bits) | elapsed) << row_bits) | np.arange(len(codes))
        packed.sort()
        order: Int64s = packed & ((1 << row_bits) - 1)
        return order
    if code_bits + span_bits <= 63:
        return np.argsort((codes << span_bits) | elapsed, kind="stable")
    return np.lexsort((event_us, codes))
