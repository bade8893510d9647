"""`pit_over_mutable_rows`: a feature at an instant over rows that are corrected and moved.

Rows are events: each arrives when it is known, and a query is read before what is known at its
instant or later. One that is taken back is an event like it with sign -1 instead of 1: counts and
sums are then sums of what is signed, a mean the ratio of two of them. A snapshot instead of the
rows before it must give the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from tegula import agg

from . import spans, values
from .experiment import (
    MS,
    Arrival,
    Experiment,
    Needs,
    Probe,
    Reading,
    Translation,
    as_ms,
    only,
    rows_of,
    type_of,
)

SIGN, SIGNS = "sign_of_row", {"insert": 1, "retract": -1}
SEMANTICS = "times visible window late_snapshots null"


def translate(case: Mapping[str, Any], file: Mapping[str, Any]) -> Translation:
    """An experiment from the first rows on, and one from each snapshot."""
    only(case, "id origin feature initial_rows changelog other_snapshots queries_expected note",
         "a case")  # fmt: skip
    only(case["feature"], "name agg column key window_ms", "a feature")
    done = Translation()
    snapshots = [case["initial_rows"], *case["other_snapshots"]]
    snapshots.sort(key=lambda one: one["state_as_of"])
    for number, snapshot in enumerate(snapshots):
        only(snapshot, "state_as_of columns rows", "a snapshot")
        until = snapshots[number + 1]["state_as_of"] if number + 1 < len(snapshots) else None
        try:
            # From the first rows on every query is answered; from a later snapshot those after it.
            if number:
                done.experiments.append(experiment(case, snapshot, snapshot["state_as_of"], until))
            else:
                done.experiments.append(experiment(case, snapshot, None, None))
        except Needs as need:
            done.need(str(need))
    return done


def experiment(
    case: Mapping[str, Any], snapshot: Mapping[str, Any], begin: int | None, end: int | None
) -> Experiment:
    """The snapshot's rows, the changes known since, and the queries in `(begin, end]`."""
    feature = case["feature"]
    changes = [
        change
        for change in sorted(case["changelog"], key=lambda change: change["known_at"])
        if begin is None or change["known_at"] >= begin
    ]
    for change in changes:
        if change["op"] not in SIGNS:
            raise Needs(f"a change of this kind: {change['op']}")
        only(change, "known_at op row", "a change")
    signed = any(change["op"] == "retract" for change in changes)
    loaded_us = snapshot["state_as_of"] * MS
    arrivals = [
        Arrival(as_ms(row["ts"], "ts") * MS, loaded_us, {**row, SIGN: 1})
        for row in rows_of(snapshot)
    ] + [
        Arrival(
            as_ms(change["row"]["ts"], "ts") * MS,
            max(loaded_us, change["known_at"] * MS),
            {**change["row"], SIGN: SIGNS[change["op"]]},
        )
        for change in changes
    ]
    probes = []
    for number, query in enumerate(rows_of(case["queries_expected"])):
        at_ms = query["query_ts"]
        if (begin is not None and at_ms <= begin) or (end is not None and at_ms > end):
            continue
        known = sum(change["known_at"] < at_ms for change in changes)
        after = len(arrivals) - len(changes) + known
        key = (query[feature["key"]],)
        where = f"query {number} ({key[0]} at {at_ms})"
        probes.append(Probe(where, feature["name"], key, at_ms * MS, after, query[feature["name"]]))
    rows = [arrival.row for arrival in arrivals]
    names = [*(name for name in snapshot["columns"] if name != "ts"), SIGN]
    window = spans.between(feature["window_ms"], "closed", "open")
    make = of_signed if signed else values.reading
    return Experiment(
        columns={name: type_of([row[name] for row in rows], name) for name in names},
        keys=(feature["key"],),
        arrivals=arrivals,
        readings={feature["name"]: make(feature["agg"], feature["column"], window)},
        probes=probes,
        of_history=True,
    )


def of_signed(name: str, column: str, window: Any) -> Reading:
    """An aggregate over rows of which some are taken back, each by one like it with sign -1."""
    value, sign = pl.col(column), pl.col(SIGN)
    there = value.is_not_null()
    count = agg.sum(SIGN, where=there).over(window)
    total = agg.sum(value * sign).over(window)
    if name == "count":
        return Reading({"count": count}, lambda found: found["count"])
    if name == "sum":
        parts = {"count": count, "sum": total}
        return Reading(parts, lambda found: found["sum"] if found["count"] else None)
    if name == "avg":
        mean = agg.ratio(value * sign, sign).over(window)
        return Reading({"mean": mean}, lambda found: found["mean"])
    raise Needs(f"rows that are taken back from {name}, which is no sum")
