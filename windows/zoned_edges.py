"""The edges of a window that goes by each key's own time zone, for many keys at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..schemas.quarters import BLOCK_US
from .aggregates.ordered import LAST
from .aggregates.support import binary
from .algebra import VALUE, Bools, Int64s, Runs
from .cover import cover
from .ladder import EVER_START_US
from .shape import Shape
from .tiles import KeyedTiles, take_column
from .zoned import ZonedCalendar


@dataclass(frozen=True, slots=True)
class ZonedBounds:
    """The bounds of such a window for k keys; all of shape (k,).

    `start_us`, `end_us` int64: equal, and `until`, for a key without a zone. `known` bool: it has
    one. `coarse` bool: events after the instant may have had a say in it.
    """

    start_us: Int64s
    end_us: Int64s
    known: Bools
    coarse: Bools


def zoned_bounds(
    shape: Shape,
    keyed: KeyedTiles,
    instants: KeyedTiles | None,
    window: ZonedCalendar,
    at_us: Int64s,
    horizon_us: Int64s,
) -> ZonedBounds:
    """The bounds of the window at `at_us` (k,) for every key of `keyed`, each by its own zone.

    `horizon_us` and `instants` as in `windows.finish`. O(tiles), and a step a zone and block.
    """
    until_us = window.until(at_us)
    span = shape.field_ranges[window.zone_slot]
    named = cover(
        _fields(keyed, span),
        None if instants is None else _fields(instants, span),
        np.full(len(keyed), EVER_START_US),
        until_us,
    )
    # The ever tile ends this far before the horizon; where in it an event lies is not known.
    coarse = named.coarse | (until_us < horizon_us) & (until_us < horizon_us - shape.reach_us)
    if not len(named.tiles):
        nobody = np.empty(0, np.int64)
        return bounds_by_zone(window, [], nobody, at_us, coarse)
    runs = Runs.of_changes(named.key)
    state = shape.slots[window.zone_slot].monoid.reduce(named.tiles.columns, runs)
    values, codes = LAST.finish((state,), {})
    having = np.flatnonzero(codes == VALUE)
    keys = named.key[runs.starts][having]
    names = binary(take_column(values, having)).to_pylist()
    return bounds_by_zone(window, names, keys, at_us, coarse)


def bounds_by_zone(
    window: ZonedCalendar, names: list[bytes], keys: Int64s, at_us: Int64s, coarse: Bools
) -> ZonedBounds:
    """The bounds of the window at `at_us` (k,), where `names` are the zones of the keys `keys`.

    The other keys have no zone. `coarse` (k,) is handed on. O(k), and a step a zone and block.
    """
    until_us = window.until(at_us)
    start_us, end_us = until_us.copy(), until_us.copy()
    known = np.zeros(len(at_us), dtype=bool)
    for zone, rows in _alike(names, until_us[keys]):
        mine = keys[rows]
        calendar = window.calendar(zone, int(until_us[mine[0]]))
        if calendar is not None:
            start_us[mine], end_us[mine] = calendar.bounds(until_us[mine])
            known[mine] = True
    far = known & (start_us > EVER_START_US) & (start_us < at_us - (window.reach_us or 0))
    known &= ~far
    start_us[far], end_us[far] = until_us[far], until_us[far]
    return ZonedBounds(start_us, end_us, known, coarse)


def _fields(keyed: KeyedTiles, span: slice) -> KeyedTiles:
    """The same tiles with the state of one slot only."""
    return replace(keyed, tiles=replace(keyed.tiles, columns=keyed.tiles.columns[span]))


def _alike(names: list[bytes], until_us: Int64s) -> Iterator[tuple[str, Int64s]]:
    """The rows that share a table: of the same zone, at instants of the same block."""
    places: dict[tuple[bytes, int], list[int]] = {}
    for row, both in enumerate(zip(names, (until_us // BLOCK_US).tolist(), strict=True)):
        places.setdefault(both, []).append(row)
    for (name, _), rows in places.items():
        yield name.decode(), np.array(rows)
