"""`trailing_feed`: what a trailing window holds at each instant at which that changes.

It changes when an event comes and when one leaves, with no event; ours is evaluated when it is
read, so it is read at exactly these instants.
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
    Translation,
    as_ms,
    in_order,
    only,
    rows_of,
    seen_by,
    type_of,
)

SEMANTICS = "window feed dedupe"


def translate(case: Mapping[str, Any], file: Mapping[str, Any]) -> Translation:
    """One experiment: `(at - size, at]`, read whenever it changes."""
    only(case, "id origin size events expected note", "a case")
    done = Translation()
    rows = rows_of(case["events"])
    arrivals = in_order(rows, "ts")
    window = spans.between(as_ms(case["size"], "a size"), "open", "closed")
    changes = {(row["key"], row["ts"] + later) for row in rows for later in (0, case["size"])}
    expected = {(one["key"], one["at"]): one["values"] for one in rows_of(case["expected"])}
    if expected.keys() != changes:
        done.need("other instants than those at which an event comes or leaves")
    try:
        reading = values.collected("value", window, len(rows))
    except Needs as need:
        done.need(str(need))
        return done
    probes = [
        Probe(f"{key} at {at}", "values", (key,), at * MS, seen_by(arrivals, at * MS), held)
        for (key, at), held in expected.items()
    ]
    columns = {name: type_of([row[name] for row in rows], name) for name in ("key", "value")}
    done.experiments.append(Experiment(columns, ("key",), arrivals, {"values": reading}, probes))
    return done
