"""What a build's tiles hold, and for which features: the *shape* of its state.

A build keeps each state once, however many of its features need it: the mean and the sum of one
column over three windows share one *slot*. A shape is pure data, made by the plan; tiles, folding,
formats and reading are driven by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..schemas.types import DataType
from .algebra import Aggregate, AggregateAt, Monoid, StateField
from .civil_days import CivilDays, civil_days
from .geometry import Window
from .ladder import HOUR, INSTANT, LADDER, MINUTE, RUNG_US, SECOND, finest_of
from .zoned import ZonedCalendar


@dataclass(frozen=True, slots=True)
class Slot:
    """One state that every tile of a build holds.

    `input` is the index of the build's lifted input column, or None for a state that counts rows.
    """

    name: str
    monoid: Monoid
    input: int | None


@dataclass(frozen=True, slots=True)
class WindowedFeature:
    """A feature as it is finished: an aggregate over the slots named, in one window."""

    name: str
    aggregate: Aggregate | AggregateAt
    slots: tuple[int, ...]
    window: Window
    output: DataType
    default: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """The slots of a build's tiles, its features, and the times that its keeping rests on.

    `depth_us` is how far back reading is to stay exact (the view's `history`); `disorder_us` how
    far out of order its stream may be; `lateness_us` how far behind the watermark an event may be
    that still counts (None: retention decides).
    """

    slots: tuple[Slot, ...]
    features: tuple[WindowedFeature, ...]
    depth_us: int
    disorder_us: int
    lateness_us: int | None = None

    @cached_property
    def fields(self) -> tuple[StateField, ...]:
        """The fields of all slots, one after the other: the state columns of a tile."""
        return tuple(f for slot in self.slots for f in slot.monoid.fields)

    @cached_property
    def field_ranges(self) -> tuple[slice, ...]:
        """For each slot, where its fields lie among `fields`."""
        ranges, begin = [], 0
        for slot in self.slots:
            ranges.append(slice(begin, begin + len(slot.monoid.fields)))
            begin += len(slot.monoid.fields)
        return tuple(ranges)

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """The distinct windows of the features, in order of first use."""
        return tuple(dict.fromkeys(feature.window for feature in self.features))

    @cached_property
    def finest(self) -> int:
        """The rung at which events enter: seconds, or instants where a window's edge needs them."""
        return finest_of((SECOND, *(window.grain for window in self.windows)))

    @cached_property
    def reach_us(self) -> int:
        """The greatest reach of the bounded windows; 0 if there is none."""
        return max((w.reach_us for w in self.windows if w.reach_us is not None), default=0)

    @cached_property
    def unbounded(self) -> bool:
        """Whether some window reads everything, so that nothing may ever be dropped."""
        return any(
            window.reach_us is None or isinstance(window, ZonedCalendar) for window in self.windows
        )

    @cached_property
    def retention_us(self) -> int | None:
        """How long events are kept: reach + depth + disorder; None if for ever."""
        return None if self.unbounded else self.reach_us + self.depth_us + self.disorder_us

    @cached_property
    def coarsening(self) -> tuple[tuple[int, int], ...]:
        """`(rung, distance_us)`, coarsest first: when tiles before the horizon may be made coarser.

        A tile of the rung may be formed once it ends at or before `horizon - distance_us`: the
        greatest reach of the windows whose edges could cut it. An edge finer than a second may cut
        any tile of up to an hour, which the segments of that hour refine.
        """
        held = {w: HOUR if w.grain == INSTANT else w.grain for w in self.windows}
        rungs = {*held.values(), MINUTE} if self.keeps_instants else {*held.values()}
        return tuple(
            (
                rung,
                max(
                    (w.reach_us or 0 for w in held if RUNG_US[held[w]] < RUNG_US[rung]),
                    default=0,
                ),
            )
            for rung in reversed(LADDER)
            if rung in rungs and RUNG_US[rung] > RUNG_US[SECOND]
        )

    @cached_property
    def civil_days(self) -> CivilDays | None:
        """The days by the clocks of a zone that tiles before the horizon may be made; else None."""
        return civil_days(self.windows)

    @cached_property
    def segment_reach_us(self) -> int | None:
        """How far before the horizon an edge finer than a second may lie; None without such edges.

        So far back instants are kept in segments (`windows.segments`).
        """
        if not self.keeps_instants:
            return None
        fine = [window for window in self.windows if window.grain == INSTANT]
        return max(window.reach_us or 0 for window in fine)

    @cached_property
    def finest_us(self) -> int:
        """Width in µs of the rung at which events enter."""
        return RUNG_US[self.finest]

    @cached_property
    def keeps_instants(self) -> bool:
        """Whether all events enter as instants (some window has an edge finer than a second)."""
        return self.finest == INSTANT
