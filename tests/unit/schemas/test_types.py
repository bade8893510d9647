from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from tegula.schemas.types import (
    TYPES,
    Bool,
    DataType,
    Float64,
    Int64,
    List,
    String,
    Timestamp,
    accepts_value,
    list_of,
    map_of,
    type_of_polars,
)


@pytest.mark.parametrize("dtype", TYPES.values(), ids=str)
def test_type_has_one_form_in_frames_and_tables(dtype):
    column = pl.Series("x", [], dtype=dtype.polars)
    assert type_of_polars(column.dtype) == dtype
    assert pa.table({"x": pa.array([], dtype.arrow)}).schema.field("x").type == dtype.arrow
    assert pl.from_arrow(pa.array([], dtype.arrow)).dtype == dtype.polars


@pytest.mark.parametrize(
    "dtype", [list_of(Timestamp), List(Int64), map_of(Float64), map_of(list_of(Int64))], ids=str
)
def test_type_of_several_values_has_one_form_in_frames_and_tables(dtype):
    assert pl.from_arrow(pa.array([], dtype.arrow)).dtype == dtype.polars


def test_timestamp_of_a_unit_is_the_same_in_frames():
    assert Timestamp.of("ms").polars == Timestamp.polars
    assert Timestamp.of("ms").kind == "time"
    assert Timestamp.of("ms") != Timestamp


NOT_LISTS = [List(Timestamp), List(List(String)), List(Int64.of("s")), List(str), List(pl.col("x"))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "dtype",
    [
        Timestamp.of("ns"),
        Float64.of("s"),
        DataType("Decimal"),
        map_of(Int64),
        DataType("List"),
        DataType("List", "ms", String),
        *NOT_LISTS,
    ],
    ids=repr,
)
def test_type_that_a_column_cannot_have_is_not_known(dtype):
    assert not dtype.known


@pytest.mark.parametrize("item", [String, Int64, Float64, Bool], ids=str)
def test_column_may_hold_lists_of_plain_values(item):
    assert List(item).known
    assert List(item) == list_of(item)
    assert List(item).kind == "list"


@pytest.mark.parametrize("dtype", [pl.UInt64, pl.Date, pl.Binary, pl.Datetime("us"), pl.Null])
def test_polars_type_without_lossless_widening_has_no_type_here(dtype):
    assert type_of_polars(pl.Series([], dtype=dtype).dtype) is None


@pytest.mark.parametrize(
    ("dtype", "value", "accepted"),
    [
        (String, "a", True),
        (String, 1, False),
        (Int64, 2**63 - 1, True),
        (Int64, 2**63, False),
        (Int64, True, False),
        (Int64, 1.0, False),
        (Float64, 1, True),
        (Float64, True, False),
        (Bool, True, True),
        (Bool, 1, False),
        (Timestamp, 0, True),
        (list_of(Int64), [1, 2], True),
        (list_of(Int64), {"a": 1}, False),
        (map_of(Float64), {}, True),
        (map_of(Float64), {"a": 1.5}, True),
        (map_of(Float64), {1: 1.5}, False),
        (map_of(Float64), {"a": "b"}, False),
        (map_of(Float64), [1.5], False),
        (map_of(list_of(Int64)), {"a": [1]}, True),
    ],
)
def test_value_is_accepted_only_for_its_type(dtype, value, accepted):
    assert accepts_value(dtype, value) is accepted
