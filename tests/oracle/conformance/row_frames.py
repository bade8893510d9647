"""The frames of `row_window` cases in our windows.

A frame of time is `sliding`, or `last(n, within=…)` where only the newest rows of it count; a frame
of rows is `last(n, skip=…)`. Where the current row counts and others that stand beside it in
every window of ours do not (rows of the same time, or of its own table), it is *apart*: a view of
table 0 gives it as `last(1)`, and the window is over what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tegula as tg
from tegula.schemas.validation.ordered import ROWS_MAX

from . import spans
from .experiment import Needs, as_ms, only

FIELDS = (
    "partition_by order_by frame from to exclude_current_row exclude_other_rows_at_same_time "
    "keep_latest_rows history_also_from_tables history_excludes_table_0"
)
EDGES: Mapping[str, int | None] = {
    "current_row": 0,
    "unbounded": None,
    "unbounded_preceding": None,
}
SIDES = {True: "closed", False: "open"}


@dataclass(frozen=True)
class Ours:
    """What says the same as a frame: `window` (None: no rows), and the current row if it is apart.

    It is read just after the current row came, or just before (`after_current` False), and so
    much earlier.
    """

    window: Any
    is_apart: bool = False
    after_current: bool = True
    earlier_ms: int = 0


@dataclass(frozen=True)
class Frame:
    """Which rows a window of the case is over, and which of ours says the same."""

    keys: tuple[str, ...]
    order_by: str
    tables: tuple[int, ...]
    ours: Ours


def frame_of(window: Mapping[str, Any], row_count: int) -> Frame:
    """The window of ours that a window of the case is; `Needs` where none is.

    `row_count`: how many rows all tables of the case have.
    """
    only(window, FIELDS, "a window")
    tables = tuple(window.get("history_also_from_tables", ()))
    if not window.get("history_excludes_table_0"):
        tables = (0, *tables)
    if window["frame"] == "time_ms":
        ours = of_time(window)
    elif window["frame"] == "rows":
        ours = of_rows(window, row_count)
    else:
        raise Needs(f"a frame of {window['frame']}")
    return Frame(tuple(window["partition_by"]), window["order_by"], tables, ours)


def of_time(window: Mapping[str, Any]) -> Ours:
    """A frame of time: which rows lie in it, and how many of the newest count."""
    (oldest, oldest_in), (newest, newest_in) = edge(window["from"]), edge(window["to"])
    if newest is None or (oldest is not None and oldest < newest):
        raise Needs("a frame that ends before it begins")
    if oldest == newest and not (oldest_in and newest_in):
        raise Needs("a frame of no rows")
    excludes, keep = bool(window.get("exclude_current_row")), kept(window)
    has_now = (newest, newest_in) == (0, True)
    is_apart = has_now and not excludes and is_alone(window)
    if has_now and window.get("exclude_other_rows_at_same_time"):
        newest_in = False
    size = None if oldest is None else oldest - newest
    sides = SIDES[oldest_in], SIDES[newest_in]
    if is_apart and (keep == 1 or spans.length_us(size, *sides) == 0):
        return Ours(None, is_apart=True)
    if keep is None and size is not None:
        ours = spans.between(size, *sides, newest)
        return Ours(ours, is_apart, not excludes)
    # What such rows were a while ago, they are when they are read as of so much earlier.
    if keep is None:
        ours = spans.between(size, *sides)
    else:
        ours = spans.newest(keep - is_apart, size, *sides)
    return Ours(ours, is_apart, not excludes, earlier_ms=newest)


def of_rows(window: Mapping[str, Any], row_count: int) -> Ours:
    """A frame of rows: how many, before how many newer ones. The current row is number 0."""
    (oldest, oldest_in), (newest, newest_in) = edge(window["from"]), edge(window["to"])
    if newest is None:
        raise Needs("a frame that ends before it begins")
    excludes, keep = bool(window.get("exclude_current_row")), kept(window)
    newest += not newest_in
    is_apart = newest == 0 and not excludes and is_alone(window)
    if excludes or is_apart:
        newest = max(newest, 1)
    counts = [] if oldest is None else [oldest - (not oldest_in) - newest + 1]
    if keep is not None:
        counts.append(keep - is_apart)
    if min(counts, default=1) < 1:
        if is_apart and min(counts) == 0:
            return Ours(None, is_apart=True)
        raise Needs("a frame of no rows")
    # Numbers are those of the rows that are left: others of the same time have none.
    includes = not window.get("exclude_other_rows_at_same_time") or newest == 0
    after_current = newest == 0 or is_apart
    skip = max(newest - 1, 0)
    if not counts and not skip:
        return Ours(tg.lifetime(include_instant=includes), is_apart, after_current)
    count = min(counts, default=row_count)
    if count + skip > ROWS_MAX:
        raise Needs(f"the newest {count + skip} rows")
    ours = spans.window("last")(count, skip=skip, include_instant=includes)
    return Ours(ours, is_apart, after_current)


def is_alone(window: Mapping[str, Any]) -> bool:
    """Whether the current row counts and others, which no window of ours tells apart, do not."""
    names = ("exclude_other_rows_at_same_time", "history_excludes_table_0")
    return any(window.get(name) for name in names)


def kept(window: Mapping[str, Any]) -> int | None:
    """How many of the frame's newest rows count; None: all."""
    given = window.get("keep_latest_rows")
    if given is None:
        return None
    count = as_ms(given, "keep_latest_rows")
    if count < 1:
        raise Needs("a frame of no rows")
    return count


def edge(side: Any) -> tuple[Any, bool]:
    """How far back an edge lies, and whether it is in; None back: no edge."""
    if isinstance(side, str):
        if side not in EDGES:
            raise Needs(f"an edge {side!r} of a window")
        return EDGES[side], True
    only(side, "preceding inclusive", "an edge of a window")
    back = side["preceding"]
    if back in (None, "unbounded"):
        return None, True
    return as_ms(back, "a bound of a frame"), bool(side["inclusive"])
