"""Random `row_window` cases against their definition: the translation itself is held to account.

The expected values are worked out here from the file's rules, row by row; the cases then go through
translation and the three paths. What cannot be said is a finding and not compared.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.oracle import run
from tests.oracle.conformance import row_window
from tests.oracle.conformance.judge import judge

COLUMNS = (("id", "int"), ("k", "string"), ("v", "bigint"), ("ts", "timestamp"))
NAMES = tuple(name for name, _ in COLUMNS)
VALUES: Mapping[str, Any] = {
    "sum": sum,
    "min": min,
    "max": max,
    "avg": lambda values: sum(values) / len(values),
}

Row = Mapping[str, Any]


def in_frame(window: Mapping[str, Any], tables: Sequence[Sequence[Row]], place: int) -> list[Row]:
    """The rows of a window at row `place` of table 0, newest first, as the file defines them."""
    current = tables[0][place]
    sources = list(window.get("history_also_from_tables", ()))
    if not window.get("history_excludes_table_0"):
        sources.append(0)
    # Rows of one time: history first, then those of table 0 by insertion.
    others = [
        ((row["ts"], table == 0, table, number), row)
        for table in sources
        for number, row in enumerate(tables[table])
        if row["k"] == current["k"]
    ]
    before = sorted(
        (one for one in others if one[0] < (current["ts"], True, 0, place)), key=lambda one: one[0]
    )
    if window.get("exclude_other_rows_at_same_time"):
        before = [one for one in before if one[0][0] != current["ts"]]
    found = []
    for number, row in enumerate([current, *(row for _, row in reversed(before))]):
        back = current["ts"] - row["ts"] if window["frame"] == "time_ms" else number
        oldest, oldest_in = edge(window["from"])
        newest, newest_in = edge(window["to"])
        is_in = oldest is None or back < oldest or (oldest_in and back == oldest)
        is_in &= back > newest or (newest_in and back == newest)
        if is_in and not (number == 0 and window.get("exclude_current_row")):
            found.append(row)
    return found[: window.get("keep_latest_rows")]


def edge(side: Any) -> tuple[Any, bool]:
    """How far back an edge lies (None: without end), and whether it is in."""
    if isinstance(side, str):
        return (0 if side == "current_row" else None), True
    return side["preceding"], side["inclusive"]


def value(aggregate: str, rows: Sequence[Row]) -> Any:
    """The value of column `v` over rows, newest first."""
    if aggregate == "first_value":
        return rows[0]["v"] if rows else None
    values = [row["v"] for row in rows if row["v"] is not None]
    if aggregate in ("count", "distinct_count"):
        return len(values if aggregate == "count" else set(values))
    return VALUES[aggregate](values) if values else None


def drawn(chance: random.Random) -> dict[str, Any]:
    """A case with tables, windows and outputs by chance."""
    tables = [
        [
            (100 * table + n, chance.choice("aab"), chance.choice([None, *range(1, 9)]),
             100_000_000 + chance.randint(0, 8))
            for n in range(chance.randint(2, 7))
        ]
        for table in range(chance.choice([1, 1, 2, 3]))
    ]  # fmt: skip
    windows = {f"w{n}": drawn_window(chance, len(tables)) for n in range(8)}
    aggregates = [*VALUES, "count", "distinct_count", "first_value"]
    outputs = [{"name": "id", "column": "id"}]
    outputs += [
        {"name": f"o_{name}", "agg": chance.choice(aggregates), "args": ["v"], "window": name}
        for name in windows
    ]
    rows = [[dict(zip(NAMES, row, strict=True)) for row in table] for table in tables]
    expected = [
        [
            row["id"] if "column" in o else value(o["agg"], in_frame(windows[o["window"]], rows, n))
            for o in outputs
        ]
        for n, row in enumerate(rows[0])
    ]
    columns = [{"name": name, "type": type_} for name, type_ in COLUMNS]
    return {
        "id": "drawn",
        "spec": {"outputs": outputs, "windows": windows},
        "tables": [{"columns": columns, "rows": table} for table in tables],
        "expected": {"columns": [one["name"] for one in outputs], "rows": expected},
    }


def drawn_window(chance: random.Random, table_count: int) -> dict[str, Any]:
    def side(most: int, name: str, share: float) -> Any:
        if chance.random() < share:
            return name
        return {"preceding": chance.randint(0, most), "inclusive": chance.random() < 0.6}

    window = {
        "partition_by": ["k"],
        "order_by": "ts",
        "frame": chance.choice(["time_ms", "rows"]),
        "from": side(5, "unbounded", 0.15),
        "to": side(3, "current_row", 0.5),
    }
    if chance.random() < 0.5:
        window["keep_latest_rows"] = chance.randint(1, 4)
    for name in ("exclude_current_row", "exclude_other_rows_at_same_time"):
        if chance.random() < 0.3:
            window[name] = True
    if table_count > 1:
        window["history_also_from_tables"] = list(range(1, table_count))
        window["history_excludes_table_0"] = chance.random() < 0.5
    return window


@pytest.mark.slow
def test_oracle_row_frames_are_translated_to_what_they_say(seed):
    chance = random.Random(seed)
    for _ in range(2):
        case = drawn(chance)
        file = {"kind": "row_window", "cases": [case]}
        result = judge("drawn", run.translated(row_window, case, file))
        assert result.verdict != "differs", (list(result.lines()), case)
        assert sum(result.value_counts.values()) > 0
