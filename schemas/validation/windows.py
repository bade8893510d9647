"""The faults of windows: spans, grids, and how far back they reach.

Arguments are `Any` where nothing about them is known yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from ..civil import UNITS
from ..errors import BadDuration, BadParameter, BadWindow, DefinitionFault, one_of, shown
from ..time import CENTURY_US, format_duration, parse_duration
from ..windows import (
    AUTO,
    EXACT,
    SERIES_MAX,
    CalendarSpec,
    HoppingSpec,
    LifetimeSpec,
    OrderedSpec,
    SeriesSpec,
    SlidingSpec,
    TumblingSpec,
    ZonedCalendarSpec,
)
from ..zones import is_zone, zone_names
from .checks import did_you_mean, span_faults
from .ordered import ordered_faults


def window_faults(window: Any, place: str) -> Iterator[DefinitionFault]:
    """What is wrong with one window, or with what stands where a window belongs."""
    if isinstance(window, SlidingSpec):
        yield from _sliding_faults(window, place)
    elif isinstance(window, TumblingSpec):
        yield from span_faults(window.size, f"{place}, size", least_us=1)
        yield from _flag_faults(window, "current", place)
    elif isinstance(window, HoppingSpec):
        yield from _hopping_faults(window, place)
    elif isinstance(window, OrderedSpec):
        yield from ordered_faults(window, place)
    elif isinstance(window, SeriesSpec):
        yield from _series_faults(window, place)
    elif isinstance(window, CalendarSpec):
        yield from _unit_faults(window, place)
        yield from _zone_faults(window.tz, place)
        yield from _flag_faults(window, "current", place)
    elif isinstance(window, ZonedCalendarSpec):
        yield from _unit_faults(window, place)
        yield from _flag_faults(window, "current", place)
    elif not isinstance(window, LifetimeSpec):
        yield _not_a_window(window, place)
        return
    yield from _flag_faults(window, "include_instant", place)


def _not_a_window(given: Any, place: str) -> BadWindow:
    called = "call it, as in lifetime()" if callable(given) else ""
    text = f"sliding({shown(given)}) or tumbling({shown(given)})" if isinstance(given, str) else ""
    return BadWindow(
        "this is not a window",
        where=place,
        got=shown(given),
        expected="sliding(…), tumbling(…), hopping(…), series(…), calendar(…) or lifetime()",
        hint=called or (f"write {text}" if text else ""),
    )


def _flag_faults(window: Any, name: str, place: str) -> Iterator[DefinitionFault]:
    value = getattr(window, name)
    if not isinstance(value, bool):
        yield BadParameter(
            f"{name} is not true or false",
            where=place,
            got=shown(value),
            expected="True or False",
        )


def _sliding_faults(window: SlidingSpec, place: str) -> Iterator[DefinitionFault]:
    yield from span_faults(window.length, f"{place}, length", least_us=1)
    yield from span_faults(window.offset, f"{place}, offset")
    yield from _grid_faults(window, f"{place}, resolution")
    length_us, offset_us = _span_us(window.length), _span_us(window.offset)
    if length_us is not None and offset_us is not None and offset_us > CENTURY_US - length_us > 0:
        yield _too_far(length_us + offset_us, place, "a smaller offset")


def _hopping_faults(window: HoppingSpec, place: str) -> Iterator[DefinitionFault]:
    yield from span_faults(window.size, f"{place}, size", least_us=1)
    yield from span_faults(window.hop, f"{place}, hop", least_us=1)
    yield from _flag_faults(window, "current", place)
    size_us, hop_us = _span_us(window.size), _span_us(window.hop)
    if size_us and hop_us and size_us < hop_us:
        yield BadWindow(
            "the window hops further than it is long, so events would fall between two windows",
            where=f"{place}, hop",
            got=shown(window.hop),
            expected=f"at most the size, {shown(window.size)}",
            hint="the size comes first: "
            f"did you mean hopping({shown(window.hop)}, {shown(window.size)})?",
        )


def _series_faults(window: SeriesSpec, place: str) -> Iterator[DefinitionFault]:
    yield from span_faults(window.length, f"{place}, length", least_us=1)
    yield from span_faults(window.step, f"{place}, step", least_us=1)
    yield from _grid_faults(window, f"{place}, resolution")
    count: Any = window.count
    if type(count) is not int or not 1 <= count <= SERIES_MAX:
        yield BadWindow(
            "a series cannot have so many windows",
            where=f"{place}, count",
            got=shown(count),
            expected=f"a whole number from 1 to {SERIES_MAX}",
        )
        return
    length_us, step_us = _span_us(window.length), _span_us(window.step)
    if length_us and step_us and length_us <= CENTURY_US < length_us + (count - 1) * step_us:
        yield _too_far(length_us + (count - 1) * step_us, place, "a smaller step or count")


def _unit_faults(window: CalendarSpec | ZonedCalendarSpec, place: str) -> Iterator[DefinitionFault]:
    unit: Any = window.unit
    if not isinstance(unit, str) or unit not in UNITS:
        yield BadWindow(
            "a calendar has no such unit",
            where=f"{place}, unit",
            got=shown(unit),
            expected=one_of(UNITS),
            hint=did_you_mean(unit, UNITS),
        )


def _zone_faults(zone: Any, place: str) -> Iterator[DefinitionFault]:
    if not isinstance(zone, str) or not is_zone(zone):
        yield BadWindow(
            "there is no such time zone",
            where=f"{place}, tz",
            got=shown(zone),
            expected="a name of the time zone database, such as 'Europe/Berlin' or 'UTC'",
            hint=_near_zones(zone),
        )


def _near_zones(given: Any) -> str:
    """Up to three zones that are spelled like it, as a whole or in their last part (the city)."""
    if not isinstance(given, str):
        return "give its name as text"
    tried = given.strip().replace(" ", "_").lower()
    whole = {name.lower(): name for name in zone_names()}
    cities = {name.rpartition("/")[2]: zone for name, zone in whole.items()}
    near = [cities[city] for city in get_close_matches(tried, list(cities), n=2, cutoff=0.75)]
    near += [whole[name] for name in get_close_matches(tried, list(whole), n=3, cutoff=0.7)]
    found = list(dict.fromkeys(map(repr, near)))[:3]
    if not found:
        if tried.isidentifier():
            return f"for a column that names the zone of each key, write tz=pl.col({given!r})"
        return "names are Area/City: a zone knows its summer times, an offset does not"
    *others, last = found
    return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


def _grid_faults(window: Any, place: str) -> Iterator[DefinitionFault]:
    """A resolution that is neither a name nor a span up to the window's length."""
    resolution: Any = window.resolution
    if isinstance(resolution, str) and resolution in (AUTO, EXACT):
        return
    try:
        resolution_us = parse_duration(resolution)
    except BadDuration:
        yield BadWindow(
            "this is not a resolution",
            where=place,
            got=shown(resolution),
            expected="'auto', 'exact', or a span such as '1m'",
            hint=did_you_mean(resolution, [AUTO, EXACT]),
        )
        return
    if resolution_us == 0:
        yield BadWindow(
            "a resolution of no time cannot be",
            where=place,
            got=shown(resolution),
            expected="at least 1us",
            hint="for an exact older edge, use resolution='exact'",
        )
        return
    length_us = _span_us(window.length)
    if length_us is not None and resolution_us > length_us:
        yield BadWindow(
            "the resolution is coarser than the window is long",
            where=place,
            got=shown(resolution),
            expected=f"at most the length, {shown(window.length)}",
            hint="leave it out for one that suits the length",
        )


def _too_far(reach_us: int, place: str, remedy: str) -> BadWindow:
    return BadWindow(
        "this window reaches back too far",
        where=place,
        got=f"{format_duration(reach_us)} from the instant to its older edge",
        expected="at most 100 years (36525d)",
        hint=f"take {remedy}",
    )


def _span_us(span: Any) -> int | None:
    """The span in µs; None if it is none, which is a fault of its own."""
    try:
        return parse_duration(span)
    except BadDuration:
        return None
