"""Buckets that hold too many events, cut by time: one heavy key takes no more memory than others.

The events of such a bucket are spread over *slices* of event time, and the rows of its spine are
computed slice after slice. Beside a slice's own events memory holds those that bounded windows
reach back to; what windows without bound have to know is carried.

Where slices end depends on the events alone, so the same set is made the same way again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from ...windows.algebra import Int64s
from ...windows.instants import Asked, Carried, joined, turn_of
from .asked import Part
from .buckets import spread
from .compute import Answers, Events, Pairs, events_of, reach_of, rows_of, together, touched
from .spool import Spool, Workspace

ROWS_MAX: Final = 1 << 21
"""Events of a bucket from which on it is cut, and about how many a slice then has."""


@dataclass(frozen=True, slots=True)
class Slices:
    """Events by time: those in spool i lie before the instant `ends_us[i]`, the last have none."""

    ends_us: Int64s
    spools: tuple[Spool, ...]

    @property
    def is_cut(self) -> bool:
        """Whether there are several."""
        return len(self.ends_us) > 0

    def drop(self) -> None:
        """Forget the events."""
        for spool in self.spools:
            spool.drop()


def sliced(spool: Spool, workspace: Workspace) -> Slices:
    """The events of a spool by time, in the same order within a slice; one slice if they are few.

    The spool is dropped if they are not.
    """
    if spool.rows <= ROWS_MAX:
        return Slices(np.empty(0, np.int64), (spool,))
    times_us = np.concatenate([frame["_event_us"].to_numpy() for frame in spool.read()])
    times_us.sort()
    ends_us = np.unique(times_us[ROWS_MAX::ROWS_MAX])
    spools = tuple(workspace.spool() for _ in range(len(ends_us) + 1))
    for frame in spool.read():
        spread(frame, _slice_of(ends_us, frame["_event_us"].to_numpy()), spools)
    spool.drop()
    return Slices(ends_us, spools)


def in_turns(
    part: Part, slices: Slices, keys: pa.Array, pairs: Pairs, *, by_known: bool
) -> Answers:
    """The part's features at every pair, from the slices of its keys' events one after the other.

    As `compute.answers` has them from all events at a time.
    """
    at_us = pairs.at_us + part.delay_us
    number_of = _slice_of(slices.ends_us, at_us)
    before: Carried | int = len(keys)
    held: Events | None = None
    late = np.zeros(len(at_us), np.bool_)
    parts, order = [], []
    last = int(number_of.max(initial=0))
    for number, spool in enumerate(slices.spools[: last + 1]):
        until_us = int(slices.ends_us[number]) if number < last else None
        events = together(held, events_of(list(spool.read()), keys))
        mine = np.flatnonzero(number_of == number)
        asked = Asked(pairs.key[mine], at_us[mine])
        rows = rows_of(part.build, events, by_known=by_known)
        turn = turn_of(part.build.shape, rows, asked, part.features, before, until_us)
        if events is not None and not by_known:
            late[mine] = touched(
                events.key,
                events.order.event_us,
                events.known_us,
                asked.key,
                asked.at_us,
                reach_of(part),
            )
        parts.append(turn.values)
        order.append(mine)
        before, held = turn.carried, _held(part, events, turn.kept, until_us)
    back = np.argsort(np.concatenate(order))
    found = [joined(columns).take(back) for columns in zip(*parts, strict=True)]
    return Answers(found, late)


def _slice_of(ends_us: Int64s, at_us: Int64s) -> Int64s:
    """The slice that holds each instant; events at it may count there."""
    return np.searchsorted(ends_us, at_us, side="right")


def _held(part: Part, events: Events | None, kept: Int64s, until_us: int | None) -> Events | None:
    """The events that the next slice needs too: also those that are not known before it begins,
    which are late there however far windows reach back."""
    if events is None or until_us is None:
        return None
    if reach_of(part) is None:
        kept = np.union1d(kept, np.flatnonzero(events.known_us >= until_us))
    return events.take(kept)
