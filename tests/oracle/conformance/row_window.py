"""`row_window`: an output row for each row of table 0, windows evaluated at that row.

A row is an event, an output row a reading at its instant just after it came (`include_instant`,
so that itself and rows of the same time before it count) or, where the current row is excluded,
just before. Which windows of ours its frames are, `row_frames` says. Tables that are history only
go into the same log; the view's `where` picks those of the window.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

import tegula as tg
from tegula.schemas.types import DataType

from . import values
from .experiment import (
    MS,
    Arrival,
    Experiment,
    Needs,
    Probe,
    Reading,
    Translation,
    only,
    rows_of,
    with_text_keys,
)
from .row_frames import Frame, frame_of

SEMANTICS = (
    "output order time_ms rows current_row exclude_other_rows_at_same_time keep_latest_rows "
    "history_also_from_tables history_excludes_table_0 first_value nulls float"
)
TABLE = "from_table"
TYPES: Mapping[str, DataType] = {
    "bool": tg.Bool,
    "smallint": tg.Int64,
    "int": tg.Int64,
    "bigint": tg.Int64,
    "float": tg.Float64,
    "double": tg.Float64,
    "string": tg.String,
    "date": tg.String,
    "timestamp": tg.Timestamp.of("us"),
}
PREDICATE = re.compile(
    r"\s*(\w+)\s*(<=|>=|!=|<>|==|=|<|>)\s*('[^']*'|-?\d+(?:\.\d+)?|true|false)\s*"
)
FILTERED = {"count_where": "count", "sum_where": "sum", "avg_where": "avg", "min_where": "min",
            "max_where": "max"}  # fmt: skip


def translate(case: Mapping[str, Any], file: Mapping[str, Any]) -> Translation:
    """Experiments of one case: outputs over the same partition, order and history together."""
    only(case, "id path case spec tables expected origin note", "a case")
    only(case["spec"], "outputs windows", "a spec")
    done = Translation()
    tables = [rows_of(table) for table in case["tables"]]
    row_count = sum(map(len, tables))
    types = {column["name"]: column["type"] for column in case["tables"][0]["columns"]}
    together: dict[tuple[Any, ...], list[tuple[Mapping[str, Any], Frame]]] = {}
    for output in case["spec"]["outputs"]:
        if "column" in output:
            only(output, "name column", "an output")
            continue
        try:
            only(output, "name agg args window", "an output")
            frame = frame_of(case["spec"]["windows"][output["window"]], row_count)
            check(tables, types, frame)
            reading_of(output, frame, types)
        except Needs as need:
            done.need(str(need))
            continue
        alike = (frame.keys, frame.order_by, frame.tables, frame.ours.after_current)
        together.setdefault(alike, []).append((output, frame))
    for outputs in together.values():
        done.experiments.append(experiment(case, tables, types, outputs))
    return done


def check(tables: Sequence[Any], types: Mapping[str, str], frame: Frame) -> None:
    """`Needs` for partitions and orders that our keys and event times cannot be."""
    if types[frame.order_by] not in ("timestamp", "bigint", "int", "smallint"):
        raise Needs(f"an event time of type {types[frame.order_by]}")
    for key in frame.keys:
        if any(row[key] is None for table in (0, *frame.tables) for row in tables[table]):
            raise Needs("null as a key")
    for table in (0, *frame.tables):
        if any(row[frame.order_by] is None for row in tables[table]):
            raise Needs("an event without an event time")
    if not frame.keys:
        raise Needs("a window over all keys")


def reading_of(output: Mapping[str, Any], frame: Frame, types: Mapping[str, str]) -> Reading:
    """An output of the case, read from features of ours."""
    name, args = output["agg"], list(output["args"])
    where = None
    if name in FILTERED:
        name, where = FILTERED[name], predicate(args.pop(), types)
    if len(args) != 1:
        raise Needs(f"the aggregate {name} of {len(args)} columns")
    column = args[0]
    make = values.with_current if frame.ours.is_apart else values.reading
    if column == "*":
        return make(name, None, frame.ours.window, where=where)

    def convert(value: Any) -> Any:
        ours_are_us = types[column] == "timestamp" and name in ("min", "max", "first_value")
        return value // MS if ours_are_us else value

    if name == "first_value":  # of the newest row, by the file's semantics
        return values.newest_value(column, frame.ours.window, frame.ours.is_apart, convert)
    return make(name, column, frame.ours.window, where=where, convert=convert)


def predicate(text: str, types: Mapping[str, str]) -> pl.Expr:
    """A comparison such as `c2<4` or `c9='true'` as an expression."""
    found = PREDICATE.fullmatch(text)
    if found is None or found[1] not in types:
        raise Needs(f"the predicate {text!r}")
    column, sign, given = pl.col(found[1]), found[2], found[3]
    if types[found[1]] == "timestamp":
        raise Needs(f"the predicate {text!r} over an instant")
    value: Any
    if given.startswith("'"):
        value = given[1:-1]
    elif given in ("true", "false"):
        value = given == "true"
    else:
        value = float(given) if "." in given else int(given)
    compared: pl.Expr = {
        "<": column < value,
        "<=": column <= value,
        ">": column > value,
        ">=": column >= value,
        "=": column == value,
        "==": column == value,
        "!=": column != value,
        "<>": column != value,
    }[sign]
    return compared


def experiment(
    case: Mapping[str, Any],
    tables: Sequence[Sequence[Mapping[str, Any]]],
    types: Mapping[str, str],
    outputs: Sequence[tuple[Mapping[str, Any], Frame]],
) -> Experiment:
    """The rows in order of time, history before rows of table 0 at the same time, and readings."""
    frame = outputs[0][1]
    placed = sorted(
        (row[frame.order_by], table == 0, table, place)
        for table in {0, *frame.tables}
        for place, row in enumerate(tables[table])
    )
    columns = {name: TYPES[type_] for name, type_ in types.items()}
    arrivals: list[Arrival] = []
    after: dict[int, int] = {}
    for number, (at_ms, _, table, place) in enumerate(placed):
        row = {**in_us(tables[table][place], types), TABLE: table}
        arrivals.append(Arrival(at_ms * MS, at_ms * MS, row))
        if table == 0:
            after[place] = number + frame.ours.after_current
    probes = []
    for place, row in matched(case, tables[0]):
        given = tables[0][place]
        key = tuple(in_us(given, types)[name] for name in frame.keys)
        for output, one in outputs:
            name = output["name"]
            where = f"row {place} ({given[frame.order_by]}), {name}"
            at_us = (given[frame.order_by] - one.ours.earlier_ms) * MS
            probes.append(Probe(where, name, key, at_us, after[place], row[name]))
    made = Experiment(
        columns={**columns, TABLE: tg.Int64},
        keys=frame.keys,
        arrivals=arrivals,
        readings={output["name"]: reading_of(output, one, types) for output, one in outputs},
        probes=probes,
        where=pl.col(TABLE).is_in(list(frame.tables)) if len(tables) > 1 else None,
        beside=pl.col(TABLE) == 0,
        rel_tol=1e-5,
        abs_tol=1e-9,
    )
    return with_text_keys(made)


def in_us(row: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """The row with its instants in µs, as we count them."""
    return {
        name: value * MS if types.get(name) == "timestamp" and value is not None else value
        for name, value in row.items()
    }


def matched(
    case: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each row of table 0 with its expected output row, found by the columns taken over as is."""
    plain = {o["name"]: o["column"] for o in case["spec"]["outputs"] if "column" in o}
    left = list(enumerate(rows))
    expected = rows_of(case["expected"])
    if len(expected) != len(rows):
        raise Needs(f"{len(expected)} output rows for {len(rows)} rows")
    for one in expected:
        for number, (place, row) in enumerate(left):
            if all(alike(one[name], row[column]) for name, column in plain.items()):
                del left[number]
                yield place, one
                break
        else:
            raise Needs(f"the row of table 0 that the output row {one!r} belongs to")


def alike(one: Any, other: Any) -> bool:
    """Equal, floats as far as 32 bits can say."""
    if isinstance(one, float) and isinstance(other, int | float):
        return abs(one - other) <= 1e-5 * max(abs(one), abs(other))
    return bool(one == other)
