"""`asof_join`: for each left row the newest right row of its key at or before its time.

Right rows are events; what is taken from them is the newest value (null if that is null) in an
exact `sliding` window as long as the tolerance, or in `lifetime`. A right row that is known later
than it is dated arrives then, and the left row is read before.

The origin's infinite times are told by their order alone: an instant before, or after, all others
stands for each. A left row without a time has nothing before it: nothing is asked for, and the case
must expect nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tegula as tg
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
    seen_by,
    type_of,
    with_text_keys,
)

SEMANTICS = "times direction tolerance tie known_column how"
EVERYTHING = "everything"
FOUND = "(found)"
INFINITE = ("infinity", "-infinity")


def translate(case: Mapping[str, Any], file: Mapping[str, Any]) -> Translation:
    """One experiment: right rows as events, left rows as readings."""
    only(case, "id origin left right join take expected note", "a case")
    join = case["join"]
    only(
        join,
        "direction by allow_equal tolerance how left_time right_time tie tie_column known_column",
        "a join",
    )
    done = Translation()
    try:
        if join["direction"] != "backward":
            raise Needs(f"an as-of join that looks {join['direction']}, into the future")
        if join["how"] not in ("left", "inner"):
            raise Needs(f"an as-of join of the kind {join['how']}")
        done.experiments.append(experiment(case))
    except Needs as need:
        done.need(str(need))
    return done


def experiment(case: Mapping[str, Any]) -> Experiment:
    """Right rows in the order in which they are known, left rows at their times."""
    join = case["join"]
    times = stand_ins(case)
    left, right = rows_of(case["left"]), dated(rows_of(case["right"]), join, times)
    keys = tuple(join["by"]) or (EVERYTHING,)
    arrivals = arrivals_of(right, join)
    window = window_of(join)
    readings = {
        FOUND: Reading({"value": agg.count().over(window)}, lambda v: v["value"] > 0),
        **{name: taken(name, window) for name in case["take"]},
    }
    probes = []
    for place, row, expected in matched(case, left):
        at = row[join["left_time"]]
        if at is None:
            if expected is not None and any(expected[name] is not None for name in case["take"]):
                raise Needs("a value at no instant")
            continue
        at_us = as_ms(times.get(at, at), "a left time") * MS
        after = seen_by(arrivals, at_us)
        if join.get("known_column"):
            after = sum(arrival.known_us <= at_us for arrival in arrivals)
        key = tuple(row[name] for name in join["by"]) or (True,)
        where = f"left row {place} ({at})"
        if join["how"] == "inner":
            found = expected is not None
            probes.append(Probe(f"{where}, matches", FOUND, key, at_us, after, found))
        if expected is not None:
            probes += [
                Probe(f"{where}, {name}", name, key, at_us, after, expected[name])
                for name in case["take"]
            ]
    columns = {
        name: type_of([row[name] for row in right], name) for name in {*join["by"], *case["take"]}
    }
    if keys == (EVERYTHING,):
        columns[EVERYTHING] = tg.Bool
    return with_text_keys(Experiment(columns, keys, arrivals, readings, probes, of_history=True))


def stand_ins(case: Mapping[str, Any]) -> dict[Any, int]:
    """For each infinite time of a case, a finite one (ms) that is before or after all others."""
    join = case["join"]
    sides = [(case["left"], [join["left_time"]])]
    sides.append((case["right"], [n for n in (join["right_time"], join.get("known_column")) if n]))
    times = {row[name] for table, names in sides for row in rows_of(table) for name in names}
    infinite = times & {*INFINITE}
    if infinite and join["tolerance"] is not None:
        raise Needs("a distance to infinity")
    finite = [as_ms(time, "a time") for time in times - infinite - {None}] or [0]
    ends = {"infinity": max(finite) + 1, "-infinity": min(finite) - 1}
    return {name: ends[name] for name in infinite}


def dated(
    rows: Sequence[Mapping[str, Any]], join: Mapping[str, Any], times: Mapping[Any, int]
) -> list[Mapping[str, Any]]:
    """Right rows with what stands for their infinite times."""
    names = [name for name in (join["right_time"], join.get("known_column")) if name]
    return [{**row, **{name: times.get(row[name], row[name]) for name in names}} for row in rows]


def window_of(join: Mapping[str, Any]) -> Any:
    """Closed at the older side; at the newer one if equal times match."""
    end = "closed" if join["allow_equal"] else "open"
    return spans.between(join["tolerance"], "closed", end)


def taken(name: str, window: Any) -> Reading:
    """The newest value of a column, null if nothing matches or the newest is null."""
    newest = values.newest(name, window)
    return Reading(newest.features, lambda v: newest.of(v)[1])


def arrivals_of(right: Sequence[Mapping[str, Any]], join: Mapping[str, Any]) -> list[Arrival]:
    """Right rows as events, so that among those of one time the one that wins comes last.

    A row that is never known never comes; one without a time comes, and is no event.
    """
    time, known = join["right_time"], join.get("known_column")
    tie = join.get("tie", "last_row")
    rows = list(right)
    if tie == "largest":
        rows.sort(key=lambda row: row[join["tie_column"]])
    elif tie != "last_row":
        raise Needs(f"among right rows of one time the one that is {tie}")
    if known:
        rows = sorted((row for row in rows if row[known] is not None), key=lambda row: row[known])
    else:
        rows.sort(key=lambda row: (row[time] is not None, row[time] or 0))
    wanted = {*join["by"]}
    arrivals: list[Arrival] = []
    for row in rows:
        at_us = None if row[time] is None else as_ms(row[time], "a right time") * MS
        known_us = row[known] * MS if known else at_us
        if known_us is None:
            known_us = min((one[time] for one in rows if one[time] is not None), default=0) * MS
        content = {name: value for name, value in row.items() if name not in (time, known)}
        arrivals.append(
            Arrival(at_us, known_us, {**content, **({} if wanted else {EVERYTHING: True})})
        )
    return arrivals


def matched(
    case: Mapping[str, Any], left: Sequence[Mapping[str, Any]]
) -> list[tuple[int, Mapping[str, Any], Mapping[str, Any] | None]]:
    """Left rows with the row expected for each: None for one that an inner join drops."""
    expected = rows_of(case["expected"])
    found: list[tuple[int, Mapping[str, Any], Mapping[str, Any] | None]] = []
    for place, row in enumerate(left):
        for number, one in enumerate(expected):
            if all(one[name] == value for name, value in row.items() if name in one):
                found.append((place, row, expected.pop(number)))
                break
        else:
            found.append((place, row, None))
            if case["join"]["how"] == "left":
                raise Needs(f"the row expected for the left row {row!r}")
    if expected:
        raise Needs(f"the left row that belongs to {expected[0]!r}")
    return found
