"""Which rows a window counts at each pair of key and instant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..aggregates.ordered import LAST
from ..aggregates.support import binary
from ..algebra import VALUE, Bools, Int64s
from ..geometry import Window
from ..ladder import EVER_START_US
from ..lifting import take_values
from ..shape import Shape
from ..zoned import ZonedCalendar
from ..zoned_edges import bounds_by_zone
from .carried import Before, Carried
from .need import Need
from .rows import Asked
from .timeline import Timeline
from .visible import Visible


@dataclass(frozen=True, slots=True)
class Ranges:
    """What a window counts at q pairs: of sorted rows those in `[lo, hi)`; all of shape (q,).

    `start_us`, `end_us`: the window's bounds. `known`: whether the key's time zone is, None where
    no zone is needed. `newest_us`: the newest event time of what is carried; None where the window
    counts nothing of it.
    """

    lo: Int64s
    hi: Int64s
    start_us: Int64s
    end_us: Int64s
    known: Bools | None = None
    newest_us: Int64s | None = None


def ranges_of(
    shape: Shape,
    visible: Visible,
    timeline: Timeline,
    asked: Asked,
    window: Window,
    carried: Carried | None = None,
) -> Ranges:
    """The ranges of `window` at every pair; `timeline` is that of all rows.

    The bounds of a window by each key's own zone are found from the newest name before the instant.
    """
    if isinstance(window, ZonedCalendar):
        names, pairs = _zones(shape, visible, timeline, asked, window, carried)
        nothing = np.zeros(len(asked), bool)
        zoned = bounds_by_zone(window, names, pairs, asked.at_us, nothing)
        start_us, end_us, known = zoned.start_us, zoned.end_us, zoned.known
    else:
        (start_us, end_us), known = window.bounds(asked.at_us), None
    lo = timeline.before(asked.key, start_us)
    hi = np.maximum(lo, timeline.before(asked.key, end_us))
    newest_us = None
    if carried is not None and window.reach_us is None:
        newest_us = carried.newest_us[carried.numbers(asked.key)]
    return Ranges(lo, hi, start_us, end_us, known, newest_us)


def _zones(
    shape: Shape,
    visible: Visible,
    timeline: Timeline,
    asked: Asked,
    window: ZonedCalendar,
    carried: Carried | None,
) -> tuple[list[bytes], Int64s]:
    """The newest names of zones before the instants, and the numbers of the pairs that have one."""
    slot = shape.slots[window.zone_slot]
    since_us: Int64s = np.full(len(asked), EVER_START_US)
    if carried is not None:
        since_us = carried.until_us[carried.numbers(asked.key)]
    lo = timeline.before(asked.key, since_us)
    hi = timeline.before(asked.key, window.until(asked.at_us))
    need = Need(slot.monoid, slot.input)
    (state,) = visible.states([need], np.arange(len(asked)), lo, hi)
    if carried is not None:
        state = Before(carried.states, None, carried.numbers(asked.key)).added(need, state)
    values, codes = LAST.finish((state,), {})
    having = np.flatnonzero(codes == VALUE)
    return binary(take_values(values, having)).to_pylist(), having
