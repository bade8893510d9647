"""Suffix merges: of a key's tiles in order of time, the merge of each with all that follow.

A window that ends now and begins in the body of a key is one suffix of it, whatever its length. So
the online store keeps them beside the tiles, and a reader takes one record instead of walking a
month. Only *small* states have them: a sketch would cost as much again as the tiles themselves.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from .algebra import Int64s, Monoid, Runs, States, merge, take
from .shape import Shape
from .tiles import KeyedTiles

SMALL_BYTES: Final = 64
"""A state of up to so many bytes has suffix merges."""

STRIDE: int = 32
"""Of a segment's instants every so many have a suffix merge: they change with every fold."""


def small_slots(shape: Shape) -> tuple[int, ...]:
    """The numbers of the slots whose states have suffix merges."""
    return tuple(
        number
        for number, slot in enumerate(shape.slots)
        if all(f.dtype != "bytes" for f in slot.monoid.fields)
        and 8 * len(slot.monoid.fields) <= SMALL_BYTES
    )


def suffix_merges(shape: Shape, keyed: KeyedTiles) -> tuple[np.ndarray, ...]:
    """For each tile, the merge of it with all later ones of its key; small slots only.

    One array a field of the small slots, shape (n,). O(n log m) for keys of up to m tiles.
    """
    lengths = np.diff(keyed.bounds)
    ends = np.repeat(keyed.bounds[1:], lengths)
    columns: list[np.ndarray] = []
    for number in small_slots(shape):
        states = keyed.tiles.columns[shape.field_ranges[number]]
        columns.extend(_scan(shape.slots[number].monoid, states, ends))
    return tuple(columns)


def strided_suffixes(
    shape: Shape, keyed: KeyedTiles
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """For every `STRIDE`th tile of each key, the merge of it with all later ones; small slots only.

    Returns where each key's begin and end, int64 (k + 1,); the rows in each; one array a field of
    the small slots. A reader merges fewer than `STRIDE` tiles by hand, and the rest is O(n).
    """
    counts = -(-np.diff(keyed.bounds) // STRIDE)
    bounds = np.concatenate(([0], np.cumsum(counts)))
    owner = np.repeat(np.arange(len(keyed)), counts)
    ends = bounds[1:][owner]
    runs = Runs(
        keyed.bounds[owner] + (np.arange(bounds[-1]) - bounds[owner]) * STRIDE, len(keyed.tiles)
    )
    if not len(owner):
        nothing = [shape.slots[number].monoid.zero(0) for number in small_slots(shape)]
        columns = [np.asarray(column) for state in nothing for column in state]
        return bounds, np.empty(0, np.int64), tuple(columns)
    rows = np.add.reduceat(keyed.tiles.rows, runs.starts)
    sums = np.cumsum(rows)
    columns = []
    for number in small_slots(shape):
        monoid = shape.slots[number].monoid
        parts = monoid.reduce(keyed.tiles.columns[shape.field_ranges[number]], runs)
        columns.extend(_scan(monoid, parts, ends))
    return bounds, sums[ends - 1] - sums + rows, tuple(columns)


def totals(shape: Shape, keyed: KeyedTiles) -> tuple[np.ndarray, ...]:
    """The merge of all tiles of each key; small slots only; zero of a key without tiles.

    One array a field of the small slots, shape (k,).
    """
    tiles, lengths = keyed.tiles, np.diff(keyed.bounds)
    some = np.flatnonzero(lengths)
    runs = Runs(keyed.bounds[some], len(tiles))
    columns: list[np.ndarray] = []
    for number in small_slots(shape):
        monoid = shape.slots[number].monoid
        found = [np.array(zero) for zero in monoid.zero(len(keyed))]
        if len(some):
            merged = monoid.reduce(tiles.columns[shape.field_ranges[number]], runs)
            for column, values in zip(found, merged, strict=True):
                column[some] = values
        columns.extend(found)
    return tuple(columns)


def _scan(monoid: Monoid, states: States, ends: Int64s) -> list[np.ndarray]:
    """Suffix merges of runs that end at `ends` (one entry a state), by doubling.

    After round r each state holds itself and the next 2**r - 1 of its run. (Hillis, Steele, "Data
    parallel algorithms", 1986.)
    """
    columns = [np.array(column) for column in states]
    step, reach = 1, np.arange(len(ends))
    while len(active := np.flatnonzero(reach + step < ends)):
        mine, theirs = take(tuple(columns), active), take(tuple(columns), active + step)
        for column, merged in zip(columns, merge(monoid, mine, theirs), strict=True):
            column[active] = merged
        step *= 2
    return columns
