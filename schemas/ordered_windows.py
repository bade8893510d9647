"""Windows that are cut by the order of events and not by a grid: `last`, `since`, `session`.

What counts in them depends on other events of the key, so no tile can be in or out by its time
alone. They hold at every instant all the same: they are read as of t, over the events before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from .time import Duration

SINCE_CAP = 1_000
LATENESS = "7d"


@dataclass(frozen=True, slots=True)
class LastSpec:
    """The newest `count` events, after `skip` newer ones; see `last`."""

    count: int
    within: Duration | None = None
    skip: int = 0
    include_instant: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SinceSpec:
    """What has happened since the newest event that matches; see `since`."""

    predicate: pl.Expr | str
    cap: int = SINCE_CAP
    include_instant: bool = False


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """The session that is open, else the one that closed last; see `session`."""

    gap: Duration
    lateness: Duration = LATENESS
    include_instant: bool = False


def last(
    count: int,
    *,
    within: Duration | None = None,
    skip: int = 0,
    include_instant: bool = False,
) -> LastSpec:
    """The newest `count` events before the instant t, in the total order of events: by event time,
    and at the same time by stream, partition and offset.

    With `within` only those in `[t - within, t)`, exact at both edges; events then expire, and
    keys that are quiet for longer are dropped. Without it the newest events are kept for ever.
    With `skip` the newest so many are left out first: `last(3, skip=1)` is the three events before
    the newest one.

    Every event of the view counts, also one in which the aggregate's input is null: the mean over
    `last(5)` is that of the values among the last five events. State: 40 bytes an event kept, which
    are `count + skip`, at most 10 000.

    `include_instant` counts events exactly at t too: the window is that of t + 1 µs.

    >>> last(5, within="30d")
    LastSpec(count=5, within='30d', skip=0, include_instant=False)
    """
    return LastSpec(count, within, skip, include_instant)


def since(
    predicate: pl.Expr | str, *, cap: int = SINCE_CAP, include_instant: bool = False
) -> SinceSpec:
    """The events after the newest one for which `predicate` is true: "since the last login".

    That event itself does not count. Before any event matched, all events count. A null predicate
    does not match. Up to `cap` events are kept (40 bytes each); where more have happened since, the
    value's status is OVERFLOW until the next match.

    >>> since(pl.col("kind") == "login", cap=50).cap
    50
    """
    return SinceSpec(predicate, cap, include_instant)


def session(
    gap: Duration, *, lateness: Duration = LATENESS, include_instant: bool = False
) -> SessionSpec:
    """The key's newest session before the instant: open if its last event is at most `gap` ago,
    else the one that closed last.

    Events at most `gap` apart belong to one session, in whatever order they come: a late event
    may make one session of two. Its start, end and number of events are `agg.min` and `agg.max` of
    the event time and `agg.count()`. Events more than `lateness` behind the watermark expire in a
    view that has sessions, because the sessions that they would join are no longer kept.

    Late events of a partition that was silent meanwhile may stretch the session down to one that is
    no longer kept: its status is then OVERFLOW.

    State: 16 bytes and one of the aggregate's own for each session of the last `lateness`, and for
    the newest.

    >>> session("30m").lateness
    '7d'
    """
    return SessionSpec(gap, lateness, include_instant)
