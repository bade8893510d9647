"""Which rows a window counts at each pair of key and instant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..aggregates.ordered import LAST
from ..aggregates.support import binary
from ..algebra import VALUE, Bools, Int64s
from ..geometry import Window
from ..ladder import EVER_START_US
from ..lifting import expanded, lift_groups, take_order, take_rows, take_values
from ..shape import Shape
from ..zoned import ZonedCalendar
from ..zoned_edges import bounds_by_zone
from .rows import Asked, EventRows
from .timeline import Timeline


@dataclass(frozen=True, slots=True)
class Ranges:
    """What a window counts at q pairs: of sorted rows those in `[lo, hi)`; all of shape (q,).

    `start_us`, `end_us`: the window's bounds. `known`: whether the key's time zone is, None where
    no zone is needed.
    """

    lo: Int64s
    hi: Int64s
    start_us: Int64s
    end_us: Int64s
    known: Bools | None = None


def ranges_of(
    shape: Shape, rows: EventRows, timeline: Timeline, asked: Asked, window: Window
) -> Ranges:
    """The ranges of `window` at every pair; `rows` are sorted, and `timeline` is theirs.

    The bounds of a window by each key's own zone are found from the newest name before the instant.
    """
    if isinstance(window, ZonedCalendar):
        names, pairs = _zones(shape, rows, timeline, asked, window)
        nothing = np.zeros(len(asked), bool)
        zoned = bounds_by_zone(window, names, pairs, asked.at_us, nothing)
        start_us, end_us, known = zoned.start_us, zoned.end_us, zoned.known
    else:
        (start_us, end_us), known = window.bounds(asked.at_us), None
    lo = timeline.before(asked.key, start_us)
    hi = np.maximum(lo, timeline.before(asked.key, end_us))
    return Ranges(lo, hi, start_us, end_us, known)


def _zones(
    shape: Shape, rows: EventRows, timeline: Timeline, asked: Asked, window: ZonedCalendar
) -> tuple[list[bytes], Int64s]:
    """The newest names of zones before the instants, and the numbers of the pairs that have one."""
    slot = shape.slots[window.zone_slot]
    assert slot.input is not None, "a zone is named by a column"
    ever = np.full(len(asked), EVER_START_US)
    lo = timeline.before(asked.key, ever)
    hi = timeline.before(asked.key, window.until(asked.at_us))
    row, counts = rows_of(rows, asked, lo, hi)
    column, order = take_rows(rows.inputs[slot.input], row), take_order(rows.order, row)
    values, codes = LAST.finish((lift_groups(slot.monoid, column, order, counts),), {})
    having = np.flatnonzero(codes == VALUE)
    return binary(take_values(values, having)).to_pylist(), having


def rows_of(rows: EventRows, asked: Asked, lo: Int64s, hi: Int64s) -> tuple[Int64s, Int64s]:
    """The rows of all ranges that are known at their instants, and how many each range has."""
    owner, row = expanded(lo, hi)
    if rows.known_us is not None:
        known = rows.known_us[row] < asked.at_us[owner]
        owner, row = owner[known], row[known]
    return row, np.bincount(owner, minlength=len(lo)).astype(np.int64)
