"""Which instants are kept beside coarse tiles, for the edges that may still cut those.

A window with an edge finer than a second (an exact one) would need every instant. Heads and bodies
do not keep them: there an instant becomes part of a second, a minute, an hour. Its own tile is kept
in a *segment*, a row of its own for each hour of event time, for as long as such an edge can reach
it. Segments refine a coarse tile and never add to it: a reader takes the tile, or in its place
those of its instants that count (`windows.cover`).

So at any time the instants of a kept hour add up to its coarse tiles exactly; instants that stand
among the tiles (in chunks, and in the part of an online head that is not folded yet) are in no
segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..schemas.time import HOUR_US, SECOND_US
from .algebra import Bools, Int64s
from .geometry import Series, Window
from .ladder import EVER_START_US, INSTANT, SECOND
from .shape import Shape
from .tiles import NEVER_US, Tiles


def to_seconds(tiles: Tiles) -> tuple[Tiles, Bools]:
    """The tiles with each instant as (part of) its second, and which of them were instants.

    Equal tiles are not merged here (`tiles.group` does).
    """
    instants = tiles.rung == INSTANT
    start_us = np.where(instants, tiles.start_us - tiles.start_us % SECOND_US, tiles.start_us)
    rung = np.where(instants, np.uint8(SECOND), tiles.rung)
    return replace(tiles, start_us=start_us, rung=rung), instants


def first_kept_hour(shape: Shape, horizon_us: Int64s) -> Int64s:
    """For each horizon, the number (since the epoch) of the oldest hour that keeps its segments.

    An hour goes once it ends at or before `horizon - reach` of every window that may cut it.
    """
    reach_us = shape.segment_reach_us or 0
    hours: Int64s = (np.maximum(horizon_us, NEVER_US + reach_us) - reach_us) // HOUR_US
    return hours


def hours_of_edges(windows: Iterable[Window], at_us: int) -> tuple[int, ...]:
    """The hours whose instants a reader needs at `at_us`, after the newest event of its keys.

    Only edges finer than a second can cut a tile then; the instant itself has nothing behind it.
    """
    edges: list[int] = []
    for window in _plain(windows):
        if window.grain == INSTANT:
            older_us, newer_us = window.bounds(at_us)
            edges.extend((older_us, newer_us) if newer_us < at_us else (older_us,))
    return _hours(edges)


def hours_of_all_edges(windows: Iterable[Window], at_us: int) -> tuple[int, ...]:
    """The hours that any edge at `at_us` may cut: before the newest event, or the horizon."""
    edges = [at_us]
    for window in _plain(windows):
        edges.extend(window.bounds(at_us))
    return _hours(edges)


def _plain(windows: Iterable[Window]) -> Iterator[Window]:
    """The windows, and those of a series one by one."""
    for window in windows:
        if isinstance(window, Series):
            yield from window.windows
        else:
            yield window


def _hours(edges_us: Iterable[int]) -> tuple[int, ...]:
    """The hours that have one of these edges inside them."""
    inside = {edge // HOUR_US for edge in edges_us if edge % HOUR_US and edge != EVER_START_US}
    return tuple(sorted(inside))
