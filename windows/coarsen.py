"""Making old tiles coarser, and dropping those that nothing can read any more.

A tile before a key's horizon may take the coarsest rung that no window's older edge can still cut,
whatever the instant of reading at or after the horizon (`Shape.coarsening`). What no bounded
window reaches goes into the one *ever* tile where a feature reads everything, and away otherwise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..schemas.time import HOUR_US
from .algebra import Prunable, concat, take
from .ladder import CIVIL, EVER, EVER_START_US, RUNG_US, WIDTH_US
from .shape import Shape
from .tiles import NEVER_US, Tiles


def coarsen(shape: Shape, tiles: Tiles, horizon_us: np.ndarray) -> tuple[Tiles, np.ndarray]:
    """Give each tile the coarsest place that the horizon allows; returns them and which to keep.

    `horizon_us` int64 (n,) is the horizon of each tile's key. Tiles at or after it stay as they
    are. The second result is bool (n,): False where no window reaches the tile any more. Equal
    tiles are not merged here (`tiles.group` does).
    """
    start_us, rung = tiles.start_us.copy(), tiles.rung.copy()
    undecided = (start_us < horizon_us) & (rung != EVER)
    # Spans are added to the tiles' ends and never taken from the horizon: that of a key which was
    # never folded is the least int64.
    end_us = tiles.end_us
    if shape.segment_reach_us is not None:
        # An hour goes as one, and only after its segments: they must add up to its tiles.
        end_us = np.maximum(end_us, start_us - start_us % HOUR_US + HOUR_US)
    gone = undecided & (end_us + shape.reach_us <= horizon_us)
    if shape.retention_us is None:
        start_us[gone], rung[gone] = EVER_START_US, EVER
        undecided &= ~gone
        keep = np.ones(len(tiles), dtype=bool)
    else:
        # All that retention reaches back to from the horizon: a reader there must still be able to
        # tell `EMPTY` from `NOT_FOUND`, as if nothing had been dropped.
        keep = end_us + shape.retention_us > horizon_us
    if shape.civil_days is not None:
        by_day, begin_us, day = shape.civil_days.coarsened(tiles.start_us, tiles.end_us, horizon_us)
        by_day &= undecided
        start_us[by_day], rung[by_day] = begin_us[by_day], day[by_day]
        undecided &= ~by_day & (rung < CIVIL)
    for coarse, distance_us in shape.coarsening:
        width_us = RUNG_US[coarse]
        begin_us = tiles.start_us - tiles.start_us % width_us
        is_finer = WIDTH_US[rung] < width_us
        fits = undecided & is_finer & (begin_us + width_us + distance_us <= horizon_us)
        start_us[fits], rung[fits] = begin_us[fits], coarse
        undecided &= ~fits
    return replace(tiles, start_us=start_us, rung=rung), keep


def prune(shape: Shape, tiles: Tiles, horizon_us: np.ndarray) -> Tiles:
    """The tiles without what their states keep in vain; `horizon_us` int64 (n,) as in `coarsen`.

    Only *ever* tiles: finer ones still have neighbours that their states may join.
    """
    prunable = [
        (slot.monoid, span)
        for slot, span in zip(shape.slots, shape.field_ranges, strict=True)
        if isinstance(slot.monoid, Prunable)
    ]
    rows = np.flatnonzero((tiles.rung == EVER) & (horizon_us > NEVER_US))
    if not prunable or shape.lateness_us is None or not len(rows):
        return tiles
    columns = list(tiles.columns)
    for monoid, span in prunable:
        before_us = horizon_us[rows] - shape.lateness_us
        pruned = monoid.pruned(take(tuple(columns[span]), rows), before_us)
        place = np.arange(len(tiles))
        place[rows] = len(tiles) + np.arange(len(rows))
        columns[span] = take(concat((tuple(columns[span]), pruned)), place)
    return replace(tiles, columns=tuple(columns))
