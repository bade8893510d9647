"""The values of one bucket: rows of the spine and the events of the same keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ...connectors.rfc3339 import END_US, FIRST_US
from ...engine.plan import Build
from ...engine.steps.judge import column_of
from ...schemas.outcomes import Status
from ...windows.algebra import Bools, Int64s, Order
from ...windows.instants import Asked, EventRows, FeatureValues, values_at
from ...windows.lifting import take_order
from .asked import Part

BEFORE_HISTORY: Final = int(Status.BEFORE_HISTORY)
COARSE: Final = int(Status.COARSE)
_OLDEST: Final = pl.CompatLevel.oldest()


@dataclass(frozen=True, slots=True)
class Begin:
    """Where the kept events of a stream begin; `is_cut` if there were more before."""

    begins_us: int
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Events:
    """Events of one build and one bucket, with the numbers of their keys.

    `known_us` int64 (n,) is when each was known, by the clock `known`.
    """

    key: Int64s
    order: Order
    known_us: Int64s
    frame: pl.DataFrame

    def take(self, rows: Int64s) -> Events:
        """The events at `rows`."""
        return Events(
            self.key.take(rows),
            take_order(self.order, rows),
            self.known_us.take(rows),
            self.frame[rows] if self.frame.width else self.frame,
        )


@dataclass(frozen=True, slots=True)
class Pairs:
    """The rows of a spine in one bucket: their numbers, ascending, their keys', their instants."""

    row: Int64s
    key: Int64s
    at_us: Int64s


def numbered(spine: pl.DataFrame) -> tuple[Pairs, pa.Array]:
    """The pairs of a bucket's rows, and the different keys by their numbers; −1 is a null key."""
    keys = spine["_key"].to_arrow(compat_level=_OLDEST).cast(pa.large_binary()).dictionary_encode()
    codes = keys.indices.fill_null(-1).to_numpy().astype(np.int64)
    return Pairs(spine["_row"].to_numpy(), codes, spine["_at_us"].to_numpy()), keys.dictionary


def events_of(frames: Sequence[pl.DataFrame], keys: pa.Array) -> Events | None:
    """The events of these keys; None if there are none."""
    if not frames:
        return None
    frame = pl.concat(frames)
    mine = frame["_key"].to_arrow(compat_level=_OLDEST).cast(pa.large_binary())
    found = pc.index_in(mine, value_set=keys)
    if found.null_count:  # of other keys with the same bits in the filter
        frame = frame.filter(pl.Series(found.is_valid()))
        found = found.drop_null()
    if not frame.height:
        return None
    order = Order(
        frame["_event_us"].to_numpy(), frame["_ordinal"].to_numpy(), frame["_offset"].to_numpy()
    )
    key = found.to_numpy().astype(np.int64)
    inputs = frame.drop("_key", "_event_us", "_ordinal", "_offset", "_known_us")
    return Events(key, order, frame["_known_us"].to_numpy(), inputs)


def together(some: Events | None, more: Events | None) -> Events | None:
    """The events of both, numbered alike."""
    if some is None or more is None:
        return some or more
    order = Order(
        np.concatenate((some.order.event_us, more.order.event_us)),
        np.concatenate((some.order.ordinal, more.order.ordinal)),
        np.concatenate((some.order.offset, more.order.offset)),
    )
    known_us = np.concatenate((some.known_us, more.known_us))
    return Events(
        np.concatenate((some.key, more.key)), order, known_us, pl.concat([some.frame, more.frame])
    )


def rows_of(build: Build, events: Events | None, *, by_known: bool) -> EventRows:
    """The events as the kernels take them."""
    if events is None:
        nothing = np.empty(0, np.int64)
        frame = pl.DataFrame(
            {
                f"_{n}": pl.Series([], dtype=_empty(kind))
                for n, (_, _, kind) in enumerate(build.inputs)
            }
        )
        events = Events(nothing, Order(nothing, nothing, nothing), nothing, frame)
    every = np.arange(len(events.key))
    inputs = [
        column_of(events.frame[f"_{number}"], kind, every)[0]
        for number, (_, _, kind) in enumerate(build.inputs)
    ]
    known_us = events.known_us if by_known else None
    return EventRows(events.key, events.order, tuple(inputs), known_us)


def _empty(kind: str) -> pl.DataType:
    """A type that an input of this kind may have, for no rows."""
    if "," in kind:
        parts = [pl.Field(f"f{n}", _empty(one)) for n, one in enumerate(kind.split(","))]
        return pl.Struct(parts)
    if kind.startswith("list["):
        return pl.List(_empty(kind.removeprefix("list[").removesuffix("]")))
    plain = {"string": pl.String(), "float": pl.Float64(), "time": pl.Datetime("us", "UTC")}
    return plain.get(kind, pl.Int64())


@dataclass(frozen=True, slots=True)
class Answers:
    """A part's features at the pairs of a bucket, and at which of them what came late counts."""

    found: Sequence[FeatureValues]
    late: Bools


def answers(part: Part, rows: EventRows, known_us: Int64s, pairs: Pairs) -> Answers:
    """The part's features at every pair; `known_us` is when each of `rows` was known."""
    at_us = pairs.at_us + part.delay_us
    found = values_at(part.build.shape, rows, Asked(pairs.key, at_us), part.features)
    if rows.known_us is not None:
        return Answers(found, np.zeros(len(at_us), np.bool_))
    event_us, reach_us = rows.order.event_us, reach_of(part)
    return Answers(found, touched(rows.key, event_us, known_us, pairs.key, at_us, reach_us))


def frame_of(
    part: Part, told: Answers, pairs: Pairs, begin: Begin, include: Sequence[str]
) -> pl.DataFrame:
    """The part's columns for every pair, with `_row`, statuses, and whether what came late counts.

    Where an instant lies before what is kept, there is no value. Where the archive was cut and a
    window reaches behind the cut, it is `COARSE`.
    """
    before = pairs.at_us + part.delay_us < begin.begins_us
    columns = [pl.Series("_row", pairs.row)]
    for name, one in zip(part.columns, told.found, strict=True):
        values, statuses = _within(one, before, begin)
        columns.append(pl.Series(name, values))
        columns.append(pl.Series(f"{name}|status", statuses))
        if "event_time" in include:
            columns.append(_instants(f"{name}|event_time", one.newest_us, before))
        if "bounds" in include:
            columns.append(_instants(f"{name}|start", one.start_us, before))
            columns.append(_instants(f"{name}|end", one.end_us, before))
    columns.append(pl.Series("_late", told.late))
    return pl.DataFrame(columns)


def _within(one: FeatureValues, before: Bools, begin: Begin) -> tuple[pa.Array, np.ndarray]:
    statuses = one.statuses
    if begin.is_cut:
        cut = (one.start_us < begin.begins_us) & ~before & (statuses <= Status.NOT_FOUND)
        statuses = np.where(cut, COARSE, statuses).astype(np.uint8)
    if not before.any():
        return one.values, statuses
    place = pa.array(np.arange(len(before)), mask=before)
    return one.values.take(place), np.where(before, BEFORE_HISTORY, statuses).astype(np.uint8)


def _instants(name: str, at_us: Int64s, absent: Bools) -> pl.Series:
    """Instants as a column; null where there is none, or none that a calendar has."""
    absent = absent | (at_us < FIRST_US) | (at_us >= END_US)
    return pl.Series(name, at_us).set(pl.Series(absent), None).cast(pl.Datetime("us", "UTC"))


def reach_of(part: Part) -> int | None:
    """The longest reach of its windows; None if one has no bound."""
    reaches = [feature.window.reach_us for feature in part.features]
    known = [reach for reach in reaches if reach is not None]
    return max(known) if len(known) == len(reaches) else None


def touched(
    key: Int64s,
    event_us: Int64s,
    known_us: Int64s,
    asked_key: Int64s,
    at_us: Int64s,
    reach_us: int | None,
) -> Bools:
    """Whether an event counts at each (key, instant) that was not known then. O((n + q) log n).

    An event that had happened and was not known is one at the instants in `(event, known]`, as far
    as windows reach: of these spans, more begin before the instant than end.

    >>> one = lambda *values: np.array(values, np.int64)
    >>> touched(one(0), one(10), one(30), one(0, 0, 0, 1), one(10, 11, 31, 11), None).tolist()
    [False, True, False, False]
    """
    end_us = known_us if reach_us is None else np.minimum(known_us, event_us + reach_us)
    later = end_us > event_us
    key, begin_us, end_us = key[later], event_us[later], end_us[later]
    if not len(key):
        return np.zeros(len(at_us), np.bool_)
    return _before(key, begin_us, asked_key, at_us) > _before(key, end_us, asked_key, at_us)


def _before(key: Int64s, instant_us: Int64s, asked_key: Int64s, at_us: Int64s) -> Int64s:
    """Of how many of the instants of each asked key it is true that they lie before its instant."""
    every = np.concatenate((instant_us, at_us))
    rank = np.unique(every, return_inverse=True)[1].reshape(-1)
    width = int(rank.max()) + 2
    placed = np.sort(key * width + rank[: len(key)])
    wanted = asked_key * width + rank[len(key) :]
    return np.searchsorted(placed, wanted) - np.searchsorted(placed, asked_key * width)
