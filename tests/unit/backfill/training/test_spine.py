"""Spines from whatever holds them, and their keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import sqlalchemy as sa

import tegula as tg
from tegula.backfill.training.spine import PIECE_ROWS, encoded_keys, open_spine
from tegula.schemas.errors import BadSpine
from tegula.state.keys import encode_key

ROWS = pl.DataFrame({"card_id": ["a", "b", "a"], "at": [1, 2, 1], "y": [True, None, True]})


def rows_of(given: Any, connection: Any = None) -> pl.DataFrame:
    return pl.concat(open_spine(given, connection).pieces())


@pytest.mark.parametrize(
    "make",
    [
        lambda: ROWS,
        lambda: ROWS.lazy(),
        lambda: ROWS.to_arrow(),
        lambda: ROWS.to_arrow().to_batches()[0],
        lambda: pa.RecordBatchReader.from_stream(ROWS),
        lambda: ROWS.to_arrow().to_pandas(),
    ],
    ids=["polars", "lazy", "table", "batch", "reader", "pandas"],
)
def test_frames_and_tables_give_their_rows_in_order(make):
    assert (
        rows_of(make()).select(pl.all().cast(pl.String)).rows()
        == ROWS.select(pl.all().cast(pl.String)).rows()
    )


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".csv", ".jsonl"])
def test_files_give_their_rows_in_order(tmp_path: Path, suffix):
    file = tmp_path / f"spine{suffix}"
    write = {
        ".parquet": ROWS.write_parquet,
        ".arrow": ROWS.write_ipc,
        ".csv": ROWS.write_csv,
        ".jsonl": ROWS.write_ndjson,
    }
    write[suffix](file)  # type: ignore[operator]
    assert rows_of(file).equals(ROWS)
    assert open_spine(str(file)).origin["path"] == str(file)


def test_delta_table_is_read_at_the_version_that_it_has(tmp_path: Path):
    ROWS.write_delta(tmp_path / "spine")
    spine = open_spine(tmp_path / "spine")
    ROWS.write_delta(tmp_path / "spine", mode="append")
    assert spine.origin["version"] == 0
    assert pl.concat(spine.pieces()).equals(ROWS)
    assert rows_of(tmp_path / "spine").height == 6


def test_query_gives_its_rows_in_order(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'labels.db'}"
    engine = sa.create_engine(url)
    ROWS.write_database("labels", engine)
    query = "SELECT card_id, at FROM labels ORDER BY at DESC"
    for connection in (url, engine):
        assert rows_of(query, connection)["at"].to_list() == [2, 1, 1]
    with pytest.raises(BadSpine, match="the query failed"):
        rows_of("SELECT nothing FROM nowhere", url)


def test_many_rows_come_in_pieces():
    many = pl.DataFrame({"at": range(PIECE_ROWS + 1)})
    assert [piece.height for piece in open_spine(many).pieces()] == [PIECE_ROWS, 1]
    lazy = [piece.height for piece in open_spine(many.lazy()).pieces()]
    assert (sum(lazy), max(lazy)) == (PIECE_ROWS + 1, PIECE_ROWS)


def test_pandas_with_mixed_zones_becomes_utc():
    pd = pytest.importorskip("pandas")
    berlin = datetime(2024, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    frame = pd.DataFrame({"at": pd.Series([noon, berlin, None], dtype=object)})
    assert rows_of(frame)["at"].to_list() == [noon, noon, None]
    naive = pd.DataFrame({"at": pd.Series([noon, datetime(2024, 5, 1)], dtype=object)})
    with pytest.raises(BadSpine, match="row 1"):
        rows_of(naive)


@pytest.mark.parametrize("given", [7, None, [ROWS], "nowhere.parquet"])
def test_anything_else_is_refused(given):
    with pytest.raises(BadSpine):
        rows_of(given)


def test_unreadable_file_is_named(tmp_path: Path):
    file = tmp_path / "spine.parquet"
    file.write_bytes(b"not parquet")
    with pytest.raises(BadSpine, match=r"cannot be read.*"):
        rows_of(file)


def encoded(frame: pl.DataFrame, **keys: tg.schemas.types.DataType) -> list[bytes | None]:
    return encoded_keys(frame, tuple(keys.items()), {}, None, 0).to_list()


def test_keys_are_encoded_as_serving_encodes_them():
    frame = pl.DataFrame({"s": ["a", None, "b"], "n": [1, 2, None]})
    assert encoded(frame, s=tg.String, n=tg.Int64) == [
        encode_key(("a", 1), ("string", "int")),
        None,
        None,
    ]
    small = pl.DataFrame({"n": pl.Series([7], dtype=pl.UInt8), "b": [True]})
    assert encoded(small, n=tg.Int64, b=tg.Bool) == [encode_key((7, True), ("int", "bool"))]
    at = pl.DataFrame({"t": ["1970-01-01T00:00:01Z", None]})
    assert encoded(at, t=tg.Timestamp) == [encode_key((1_000_000,), ("time",)), None]


def test_whole_floats_are_integers_as_pandas_keeps_them():
    assert encoded(pl.DataFrame({"n": [1.0, None]}), n=tg.Int64) == [
        encode_key((1,), ("int",)),
        None,
    ]
    with pytest.raises(BadSpine, match="another type"):
        encoded(pl.DataFrame({"n": [1.5]}), n=tg.Int64)


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        (pl.Series("k", [1]), tg.String),
        (pl.Series("k", ["1"]), tg.Int64),
        (pl.Series("k", [2**63], dtype=pl.UInt64), tg.Int64),
        (pl.Series("k", [1]), tg.Bool),
    ],
)
def test_keys_of_another_type_are_refused(column, dtype):
    with pytest.raises(BadSpine, match="another type in the spine"):
        encoded(column.to_frame(), k=dtype)


def test_a_key_may_have_another_name_in_the_spine():
    frame = pl.DataFrame({"card": ["a"]})
    found = encoded_keys(frame, (("card_id", tg.String),), {"card_id": "card"}, None, 0)
    assert found.to_list() == [encode_key(("a",), ("string",))]
