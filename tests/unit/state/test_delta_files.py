"""Data files: statistics that Delta's readers can rely on, and names that need no escaping."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, Schema

from tegula.schemas.errors import TableFileLost
from tegula.state.delta_files import Part, Statistics, read_rows, write_file
from tegula.state.lake import LocalLake

ROWS = pl.DataFrame(
    {
        "n": [3, None, -(2**63)],
        "x": [0.5, float("nan"), -1.0],
        "text": ["b", None, None],
        "at": [datetime(1, 1, 1, tzinfo=UTC), None, datetime(2024, 5, 1, 1, 2, 3, 4, tzinfo=UTC)],
        "day": [date(2024, 1, 1), date(999, 1, 2), None],
        "flag": [True, None, False],
    }
)


def statistics(rows: pl.DataFrame) -> dict[str, object]:
    """What is gathered from the rows one by one."""
    found = Statistics(rows)
    for row in rows.iter_slices(1):
        found.add(row)
    return found.as_dict()


def test_statistics_bound_what_has_an_order_and_count_nulls() -> None:
    assert statistics(ROWS) == {
        "numRecords": 3,
        "minValues": {
            "n": -(2**63),
            "x": -1.0,
            "at": "0001-01-01T00:00:00.000000Z",
            "day": "0999-01-02",
        },
        "maxValues": {
            "n": 3,
            "x": 0.5,
            "at": "2024-05-01T01:02:03.000004Z",
            "day": "2024-01-01",
        },
        "nullCount": {"n": 1, "x": 0, "text": 2, "at": 1, "day": 1, "flag": 1},
    }


def test_statistics_leave_out_bounds_that_json_cannot_say() -> None:
    endless = pl.DataFrame({"x": [float("inf"), float("-inf")], "none": [None, None]})
    found = statistics(endless)
    assert (found["minValues"], found["maxValues"]) == ({}, {})


def test_file_is_found_by_delta_whatever_its_partition_is_called(tmp_path: Path) -> None:
    columns = pl.DataFrame(schema={"p": pl.String, **ROWS.schema}).to_arrow().schema
    table = DeltaTable.create(str(tmp_path), Schema.from_arrow(columns), partition_by=["p"])
    name = "import-a b/c=ü%[*]?"
    added = write_file(LocalLake(tmp_path), Part({"p": name}, ROWS))
    table.create_write_transaction([added], "append", table.schema(), partition_by=["p"])
    read = pl.read_delta(str(tmp_path))
    assert read["p"].unique().to_list() == [name]
    assert read.select(ROWS.columns).equals(ROWS, null_equal=True)
    (rows,) = read_rows(LocalLake(tmp_path), added.path)
    assert rows.equals(ROWS)


def test_file_that_is_torn_is_a_named_error(tmp_path: Path) -> None:
    lake = LocalLake(tmp_path)
    name = write_file(lake, Part({}, ROWS)).path
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TableFileLost, match="damaged"):
        list(read_rows(lake, name))
    path.unlink()
    with pytest.raises(TableFileLost, match="gone"):
        list(read_rows(lake, name))
