"""Windows as plain JSON: what the registry stores of them, and what fingerprints cover.

A field that has its default and came later than its window is left out, so that what was stored
before it was there still reads, and keeps its fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import FormatUnknown
from .expressions import lower
from .nodes import from_json, to_json, to_polars
from .ordered_windows import LastSpec, SessionSpec, SinceSpec
from .time import Duration, format_duration, parse_duration
from .windows import (
    AUTO,
    EXACT,
    NO_OFFSET,
    CalendarSpec,
    HoppingSpec,
    LifetimeSpec,
    SeriesSpec,
    SlidingSpec,
    TumblingSpec,
    WindowSpec,
    ZonedCalendarSpec,
)


def dump_window(window: WindowSpec) -> dict[str, Any]:
    """A window by its kind, with its spans as their shortest text."""
    stored = _dump(window)
    if window.include_instant:
        stored["include_instant"] = True
    return stored


def load_window(stored: Mapping[str, Any]) -> WindowSpec:
    """The window that `dump_window` stored. Raises `FormatUnknown` for a kind that is not known."""
    kind = stored["kind"]
    including = stored.get("include_instant", False)
    if kind == "sliding":
        offset = stored.get("offset", NO_OFFSET)
        return SlidingSpec(stored["length"], stored["resolution"], offset, including)
    if kind == "tumbling":
        return TumblingSpec(stored["size"], stored["current"], including)
    if kind == "hopping":
        return HoppingSpec(stored["size"], stored["hop"], stored["current"], including)
    if kind == "last":
        return LastSpec(stored["count"], stored.get("within"), stored.get("skip", 0), including)
    if kind == "since":
        return SinceSpec(to_polars(from_json(stored["predicate"])), stored["cap"], including)
    if kind == "session":
        return SessionSpec(stored["gap"], stored["lateness"], including)
    if kind == "series":
        spans = stored["length"], stored["step"], stored["count"], stored["resolution"]
        return SeriesSpec(*spans, including)
    if kind == "calendar":
        return CalendarSpec(stored["unit"], stored["tz"], stored["current"], including)
    if kind == "zoned_calendar":
        zone = to_polars(from_json(stored["tz"]))
        return ZonedCalendarSpec(stored["unit"], zone, stored["current"], including)
    if kind == "lifetime":
        return LifetimeSpec(including)
    raise FormatUnknown(
        where="stored definitions", got=f"a window of the kind {kind}", expected="one known here"
    )


def _dump(window: WindowSpec) -> dict[str, Any]:
    if isinstance(window, SlidingSpec):
        stored = {
            "kind": "sliding",
            "length": _span(window.length),
            "resolution": _resolution(window.resolution),
        }
        if parse_duration(window.offset):
            stored["offset"] = _span(window.offset)
        return stored
    if isinstance(window, TumblingSpec):
        return {"kind": "tumbling", "size": _span(window.size), "current": window.current}
    if isinstance(window, HoppingSpec):
        spans = {"size": _span(window.size), "hop": _span(window.hop)}
        return {"kind": "hopping", **spans, "current": window.current}
    if isinstance(window, LastSpec):
        cut: dict[str, Any] = {"kind": "last", "count": window.count}
        if window.within is not None:
            cut["within"] = _span(window.within)
        return cut | ({"skip": window.skip} if window.skip else {})
    if isinstance(window, SinceSpec):
        return {"kind": "since", "predicate": to_json(lower(window.predicate)), "cap": window.cap}
    if isinstance(window, SessionSpec):
        return {"kind": "session", "gap": _span(window.gap), "lateness": _span(window.lateness)}
    if isinstance(window, SeriesSpec):
        spans = {"length": _span(window.length), "step": _span(window.step)}
        resolution = _resolution(window.resolution)
        return {"kind": "series", **spans, "count": window.count, "resolution": resolution}
    if isinstance(window, CalendarSpec):
        named = {"unit": window.unit, "tz": window.tz}
        return {"kind": "calendar", **named, "current": window.current}
    if isinstance(window, ZonedCalendarSpec):
        zoned = {"unit": window.unit, "tz": to_json(lower(window.tz))}
        return {"kind": "zoned_calendar", **zoned, "current": window.current}
    return {"kind": "lifetime"}


def _resolution(resolution: Duration) -> Duration:
    return resolution if resolution in (AUTO, EXACT) else _span(resolution)


def _span(span: Duration) -> str:
    return format_duration(parse_duration(span))
