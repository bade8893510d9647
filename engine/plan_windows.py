"""Windows as a user wrote them, compiled: to geometry, and to what an aggregate keeps for them."""

from __future__ import annotations

from ..schemas.definitions import Feature, FeatureView
from ..schemas.inputs import aggregate_name, input_node
from ..schemas.ordered_windows import LastSpec, SessionSpec, SinceSpec
from ..schemas.quarters import periods_about
from ..schemas.time import format_duration, parse_duration
from ..schemas.windows import (
    AUTO,
    EXACT,
    CalendarSpec,
    HoppingSpec,
    SeriesSpec,
    SlidingSpec,
    TumblingSpec,
    WindowSpec,
    ZonedCalendarSpec,
)
from ..schemas.zones import periods
from ..windows.aggregates import AGGREGATES
from ..windows.algebra import Aggregate, AggregateAt
from ..windows.geometry import (
    Calendar,
    Hopping,
    IncludingInstant,
    Lifetime,
    Newest,
    Series,
    Sliding,
    Tumbling,
    Window,
)
from ..windows.ladder import automatic_resolution_us
from ..windows.maps import ByCategory
from ..windows.over import OverRows, OverSession
from ..windows.zoned import ZonedCalendar


def window_of(spec: WindowSpec, zone_slot: int | None = None) -> Window:
    """The geometry of a validated window; one that only order cuts reads everything before t."""
    if isinstance(spec, SeriesSpec):
        return Series(tuple(window_of(one) for one in _elements(spec)))
    if isinstance(spec, ZonedCalendarSpec):
        assert zone_slot is not None, "the plan keeps the zone that such a window goes by"
        later_us = int(spec.include_instant)
        return ZonedCalendar(spec.unit, spec.current, later_us, zone_slot, periods_about)
    window = _window(spec)
    return IncludingInstant(window) if spec.include_instant else window


def _elements(spec: SeriesSpec) -> list[SlidingSpec]:
    """The windows of a series as one would write them alone, newest first."""
    step_us = parse_duration(spec.step)
    offsets = [format_duration(number * step_us) for number in range(spec.count)]
    return [
        SlidingSpec(spec.length, spec.resolution, offset, spec.include_instant)
        for offset in offsets
    ]


def _window(spec: WindowSpec) -> Window:
    if isinstance(spec, SlidingSpec):
        length_us = parse_duration(spec.length)
        return Sliding(length_us, _resolution_us(spec, length_us), parse_duration(spec.offset))
    if isinstance(spec, TumblingSpec):
        return Tumbling(parse_duration(spec.size), spec.current)
    if isinstance(spec, HoppingSpec):
        return Hopping(parse_duration(spec.size), parse_duration(spec.hop), spec.current)
    if isinstance(spec, CalendarSpec):
        return Calendar(periods(spec.unit, spec.tz), spec.current, periods("day", spec.tz))
    if isinstance(spec, LastSpec) and spec.within is not None:
        return Newest(parse_duration(spec.within))
    return Lifetime()


def _resolution_us(spec: SlidingSpec, length_us: int) -> int:
    if spec.resolution == AUTO:
        return automatic_resolution_us(length_us)
    return 1 if spec.resolution == EXACT else parse_duration(spec.resolution)


def aggregate_of(feature: Feature, kind: str | None) -> Aggregate | AggregateAt:
    """The aggregate of a feature over an input of `kind`.

    It is wrapped where order cuts the window, and where it is taken by category.
    """
    spec, window = feature.aggregate, feature.window
    own = spec.own
    aggregate = AGGREGATES[aggregate_name(spec)] if own is None else own.resolved()
    if spec.by is not None and kind is not None:
        # The kind is that of a pair: the value, and beside it the category.
        valued, _, category = kind.partition(",")
        return ByCategory(aggregate, None if spec.input is None else valued, category, spec.cap)
    if isinstance(window, LastSpec):
        within_us = None if window.within is None else parse_duration(window.within)
        kept = window.count + window.skip
        return OverRows(aggregate, kind, kept, skip=window.skip, within_us=within_us)
    if isinstance(window, SinceSpec):
        # The kind is that of a pair: the value, and beside it whether the event matches.
        counted = input_node(feature.aggregate) is None
        value = None if counted or kind is None else kind.split(",")[0]
        return OverRows(aggregate, value, window.cap, marked=True)
    if isinstance(window, SessionSpec):
        return OverSession(aggregate, kind, parse_duration(window.gap))
    return aggregate


def lateness_of(view: FeatureView) -> int | None:
    """How far behind the watermark an event of the view may be, in µs; None: retention decides.

    Sessions bring a bound of their own; the narrowest counts.
    """
    spans = [
        feature.window.lateness
        for feature in view.features.values()
        if isinstance(feature.window, SessionSpec)
    ]
    if view.allowed_lateness is not None:
        spans.append(view.allowed_lateness)
    return min(map(parse_duration, spans), default=None)
