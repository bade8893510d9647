"""Two states of the same keys, tile by tile: what each tile counts, and what it would finish to.

Readers see a tile only where a window's edge lets it, at some instant; here each is looked at by
itself, as if a window held just that one. So a wrong state is found also where no window shows it
now, and states that are kept differently but mean the same (the last digits of a float) are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa

from ..connectors.rfc3339 import format_instant
from ..schemas.time import HOUR_US, format_duration
from ..state.fold import Gathered, in_seconds, settled
from ..windows.algebra import NULL, OVERFLOW, Bools, Int64s, Prunable, Reading, Values
from ..windows.algebra import finish as finish_states
from ..windows.finish import to_python
from ..windows.ladder import EVER, EVER_START_US, INSTANT, RUNG_US, WIDTH_US
from ..windows.over import OverSession
from ..windows.segments import first_kept_hour
from ..windows.shape import Shape, Slot, WindowedFeature
from ..windows.tiles import KeyedTiles, Tiles, bounds_of, concat_tiles, group

NEAR: Final = 1e-9
"""Floats may differ by this part of the greater one."""

_TINY: Final = 1e-12
_LEAST: Final = 1e-200
_GREATEST: Final = 1e200


@dataclass(frozen=True, slots=True)
class Settled:
    """The tiles of some keys at their horizons, as far as windows reach from there."""

    key: Int64s
    tiles: Tiles

    @staticmethod
    def of(
        shape: Shape, gathered: Gathered, horizon_us: Int64s, kept_us: Int64s | None = None
    ) -> Settled:
        """What was gathered, as a fold to these horizons (one a key) would leave it.

        `kept_us` are later horizons, whose windows are all that is looked at.
        """
        key, tiles = settled(shape, in_seconds(shape, gathered), horizon_us)
        if shape.retention_us is None:
            return _all_before_as_one(shape, key, tiles, horizon_us)
        # What is dropped of a tile at retention's end depends on when it was folded, and retention
        # may have been longer or shorter (`history` is changed in place); nobody reads it.
        looked_at_us = horizon_us if kept_us is None else kept_us
        kept = np.flatnonzero(tiles.start_us + shape.reach_us >= looked_at_us[key])
        return Settled(key[kept], tiles.take(kept))

    @staticmethod
    def of_instants(
        shape: Shape, gathered: Gathered, segments: KeyedTiles | None, horizon_us: Int64s
    ) -> Settled:
        """The instants that are kept beside: in segments, or in chunks that no fold has met."""
        tiles = gathered.tiles.tiles
        loose = np.flatnonzero(tiles.rung == INSTANT)
        key, parts = [gathered.key[loose]], [tiles.take(loose)]
        if segments is not None:
            key.append(segments.key_of_tile)
            parts.append(segments.tiles)
        owner, instants = group(shape, np.concatenate(key), concat_tiles(parts))
        first = first_kept_hour(shape, horizon_us)
        kept = np.flatnonzero(instants.start_us // HOUR_US >= first[owner])
        return Settled(owner[kept], instants.take(kept))

    def of_keys(self, wanted: Bools) -> Settled:
        """Only the tiles of these keys; bool, one a key."""
        kept = np.flatnonzero(wanted[self.key])
        return Settled(self.key[kept], self.tiles.take(kept))


def _all_before_as_one(shape: Shape, key: Int64s, tiles: Tiles, horizon_us: Int64s) -> Settled:
    """What no window reaches whole any more, in the tile of all before.

    There it is earlier or later: a tile goes when its end is past, and how wide it is by then
    depends on when it was folded.
    """
    past = tiles.start_us + shape.reach_us < horizon_us[key]
    start_us = np.where(past, EVER_START_US, tiles.start_us)
    rung = np.where(past, EVER, tiles.rung).astype(tiles.rung.dtype)
    return Settled(*group(shape, key, replace(tiles, start_us=start_us, rung=rung)))


def counts_differ(stored: Settled, made: Settled, key_count: int) -> Mapping[int, str]:
    """By the number of its key, the first tile that counts other events, in words."""
    found: dict[int, str] = {}
    bounds, bounds_made = bounds_of(stored.key, key_count), bounds_of(made.key, key_count)
    for place in range(key_count):
        one = _counts(stored.tiles, int(bounds[place]), int(bounds[place + 1]))
        other = _counts(made.tiles, int(bounds_made[place]), int(bounds_made[place + 1]))
        if one != other:
            first = min(at for at in {*one, *other} if one.get(at) != other.get(at))
            got, wanted = one.get(first, 0), other.get(first, 0)
            found[place] = f"{tile_name(*first)}: {got} events stored, {wanted} recomputed"
    return found


def _counts(tiles: Tiles, begin: int, end: int) -> dict[tuple[int, int], int]:
    places = zip(tiles.start_us[begin:end].tolist(), tiles.rung[begin:end].tolist(), strict=True)
    return dict(zip(places, tiles.rows[begin:end].tolist(), strict=True))


def tile_name(start_us: int, rung: int) -> str:
    """A tile in words.

    >>> tile_name(3_600_000_000, 4)
    'the tile of 1970-01-01T01:00:00Z (1h)'
    """
    if rung == EVER:
        return "the tile of all before"
    width_us = int(WIDTH_US[rung]) if rung >= len(RUNG_US) else RUNG_US[rung]
    return f"the tile of {format_instant(start_us) or start_us} ({format_duration(width_us)})"


@dataclass(frozen=True, slots=True)
class Other:
    """A tile whose state is another one: the number of its key, the tile in words, what differs.

    `feature` counts in the shape's features; None where the state alone is another, and no feature
    says otherwise of just this tile.
    """

    place: int
    tile: str
    feature: int | None
    stored: str
    made: str


def states_differ(shape: Shape, stored: Settled, made: Settled, at_us: Int64s) -> Iterator[Other]:
    """The tiles whose states are others: at most one a key and feature, or else one a key.

    Only of keys whose tiles count the same events: others must not be in either. `at_us` int64
    holds an instant of reading for each key, after its tiles.
    """
    slots = [
        _slot_differs(slot, stored.tiles.columns[span], made.tiles.columns[span])
        for slot, span in zip(shape.slots, shape.field_ranges, strict=True)
    ]
    rows = np.flatnonzero(np.logical_or.reduce([np.zeros(len(stored.key), np.bool_), *slots]))
    if not len(rows):
        return
    key = stored.key[rows]
    ours, theirs = stored.tiles.take(rows), made.tiles.take(rows)
    names = [tile_name(*at) for at in zip(ours.start_us.tolist(), ours.rung.tolist(), strict=True)]
    reading = Reading(at_us[key], ours.start_us, np.minimum(ours.end_us, at_us[key]))
    told: set[int] = set()
    for number, feature in enumerate(shape.features):
        if not any(slots[slot][rows].any() for slot in feature.slots):
            continue
        pairs = [_finished(shape, feature, one, reading) for one in (ours, theirs)]
        forgives = isinstance(feature.aggregate, OverSession)
        shown_of: set[int] = set()
        for place, name, got, wanted in zip(key.tolist(), names, *pairs, strict=True):
            lived = forgives and got == "OVERFLOW"
            if place not in shown_of and not lived and not alike(got, wanted):
                shown_of.add(place)
                yield Other(place, name, number, shown(got), shown(wanted))
        told |= shown_of
    for slot, differs in zip(shape.slots, slots, strict=True):
        if not type(slot.monoid).__module__.startswith("tegula."):
            continue  # how its bytes hold floats is its own affair
        hidden = differs[rows]
        if isinstance(slot.monoid, Prunable):
            # What was pruned depends on when it was folded.
            hidden = hidden & (ours.rung != EVER)
        for tile in np.flatnonzero(hidden).tolist():
            place = int(key[tile])
            if place not in told:
                told.add(place)
                yield Other(place, names[tile], None, f"another state of {slot.name}", "")


def _slot_differs(slot: Slot, one: Sequence[Values], other: Sequence[Values]) -> Bools:
    """Which states are not the same, but for the last digits of floats."""
    count = len(one[0]) if one else 0
    differs = np.zeros(count, np.bool_)
    floats = [
        (np.asarray(a), np.asarray(b))
        for a, b in zip(one, other, strict=True)
        if isinstance(a, np.ndarray) and a.dtype.kind == "f"
    ]
    scale = np.zeros(count)
    for a, b in floats:
        np.maximum(scale, np.maximum(np.abs(a), np.abs(b)), out=scale)
    for a, b in floats:
        # Parts of one number (hi, lo) stand in fields beside each other: the greatest counts.
        with np.errstate(invalid="ignore"):
            differs |= ~((a == b) | (np.abs(a - b) <= NEAR * scale + _TINY))
    for a, b in zip(one, other, strict=True):
        if isinstance(a, np.ndarray):
            if a.dtype.kind != "f":
                differs |= a != np.asarray(b)
        else:
            pairs = zip(a.to_pylist(), cast("pa.Array", b).to_pylist(), strict=True)
            equal = (x == y or _near(x, y) for x, y in pairs)
            differs |= ~np.fromiter(equal, np.bool_, count)
    return differs


def _near(one: bytes, other: bytes) -> bool:
    """Whether states in bytes that are not the same may differ in the last digits of floats alone.

    Read as words of 8 bytes: whole numbers would be floats of no size at all.

    >>> import struct
    >>> three = [struct.pack("<qd", 7, x) for x in (0.3, 0.1 + 0.2, 0.31)]
    >>> _near(three[0], three[1]), _near(three[0], three[2]), _near(three[0], bytes(16))
    (True, False, False)
    """
    whole = len(one) - len(one) % 8
    if len(one) != len(other) or one[whole:] != other[whole:]:
        return False
    a, b = np.frombuffer(one[:whole], "<f8"), np.frombuffer(other[:whole], "<f8")
    words = np.flatnonzero(a.view(np.int64) != b.view(np.int64))
    sizes = np.abs(np.concatenate((a, b)))
    # A part (lo) of a number stands beside the greater one (hi); texts look like enormous numbers.
    scale = float(np.max(sizes, initial=0.0, where=sizes < _GREATEST))
    x, y = a[words], b[words]
    numbers = [(one == 0) | ((np.abs(one) > _LEAST) & (np.abs(one) < _GREATEST)) for one in (x, y)]
    return bool((numbers[0] & numbers[1]).all() and (np.abs(x - y) <= NEAR * scale).all())


def _finished(shape: Shape, feature: WindowedFeature, tiles: Tiles, reading: Reading) -> list[Any]:
    """What each tile alone would finish to; "OVERFLOW" for what passed its bound."""
    states = tuple(tuple(tiles.columns[shape.field_ranges[slot]]) for slot in feature.slots)
    values, kinds = finish_states(feature.aggregate, states, feature.params, reading)
    plain = to_python(values, feature.output)
    for place in np.flatnonzero((kinds == NULL) | (kinds == OVERFLOW)).tolist():
        plain[place] = None if kinds[place] == NULL else "OVERFLOW"
    return plain


def alike(one: Any, other: Any) -> bool:
    """Whether two finished values are the same, but for the last digits of floats.

    >>> alike([1.0, {"a": 2}], [1.0 + 1e-15, {"a": 2}]), alike(1.0, 1.001), alike({"a": 1}, {})
    (True, False, False)
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return [*one] == [*other] and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=NEAR, abs_tol=_TINY)
    return type(one) is type(other) and bool(one == other)


def shown(value: Any) -> str:
    """A value in a table: long ones are cut.

    >>> shown([1, 2])
    '[1, 2]'
    """
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
