"""Which rows a source has, in which chunks and order."""

from __future__ import annotations

import gzip

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from tegula.backfill.imports import sources
from tegula.backfill.imports.queries import query_source
from tegula.backfill.imports.sources import open_source
from tegula.schemas.errors import BadRequest


def rows(source):
    found = []
    for chunk in source.chunks:
        for part in chunk.read():
            found += part.rows(named=True) if isinstance(part, pl.DataFrame) else part
    return found


def numbers(source):
    return [row["n"] for row in rows(source)]


def write(path, *values, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"n": values}).write_parquet(path, **more)


def test_parquet_files_are_read_in_order_of_paths_by_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_ROWS", 2)
    write(tmp_path / "b.parquet", 4, 5)
    write(tmp_path / "a.parquet", 1, 2, 3, row_group_size=1)
    write(tmp_path / "deep/c.parquet", 6)
    write(tmp_path / "_tmp/d.parquet", 7)
    source = open_source(str(tmp_path), {})
    assert numbers(source) == [1, 2, 3, 4, 5, 6]
    assert [chunk.rows for chunk in source.chunks] == [2, 1, 2, 1]
    assert (source.rows, source.columns) == (6, ("n",))
    assert numbers(open_source(str(tmp_path / "*.parquet"), {})) == [1, 2, 3, 4, 5]
    assert numbers(open_source(str(tmp_path / "**/c.parquet"), {})) == [6]
    assert numbers(open_source(str(tmp_path / "**/*.parquet"), {})) == [1, 2, 3, 4, 5, 6]
    assert numbers(open_source(str(tmp_path / "_tmp/*.parquet"), {})) == [7]
    assert numbers(open_source(f"file://{tmp_path}/b.parquet", {})) == [4, 5]
    assert numbers(open_source(f"file://{tmp_path}/*.parquet", {})) == [1, 2, 3, 4, 5]


def test_files_may_lack_columns_that_others_have(tmp_path):
    write(tmp_path / "a.parquet", 1)
    pl.DataFrame({"n": [2.5], "k": ["x"]}).write_parquet(tmp_path / "b.parquet")
    found = rows(open_source(str(tmp_path), {}))
    assert found == [{"n": 1.0, "k": None}, {"n": 2.5, "k": "x"}]


def test_folders_named_by_values_are_columns(tmp_path):
    write(tmp_path / "day=2/a.parquet", 1)
    write(tmp_path / "day=1/a.parquet", 2)
    assert rows(open_source(str(tmp_path), {})) == [{"n": 2, "day": 1}, {"n": 1, "day": 2}]


def test_mark_changes_with_the_files(tmp_path):
    write(tmp_path / "a.parquet", 1)
    first = open_source(str(tmp_path), {}).mark
    assert open_source(str(tmp_path), {}).mark == first
    write(tmp_path / "b.parquet", 2)
    assert open_source(str(tmp_path), {}).mark != first


def test_delta_tables_are_read_in_their_newest_version(tmp_path):
    place = str(tmp_path / "table")
    frame = pl.DataFrame({"n": [1, 2], "day": ["a", "b"]})
    write_deltalake(place, frame.to_arrow(), partition_by=["day"])
    first = open_source(place, {})
    write_deltalake(place, frame.head(1).to_arrow(), mode="append")
    DeltaTable(place).delete("n = 2")
    assert sorted(numbers(first)) == [1, 2]
    second = open_source(place, {})
    assert rows(second) == [{"n": 1, "day": "a"}] * 2
    assert first.mark != second.mark
    assert rows(open_source(f"file://{place}/", {})) == rows(second)


def test_csv_is_text_and_lines_that_are_no_rows_are_kept(tmp_path):
    (tmp_path / "a.csv").write_text('n,k\n1,"x,\ny"\n2\n,""\n')
    with gzip.open(tmp_path / "b.csv.gz", "wt") as file:
        file.write("k,n\nz,3\n")
    source = open_source(str(tmp_path), {})
    found = rows(source)
    assert source.is_text
    assert source.columns == ("n", "k")
    assert found == [{"n": "1", "k": "x,\ny"}, {"n": None, "k": ""}, b"2", {"k": "z", "n": "3"}]


def test_json_lines_are_records_already(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\r\n\n \n{"n":')
    assert rows(open_source(str(tmp_path / "a.jsonl"), {})) == [b'{"n": 1}\r', b'{"n":']


def test_queries_run_over_files_and_databases(tmp_path):
    write(tmp_path / "a.parquet", 1, 2, 3)
    source = query_source(f"SELECT n * 2 AS n FROM '{tmp_path}/*.parquet' WHERE n > 1;", None)
    assert numbers(source) == [4, 6]
    assert source.columns == ("n",)
    place = str(tmp_path / "w.duckdb")
    with duckdb.connect(place) as database:
        database.execute("CREATE TABLE t AS SELECT range AS n FROM range(3)")
    assert numbers(query_source("SELECT * FROM t ORDER BY n", place)) == [0, 1, 2]


def test_query_is_given_the_instant_since_when(tmp_path):
    query = "SELECT n FROM (VALUES (TIMESTAMPTZ '2024-05-01 12:00:00.000001Z', 1), (TIMESTAMPTZ"
    query += " '2024-05-01 12:00:00Z', 2)) t(seen, n) WHERE seen > $since ORDER BY n"
    assert numbers(query_source(query, None, 1_714_564_800_000_000)) == [1]
    assert numbers(query_source(query, None)) == [1, 2]


@pytest.mark.parametrize(
    ("place", "message"),
    [("nothing/*.parquet", "nothing there"), ("x.txt", "nothing there"), ("mixed", "several")],
)
def test_what_cannot_be_imported_is_named(tmp_path, place, message):
    (tmp_path / "x.txt").write_text("x")
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed/a.csv").write_text("n\n")
    (tmp_path / "mixed/a.jsonl").write_text("")
    with pytest.raises(BadRequest, match=message):
        open_source(str(tmp_path / place), {})


def test_damaged_files_and_wrong_queries_are_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BadRequest, match="Parquet"):
        open_source(str(tmp_path / "a.parquet"), {})
    (tmp_path / "a.csv").write_bytes(b"")
    with pytest.raises(BadRequest, match="CSV"):
        open_source(str(tmp_path / "a.csv"), {})
    with pytest.raises(BadRequest, match="DuckDB does not take"):
        query_source("SELECT nothing FROM nowhere", None)
    with pytest.raises(BadRequest, match="no such DuckDB database"):
        query_source("SELECT 1", str(tmp_path / "none.duckdb"))
