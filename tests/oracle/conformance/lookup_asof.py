"""`lookup_asof`: features of a key at an instant, over everything that is known.

A `lookback` is `sliding`, exact, with open and closed sides and a delay as `offset`; one that ends
after the instant is read that much later, when its end has come. The newest complete hop is
`tumbling` or `hopping`. `stream_time` is the greatest event time there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import spans, values
from .experiment import (
    MS,
    Experiment,
    Needs,
    Probe,
    Reading,
    Translation,
    as_ms,
    in_order,
    only,
    rows_of,
    seen_by,
    type_of,
)

SEMANTICS = "times lookback last_complete_hop stream_time default stddev_pop"


def translate(case: Mapping[str, Any], file: Mapping[str, Any]) -> Translation:
    """An experiment for each stream and key column that features read."""
    only(case, "id origin streams features lookups abs_tol rel_tol note", "a case")
    streams = {name: rows_of(stream) for name, stream in case["streams"].items()}
    stream_time_ms = max(row["ts"] for rows in streams.values() for row in rows)
    done = Translation()
    together: dict[tuple[str, str, int], dict[str, Reading]] = {}
    for feature in case["features"]:
        try:
            reading = reading_of(feature, len(streams[feature["stream"]]))
        except Needs as need:
            done.need(str(need))
            continue
        place = feature["stream"], feature["key"], later_ms(feature["window"])
        together.setdefault(place, {})[feature["name"]] = reading
    for (stream, key, later), readings in together.items():
        made = experiment(case, streams[stream], key, readings, stream_time_ms, later)
        done.experiments.append(made)
    return done


def reading_of(feature: Mapping[str, Any], row_count: int) -> Reading:
    """A feature of the case, read from features of ours."""
    only(feature, "name stream key agg column default window", "a feature")
    window, column = window_of(feature["window"]), feature.get("column")
    if feature["agg"] == "collect" and column is not None:
        return values.collected(column, window, row_count)
    return values.reading(feature["agg"], column, window, default=feature.get("default"))


def window_of(window: Mapping[str, Any]) -> Any:
    """The window of ours that a window of the case is."""
    if window["type"] == "lookback":
        only(window, "type size start end delay", "a lookback window")
        delay = max(window.get("delay", 0), 0)
        return spans.between(window["size"], window["start"], window["end"], delay)
    if window["type"] == "last_complete_hop":
        only(window, "type size advance lookback", "a window of the last complete hop")
        return spans.complete_hop(window["size"], window["advance"], window.get("lookback", 0))
    raise Needs(f"a window of type {window['type']}")


def later_ms(window: Mapping[str, Any]) -> int:
    """How long after the instant a lookback ends, which is a delay of less than nothing."""
    return max(-window.get("delay", 0), 0) if window["type"] == "lookback" else 0


def experiment(
    case: Mapping[str, Any],
    rows: list[dict[str, Any]],
    key: str,
    readings: Mapping[str, Reading],
    stream_time_ms: int,
    later: int,
) -> Experiment:
    """The stream in the order of the file, and every lookup, read so much `later` (ms)."""
    arrivals = in_order(rows, "ts")
    probes = []
    for number, lookup in enumerate(case["lookups"]):
        only(lookup, "key at expect", "a lookup")
        at = lookup["at"]
        at_us = (stream_time_ms if at == "stream_time" else as_ms(at, "an instant")) * MS
        at_us += later * MS
        for name, expected in lookup["expect"].items():
            if name in readings:
                where = f"lookup {number} ({lookup['key']} at {at}), {name}"
                after = seen_by(arrivals, at_us)
                probes.append(Probe(where, name, (lookup["key"],), at_us, after, expected))
    names = [name for name in rows[0] if name != "ts"]
    return Experiment(
        columns={name: type_of([row[name] for row in rows], name) for name in names},
        keys=(key,),
        arrivals=arrivals,
        readings=readings,
        probes=probes,
        of_history=True,
        rel_tol=case.get("rel_tol", 1e-9),
        abs_tol=case.get("abs_tol", 1e-9),
    )
