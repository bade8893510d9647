"""From tiles to values: every feature of many keys at an instant.

A window counts the tiles that start in `[older edge, newer edge)`. That is exact as long as no tile
is cut by an edge, or one that is has its instants at hand (`windows.cover`); else the answer says
so (`COARSE`) and tells the true bounds. Statuses and empties are decided from counts and event
times alone, never from a residue of the state:

* `NOT_FOUND`: the key has no event within retention before the instant (nor in the window, which
  may include the instant);
* `EMPTY`: nothing in this window (no row, or no value where the aggregate has none for nulls);
* `NO_ZONE`: the window goes by the key's own time zone, and its events name none that is known;
* `OVERFLOW`: the aggregate's bound was passed; `COARSE`: see above; else `PRESENT`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.outcomes import Status
from ..schemas.types import DataType
from .algebra import NOTHING, NULL, OVERFLOW, Reading, Runs, States, Values, cut_of
from .algebra import finish as finish_states
from .cover import cover
from .geometry import Window
from .ladder import EVER_START_US
from .series import expand, status_of
from .shape import Shape, WindowedFeature
from .tiles import KeyedTiles, Tiles, reduce_tiles, take_column
from .zoned import ZonedCalendar
from .zoned_edges import zoned_bounds


@dataclass(frozen=True, slots=True)
class FeatureColumn:
    """One feature of k keys: values (None = null), statuses, and the bounds truly counted.

    The value over a series is a list, newest window first; status and bounds are of the whole.
    `statuses` uint8 (k,) of `Status`; `start_us`, `end_us` int64 (k,).
    """

    values: list[Any]
    statuses: np.ndarray
    start_us: np.ndarray
    end_us: np.ndarray


@dataclass(frozen=True, slots=True)
class _WindowStates:
    """What one window holds of each of k keys."""

    states: tuple[States, ...]
    rows: np.ndarray
    coarse: np.ndarray
    start_us: np.ndarray
    end_us: np.ndarray
    known: np.ndarray | None = None
    """Whether the key's time zone is known; None where no zone is needed."""


def finish(
    shape: Shape,
    keyed: KeyedTiles,
    at_us: int | np.ndarray,
    horizon_us: np.ndarray,
    features: Sequence[WindowedFeature] | None = None,
    instants: KeyedTiles | None = None,
) -> list[FeatureColumn]:
    """The features (default: all) of every key of `keyed` at `at_us`.

    `at_us` is one instant or int64 (k,); `horizon_us` int64 (k,) the keys' horizons (`NEVER_US`
    where never folded). `instants` has the same keys, with the instants of the hours that edges may
    cut (`windows.segments`). Tiles need not be in order of time within their key.
    O(tiles × windows).
    """
    flat, places = expand(shape.features if features is None else features)
    at_us = np.broadcast_to(np.asarray(at_us, dtype=np.int64), len(keyed))
    found = _found(shape, keyed, instants, at_us)
    windows = {
        window: _collect(shape, keyed, instants, window, at_us, horizon_us)
        for window in dict.fromkeys(feature.window for feature in flat)
    }
    columns = [_column(feature, windows[feature.window], at_us, found) for feature in flat]
    return [
        _listed(columns[place]) if isinstance(place, slice) else columns[place] for place in places
    ]


def _listed(columns: Sequence[FeatureColumn]) -> FeatureColumn:
    """The columns of a series, newest window first, as one column of lists."""
    return FeatureColumn(
        [list(values) for values in zip(*(one.values for one in columns), strict=True)],
        status_of(np.stack([one.statuses for one in columns])),
        np.min([one.start_us for one in columns], axis=0),
        np.max([one.end_us for one in columns], axis=0),
    )


def _found(
    shape: Shape, keyed: KeyedTiles, instants: KeyedTiles | None, at_us: np.ndarray
) -> np.ndarray:
    """Whether each key has an event within retention before its instant."""
    oldest_us = np.full(len(keyed), EVER_START_US)
    if shape.retention_us is not None:
        oldest_us = at_us - shape.retention_us
    past = keyed.newest_us < at_us
    hit = np.zeros(len(keyed), dtype=bool)
    if not past.all():
        held = cover(keyed, instants, oldest_us, at_us)
        # Of a tile that retention's end cuts it is not known where in it its events lie.
        hit |= held.touched
        hit[held.key] = True
    return np.where(past, keyed.newest_us >= oldest_us, hit) & (np.diff(keyed.bounds) > 0)


def _collect(
    shape: Shape,
    keyed: KeyedTiles,
    instants: KeyedTiles | None,
    window: Window,
    at_us: np.ndarray,
    horizon_us: np.ndarray,
) -> _WindowStates:
    known = None
    if isinstance(window, ZonedCalendar):
        zoned = zoned_bounds(shape, keyed, instants, window, at_us, horizon_us)
        start_us, end_us, known = zoned.start_us, zoned.end_us, zoned.known
        held = cover(keyed, instants, start_us, end_us)
        coarse = held.coarse & known | zoned.coarse
    else:
        start_us, end_us = window.bounds(at_us)
        held = cover(keyed, instants, start_us, end_us)
        coarse = held.coarse
    before = at_us < horizon_us
    if before.any():
        # Behind the horizon tiles may be gone, or merged into the ever tile.
        coarse = coarse | before & (start_us < horizon_us - shape.reach_us)
    states, rows = _per_key(shape, held.tiles, held.key, len(keyed))
    return _WindowStates(states, rows, coarse, held.start_us, held.end_us, known)


def _per_key(
    shape: Shape, tiles: Tiles, key: np.ndarray, key_count: int
) -> tuple[tuple[States, ...], np.ndarray]:
    """Each slot's state of each of `key_count` keys, and the keys' counts of rows."""
    rows = np.zeros(key_count, dtype=np.int64)
    zeros = [slot.monoid.zero(key_count) for slot in shape.slots]
    if not len(tiles):
        return tuple(zeros), rows
    first = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    merged = reduce_tiles(shape, tiles, Runs(first, len(tiles)))
    rows[key[first]] = merged.rows
    # Keys without tiles take a zero, which stands behind the merged ones.
    place = np.full(key_count, len(first))
    place[key[first]] = np.arange(len(first))
    states = []
    for slot, span in zip(shape.slots, shape.field_ranges, strict=True):
        nothing = slot.monoid.zero(1)
        states.append(
            tuple(
                take_column(_append(column, zero), place)
                for column, zero in zip(merged.columns[span], nothing, strict=True)
            )
        )
    return tuple(states), rows


def _append(column: Values, tail: Values) -> Values:
    if isinstance(column, np.ndarray):
        return np.concatenate((column, tail))
    return pa.concat_arrays([column, tail])


def _column(
    feature: WindowedFeature, window: _WindowStates, at_us: np.ndarray, found: np.ndarray
) -> FeatureColumn:
    states = tuple(window.states[slot] for slot in feature.slots)
    reading = Reading(at_us, window.start_us, window.end_us)
    values, kinds = finish_states(feature.aggregate, states, feature.params, reading)
    is_empty = window.rows == 0
    if (cut := cut_of(feature.aggregate)) is not None:
        reading, counts = cut.counted(states, feature.params, reading)
        is_empty = is_empty | ~counts
    statuses = statuses_of(kinds, is_empty, found, window.coarse, window.known)
    plain = to_python(values, feature.output)
    for index in np.flatnonzero((kinds == NULL) | (kinds == OVERFLOW)):
        plain[index] = feature.default if kinds[index] == NULL else None
    if window.known is not None:
        for index in np.flatnonzero(~window.known & (window.coarse | found)):
            plain[index] = None
    return FeatureColumn(plain, statuses, reading.start_us, reading.end_us)


def statuses_of(
    kinds: np.ndarray,
    is_empty: np.ndarray,
    found: np.ndarray,
    coarse: np.ndarray,
    known: np.ndarray | None = None,
) -> np.ndarray:
    """The status of each of k values, uint8 (k,); all arguments are of shape (k,).

    `kinds` is what finishing said of the value; `is_empty`: the window holds no row, or none that
    counts; `found`: the key has an event within retention; `coarse`: other bounds than those asked
    for were counted; `known`: the key's time zone is known, None where none is needed.
    """
    statuses = np.full(len(kinds), Status.PRESENT, dtype=np.uint8)
    statuses[coarse] = Status.COARSE
    # Over other bounds than were asked for, nobody knows whether it would have fitted.
    statuses[(kinds == OVERFLOW) & ~coarse] = Status.OVERFLOW
    statuses[is_empty | (kinds == NULL) | (kinds == NOTHING)] = Status.EMPTY
    statuses[(statuses == Status.EMPTY) & coarse] = Status.COARSE
    # Behind the horizon what is gone cannot be told from what never was. And a key is found if its
    # only event is at the instant itself, in a window that includes it.
    statuses[~found & ~coarse & is_empty] = Status.NOT_FOUND
    if known is not None:
        statuses[~known & ~coarse & found] = Status.NO_ZONE
    return statuses


def to_python(values: Values, dtype: DataType) -> list[Any]:
    """Finished values as plain Python: str, bool, int or float (times as µs), lists, maps.

    >>> from tegula.schemas.types import Bool
    >>> to_python(np.array([1, 0]), Bool)
    [True, False]
    """
    plain: list[Any] = values.to_pylist() if isinstance(values, pa.Array) else values.tolist()
    convert = converter(dtype)
    return plain if convert is None else list(map(convert, plain))


def converter(dtype: DataType) -> Callable[[Any], Any] | None:
    """What makes a value of the type from one that an aggregate finished; None if it is one.

    >>> from tegula.schemas.types import String, list_of
    >>> convert = converter(list_of(String))
    >>> convert and convert([b"a", b"b"])
    ['a', 'b']
    """
    if dtype.item is None:
        plain: dict[str, Callable[[Any], Any]] = {"string": bytes.decode, "bool": bool}
        return plain.get(dtype.kind)
    inner = converter(dtype.item)
    if dtype.kind == "map":
        return lambda entries: {
            name.decode(): value if inner is None or value is None else inner(value)
            for name, value in entries
        }
    return None if inner is None else lambda value: list(map(inner, value))
