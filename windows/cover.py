"""Which tiles of each key an interval counts, and what stands for those that an edge cuts.

A tile counts if it starts in `[start, end)`. One that an edge cuts counts whole or not at all, and
the key is *coarse* there; unless its instants are at hand (`windows.segments`): then those of them
that lie in the interval count in its place. They are taken only if they account for all of the
tile's rows, so that a missing segment can make a number coarse, but never wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .algebra import Bools, Int64s
from .ladder import EVER
from .tiles import KeyedTiles, Tiles, concat_tiles


@dataclass(frozen=True, slots=True)
class Cover:
    """The tiles that count, with their keys' numbers (ascending), and per key what they cover.

    `coarse` bool (k,); `start_us`, `end_us` int64 (k,): the bounds truly counted; `touched` bool
    (k,): whether the older edge cuts a tile of the key that is left out.
    """

    key: Int64s
    tiles: Tiles
    coarse: Bools
    touched: Bools
    start_us: Int64s
    end_us: Int64s


def cover(
    keyed: KeyedTiles, instants: KeyedTiles | None, start_us: Int64s, end_us: Int64s
) -> Cover:
    """The cover of `[start_us, end_us)` of each key; both int64 (k,).

    `instants` has the same keys as `keyed`, and of each the instants of whole hours, in any order.
    """
    tiles, key, tile_end_us = keyed.tiles, keyed.key_of_tile, keyed.tiles.end_us
    older, newer = start_us[key], end_us[key]
    counted = (tiles.start_us >= older) & (tiles.start_us < newer)
    cuts_older = (tiles.start_us < older) & (tile_end_us > older) & (tiles.rung != EVER)
    cuts_newer = (tiles.start_us < newer) & (tile_end_us > newer) & (tiles.rung != EVER)
    # A tile that the newer edge cuts is still exact if nothing of the key lies past the edge.
    cuts_newer &= keyed.newest_us[key] >= newer
    parts, owners = [], []
    if instants is not None and len(instants.tiles):
        inside = np.zeros(len(instants.tiles), dtype=bool)
        for cut in (cuts_older, cuts_newer & ~cuts_older):
            refined, mine = _refined(keyed, instants, np.flatnonzero(cut))
            inside |= mine
            counted[refined] = cuts_older[refined] = cuts_newer[refined] = False
        owner, at_us = instants.key_of_tile, instants.tiles.start_us
        inside &= (at_us >= start_us[owner]) & (at_us < end_us[owner])
        chosen = np.flatnonzero(inside)
        parts.append(instants.tiles.take(chosen))
        owners.append(owner[chosen])
    coarse, touched = np.zeros(len(keyed), dtype=bool), np.zeros(len(keyed), dtype=bool)
    touched[key[cuts_older]] = True
    coarse[key[cuts_older | cuts_newer]] = True
    start_us, end_us = start_us.copy(), np.array(end_us)
    np.maximum.at(start_us, key[cuts_older], tile_end_us[cuts_older])
    np.maximum.at(end_us, key[cuts_newer], tile_end_us[cuts_newer])
    chosen = np.flatnonzero(counted)
    counting, numbers = tiles.take(chosen), key[chosen]
    if owners and len(owners[0]):
        numbers = np.concatenate((numbers, *owners))
        order = np.argsort(numbers, kind="stable")
        numbers, counting = numbers[order], concat_tiles([counting, *parts]).take(order)
    return Cover(numbers, counting, coarse, touched, start_us, end_us)


def _refined(keyed: KeyedTiles, instants: KeyedTiles, cut: Int64s) -> tuple[Int64s, Bools]:
    """Those of the tiles `cut` whose instants are all there, and which instants those are.

    At most one tile of a key is cut by an edge; of a key with more none is refined.
    """
    owner, at_us = instants.key_of_tile, instants.tiles.start_us
    keys, tiles = keyed.key_of_tile[cut], keyed.tiles
    begin_us, end_us = np.zeros(len(keyed), np.int64), np.zeros(len(keyed), np.int64)
    begin_us[keys], end_us[keys] = tiles.start_us[cut], tiles.end_us[cut]
    inside = (at_us >= begin_us[owner]) & (at_us < end_us[owner])
    found = np.zeros(len(keyed), np.int64)
    np.add.at(found, owner[inside], instants.tiles.rows[inside])
    wanted = np.full(len(keyed), -1)
    wanted[keys] = tiles.rows[cut]
    wanted[np.bincount(keys, minlength=len(keyed)) > 1] = -1
    whole: Bools = found == wanted
    return cut[whole[keys]], inside & whole[owner]
