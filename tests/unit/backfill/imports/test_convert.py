"""Rows elsewhere become records as a push would send them."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import orjson
import polars as pl
import pytest

from tegula.backfill.imports.convert import Converter
from tegula.schemas.errors import BadRequest
from tegula.schemas.types import Bool, Float64, Int64, List, String, Timestamp

SCHEMA = {"k": String, "x": Float64, "n": Int64, "b": Bool, "at": Timestamp}


def records(rows, schema=SCHEMA, mapping=None, *, text=False):
    columns = None if isinstance(rows, list) else rows.columns
    converter = Converter(schema, "at", mapping or {}, columns, is_text=text)
    return [orjson.loads(one) for one in converter.payloads(rows)]


def test_columns_are_written_as_a_push_would():
    frame = pl.DataFrame(
        {
            "k": ["a\n", None],
            "x": pl.Series([1.5, float("nan")], dtype=pl.Float32),
            "n": pl.Series([1, 2], dtype=pl.UInt8),
            "b": [True, None],
            "at": [datetime(2024, 5, 1, 12, 0, 0, 5), None],
            "other": [1, 2],
        }
    )
    assert records(frame) == [
        {"k": "a\n", "x": 1.5, "n": 1, "b": True, "at": "2024-05-01T12:00:00.000005Z"},
        {"k": None, "x": None, "n": 2, "b": None, "at": None},
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series([datetime(2024, 5, 1, 12)], dtype=pl.Datetime("ns")), "2024-05-01T12:00:00"),
        (pl.Series([datetime(2024, 5, 1, 12)], dtype=pl.Datetime("ms")), "2024-05-01T12:00:00"),
        (
            pl.Series([datetime(2024, 5, 1, 10)])
            .dt.replace_time_zone("UTC")
            .dt.convert_time_zone("Europe/Berlin"),
            "2024-05-01T10:00:00",
        ),
        (pl.Series([date(2024, 5, 1)]), "2024-05-01T00:00:00"),
    ],
)
def test_instants_are_utc(values, expected):
    (record,) = records(pl.DataFrame({"at": values}), {"at": Timestamp})
    assert record == {"at": f"{expected}.000000Z"}


def test_instants_of_a_unit_are_whole_or_shown_as_they_are():
    at = pl.Series("at", [datetime(2024, 5, 1), datetime(2024, 5, 1, 0, 0, 0, 1_500), None])
    made = records(at.to_frame(), {"at": Timestamp.of("ms")})
    assert made == [
        {"at": 1_714_521_600_000},
        {"at": "2024-05-01T00:00:00.001500Z"},
        {"at": None},
    ]


def test_decimals_and_categories_become_numbers_and_texts():
    frame = pl.DataFrame(
        {"x": [Decimal("1.25")], "k": pl.Series(["a"], dtype=pl.Categorical), "at": ["t"]}
    )
    assert records(frame) == [{"k": "a", "x": 1.25, "at": "t"}]


def test_text_is_read_as_the_types_say_and_what_does_not_fit_is_shown():
    frame = pl.DataFrame(
        {
            "k": ["1", None, "x"],
            "x": ["1.5", "1e3", "much"],
            "n": ["7", "7.5", "-1"],
            "b": ["TRUE", "false", "1"],
            "at": ["2024-05-01 12:00:00", "2024-05-01", "2024-05-01 12:00:00+02:00"],
        }
    )
    first, second, third = records(frame, text=True)
    assert first == {"k": "1", "x": 1.5, "n": 7, "b": True, "at": "2024-05-01T12:00:00Z"}
    assert second == {"k": None, "x": 1000.0, "n": "7.5", "b": False, "at": "2024-05-01T00:00:00Z"}
    assert third == {"k": "x", "x": "much", "n": -1, "b": "1", "at": "2024-05-01T12:00:00+02:00"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01", "2024-05-01T00:00:00Z"),
        ("2024-05-01 12:00:00", "2024-05-01T12:00:00Z"),
        ("2024-05-01T12:00:00.5", "2024-05-01T12:00:00.5Z"),
        (" 2024-05-01T12:00:00Z ", "2024-05-01T12:00:00Z"),
        ("2024-05-01 12:00:00 UTC", "2024-05-01T12:00:00Z"),
        ("2024-05-01 12:00:00.25+02", "2024-05-01T12:00:00.25+02:00"),
        ("2024-05-01T12:00:00-0330", "2024-05-01T12:00:00-03:30"),
        ("2024-05-01 12:00:00+05:45", "2024-05-01T12:00:00+05:45"),
        ("May 1", "May 1"),
        (None, None),
    ],
)
def test_instants_of_text_may_lack_a_zone_or_write_it_otherwise(text, expected):
    frame = pl.DataFrame({"at": [text]}, schema={"at": pl.String})
    assert records(frame, {"at": Timestamp}, text=True) == [{"at": expected}]


def test_what_is_not_finite_in_text_is_no_number():
    frame = pl.DataFrame({"x": ["inf", "NaN"], "at": ["t", "t"]})
    assert [one["x"] for one in records(frame, text=True)] == ["inf", "NaN"]


def test_columns_are_mapped_by_name():
    frame = pl.DataFrame({"who": ["a"], "k": ["no"], "at": ["t"]})
    assert records(frame, mapping={"k": "who"}) == [{"k": "a", "at": "t"}]
    lines = [b'{"who": "a", "k": "no", "at": "t"}', b"[1]", b"{"]
    converter = Converter(SCHEMA, "at", {"k": "who"}, None)
    assert list(converter.payloads(lines)) == [b'{"k":"a","at":"t"}', b"[1]", b"{"]


def test_json_records_stay_as_they_are():
    lines = [b'{"at": 1, "k": "a", "k": "b"}', b"{"]
    assert list(Converter(SCHEMA, "at", {}, None).payloads(lines)) == lines


def test_columns_that_are_needed_are_asked_for():
    with pytest.raises(BadRequest, match="lacks columns") as fault:
        Converter(SCHEMA, "at", {"x": "paid"}, ["k", "time"])
    assert fault.value.where == "x, at"
    with pytest.raises(BadRequest, match="no column 'amuont'"):
        Converter(SCHEMA, "at", {"amuont": "x"}, ["at"])
    assert Converter(SCHEMA, "at", {}, ["at", "k"]).missing == ("x", "n", "b")


def test_type_that_no_column_has_is_named():
    frame = pl.DataFrame({"k": [b"x"], "at": ["t"]})
    with pytest.raises(BadRequest, match="Binary"):
        records(frame)


def test_lists_stay_lists():
    schema = {"tags": List(String), "at": Timestamp}
    frame = pl.DataFrame({"tags": [["a", None], [], None], "at": ["t", "t", "t"]})
    assert [one["tags"] for one in records(frame, schema)] == [["a", None], [], None]
    odd = pl.DataFrame({"tags": [["a"]], "at": [datetime(2024, 1, 1, 0, 0, 0, 1)]})
    (record,) = records(odd, {"tags": List(String), "at": Timestamp.of("s")})
    assert record == {"tags": ["a"], "at": "2024-01-01T00:00:00.000001Z"}
