"""Reading a served log by instants: which rows, which columns, and which files are not touched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from tegula.schemas.errors import TableFileLost
from tegula.schemas.types import Timestamp, list_of, map_of
from tegula.state.served import APPLIED, ServedTable, served_services
from tegula.state.served_columns import from_logged, logged_type

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000
START_US = 1_714_564_800_000_000  # 2024-05-01T12:00:00Z


def answers(*served_us: int, **columns: pl.Series) -> pl.DataFrame:
    count = len(served_us)
    at = [EPOCH + timedelta(microseconds=us) for us in served_us]
    return pl.DataFrame(
        {
            "_served": pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            "_as_of": pl.Series([None] * count, dtype=pl.Datetime("us", "UTC")),
            **{name: pl.Series([1] * count) for name in ("_version", "_catalogue")},
            "_trace_id": ["ab" * 16] * count,
            "_writer": ["w"] * count,
            "_sequence": pl.Series(range(count), dtype=pl.Int64),
            **{name: pl.Series([0] * count) for name in ("_row", "_latency_us")},
            "_request": pl.Series([None] * count, dtype=pl.String),
            "_applied": pl.Series(pa.nulls(count, APPLIED)),
            "a:n": pl.Series([us - START_US for us in served_us]),
            **columns,
        }
    )


def read(table: ServedTable, first_us: int | None, last_us: int) -> list[int]:
    found = [rows["a:n"].to_list() for rows in table.between(first_us, last_us, ["a:n"])]
    return sorted(value for values in found for value in values)


@pytest.fixture
def table(tmp_path: Path) -> ServedTable:
    """Answers of three days, in a file a day."""
    table = ServedTable(tmp_path, "fraud", writer="w")
    days = [START_US + day * DAY_US for day in range(3)]
    table.append([answers(*(day + us for day in days for us in (-1, 0, 1)))], 9)
    return table


def test_rows_between_instants_are_read_edges_included(table):
    assert read(table, None, START_US) == [-1, 0]
    assert read(table, START_US, START_US + DAY_US) == [0, 1, DAY_US - 1, DAY_US]
    assert read(table, START_US + 1, START_US + 1) == [1]
    assert read(table, START_US + 2, START_US + 3) == []
    assert read(table, None, 2**62) == read(table, -(2**62), 2**62)
    assert (table.count(), table.count(START_US, START_US), table.count(None, 0)) == (9, 3, 0)


def test_files_of_other_days_are_not_read(table, tmp_path):
    (file,) = (tmp_path / "served/fraud/_date=2024-05-02").iterdir()
    file.unlink()
    assert read(table, None, START_US) == [-1, 0]
    assert read(table, START_US + 2 * DAY_US, 2**62) == [2 * DAY_US, 2 * DAY_US + 1]
    with pytest.raises(TableFileLost):
        read(table, START_US, START_US + DAY_US)


def test_columns_of_other_types_come_with_those_that_are_asked_for(table):
    text = {"a:n": pl.Series(["x"]), "a:n:status": pl.Series(["PRESENT"])}
    table.append([answers(START_US + 3 * DAY_US, **text)], 10)
    table.refresh()
    (rows,) = table.between(START_US + 3 * DAY_US, 2**62, ["a:n"])
    assert rows.select("a:n", "a:n:String").rows() == [(None, "x")]
    assert "a:n:status" not in rows.columns


def test_services_are_those_with_a_log(table, tmp_path):
    (tmp_path / "served" / "empty").mkdir()
    assert served_services(tmp_path) == ("fraud",)
    assert served_services(tmp_path / "elsewhere") == ()


@pytest.mark.parametrize("dtype", [map_of(Timestamp), map_of(list_of(Timestamp))])
def test_instants_inside_of_maps_are_read_from_their_text(dtype):
    at, text = datetime(2024, 5, 1, 12, microsecond=5, tzinfo=UTC), "2024-05-01T12:00:00.000005Z"
    nested = dtype.item is not None and dtype.item.item is not None
    logged = [{"x": [text, None] if nested else text, "y": None}, None, {}]
    values = from_logged(pl.Series("v", logged, dtype=logged_type(dtype)), dtype)
    assert values.dtype == dtype.polars
    assert values.to_list() == [{"x": [at, None] if nested else at, "y": None}, None, {}]
