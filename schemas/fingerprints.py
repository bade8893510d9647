"""Whether a changed definition needs a new build.

The *structural* fingerprint of a view covers what its state is made from: the stream and the types
of the columns that are read, the key, `where`, the aggregates with their inputs (and the version of
a user's own), the windows, the allowed lateness (what is expired must be the same live and in a
replay). If it changes, the state has to be built anew. The *operational*
fingerprint covers everything; where it alone changes, the change is made in place, from the next
event on.

Neither depends on the order of features, on the names under which they are served (structural), on
how an expression was spelled, nor on versions of Polars.
"""

from __future__ import annotations

from typing import Any

from .canonical import canonical_json, digest
from .codec import dump_aggregate, dump_entity, dump_expression, dump_stream, dump_view
from .definitions import AggregateSpec, FeatureView
from .expressions import lower
from .inputs import feature_input, zone_input
from .nodes import columns
from .quarters import QUARTER_US, longest_us
from .stored_windows import dump_window
from .time import format_duration, parse_duration
from .types import DataType
from .windows import CalendarSpec, OrderedSpec, WindowSpec, ZonedCalendarSpec
from .zones import periods


def structural(view: FeatureView) -> str:
    """32 hex digits over what the view's state is made from."""
    return digest(structure(view))


def operational(view: FeatureView) -> str:
    """32 hex digits over the whole definition: view, entity and stream."""
    stored = dump_view(view)
    return digest(
        {
            **stored,
            "features": dict(stored["features"]),
            "entity": dump_entity(view.entity),
            "stream": dump_stream(view.stream),
        }
    )


def structure(view: FeatureView) -> dict[str, Any]:
    """What `structural` is the digest of, for plans that say *what* changed."""
    aggregates = [_aggregate(feature.aggregate) for feature in view.features.values()]
    windows = [_window(feature.window) for feature in view.features.values()]
    types = view.stream.schema
    return {
        "stream": view.stream.name,
        "event_time": view.stream.event_time,
        "columns": {name: _type(types[name]) for name in _columns_read(view)},
        "key": dump_entity(view.entity)["keys"],
        "where": dump_expression(view.where),
        "aggregates": _distinct(aggregates),
        "windows": _distinct(windows),
        **_ordered(view),
        **_lateness(view),
    }


def _type(dtype: DataType) -> str:
    """A type without its unit, which is the log's matter."""
    return str(dtype) if dtype.item is not None else dtype.name


def _aggregate(spec: AggregateSpec) -> dict[str, Any]:
    """An aggregate without what its states do not rest on: the cap of its map (all categories are
    kept, whatever is shown), and the place of a user's own (its version says what it means)."""
    stored = {name: part for name, part in dump_aggregate(spec).items() if name != "cap"}
    if spec.own is not None:
        stored["own"] = {"version": spec.own.version, "format": spec.own.format}
    return stored


def _ordered(view: FeatureView) -> dict[str, Any]:
    """Aggregates over windows that order cuts: each pair is a state of its own."""
    pairs = [
        {"aggregate": _aggregate(one.aggregate), "window": dump_window(one.window)}
        for one in view.features.values()
        if isinstance(one.window, OrderedSpec)
    ]
    return {"ordered": _distinct(pairs)} if pairs else {}


def _lateness(view: FeatureView) -> dict[str, Any]:
    if view.allowed_lateness is None:
        return {}
    return {"lateness": format_duration(parse_duration(view.allowed_lateness))}


def _window(window: WindowSpec) -> dict[str, Any]:
    """A window, and what the tiles kept for it rest on where that is not in its own words.

    The edges of a calendar window come from the time zone database, which changes. Tiles do not
    hold those edges; they rest on their grid and on the window's reach (ADR 0012).
    """
    stored = dump_window(window)
    if isinstance(window, CalendarSpec):
        table = periods(window.unit, window.tz)
        stored["grid"] = format_duration(table.grid_us)
        stored["longest"] = format_duration(table.longest_us(1 if window.current else 2))
    if isinstance(window, ZonedCalendarSpec):
        stored["grid"] = format_duration(QUARTER_US)
        stored["longest"] = format_duration(longest_us(window.unit, 1 if window.current else 2))
    return stored


def _columns_read(view: FeatureView) -> list[str]:
    inputs = [feature_input(feature) for feature in view.features.values()]
    zones = [zone_input(feature) for feature in view.features.values()]
    where = None if view.where is None else lower(view.where)
    read = [node for node in [*inputs, *zones, where] if node is not None]
    return sorted({name for node in read for name in columns(node)})


def _distinct(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each value once, in an order that no dict or definition decides."""
    return [kept for _, kept in sorted({canonical_json(v): v for v in values}.items())]
