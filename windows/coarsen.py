"""Making old tiles coarser, and dropping those that nothing can read any more.

A tile before a key's horizon may take the coarsest rung that no window's older edge can still cut,
whatever the instant of reading at or after the horizon (`Shape.coarsening`). What no bounded
window reaches goes into the one *ever* tile where a feature reads everything, and away otherwise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .ladder import EVER, EVER_START_US, RUNG_US
from .shape import Shape
from .tiles import Tiles


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
    gone = undecided & (tiles.end_us + shape.reach_us <= horizon_us)
    if shape.retention_us is None:
        start_us[gone], rung[gone] = EVER_START_US, EVER
        undecided &= ~gone
        keep = np.ones(len(tiles), dtype=bool)
    else:
        # All that retention reaches back to from the horizon: a reader there must still be able to
        # tell `EMPTY` from `NOT_FOUND`, as if nothing had been dropped.
        keep = tiles.end_us + shape.retention_us > horizon_us
    for coarse, distance_us in shape.coarsening:
        width_us = RUNG_US[coarse]
        begin_us = tiles.start_us - tiles.start_us % width_us
        fits = undecided & (rung < coarse) & (begin_us + width_us + distance_us <= horizon_us)
        start_us[fits], rung[fits] = begin_us[fits], coarse
        undecided &= ~fits
    return replace(tiles, start_us=start_us, rung=rung), keep
