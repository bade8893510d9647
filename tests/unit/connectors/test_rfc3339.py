from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.connectors.rfc3339 import END_US, FIRST_US, PATTERN, format_instant, parse, parse_one

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(timezones=zones)
# Nearly right texts: every digit is drawn, so months run to 99 and hours too.
shapes = st.from_regex(re.compile(PATTERN), fullmatch=True)


def parse_alone(text: str | None) -> int | None:
    at_us, valid = parse(pl.Series([text], dtype=pl.String))
    return int(at_us[0]) if valid[0] else None


@given(instants, st.sampled_from("T "))
def test_law_an_instant_is_what_the_standard_library_says(instant, separator):
    text = instant.isoformat(separator)
    if instant.utcoffset().seconds % 60:
        return
    assert parse_one(text) == (instant - EPOCH) // timedelta(microseconds=1)


@given(st.lists(st.one_of(shapes, instants.map(datetime.isoformat), st.none()), min_size=1))
def test_law_a_column_is_read_as_its_texts_are(texts):
    at_us, valid = parse(pl.Series(texts, dtype=pl.String))
    got = [int(us) if ok else None for us, ok in zip(at_us, valid, strict=True)]
    assert got == [parse_one(text) if text else None for text in texts]


@pytest.mark.parametrize(
    ("text", "at_us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01 01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("1970-01-01T00:00:00.1Z", 100_000),
        ("1970-01-01T00:00:00.123456789Z", 123_456),
        ("1969-12-31T23:59:59.9999999Z", -1),
        ("2000-02-29T00:00:00-00:00", 951_782_400_000_000),
        ("0001-01-01T00:00:00Z", FIRST_US),
        ("9999-12-31T23:59:59.999999Z", END_US - 1),
        ("0001-01-01T00:00:00+00:01", FIRST_US - 60_000_000),
        ("9999-12-31T23:59:00-00:01", END_US),
        ("0000-01-01T00:00:00Z", FIRST_US - 366 * 86_400_000_000),
    ],
)
def test_an_instant_is_read_with_its_zone_and_fraction(text, at_us):
    assert parse_one(text) == at_us
    assert parse_alone(text) == at_us


@pytest.mark.parametrize(
    "text",
    [
        "2013-01-01T00:00:60Z",
        "2013-01-01T24:00:00Z",
        "2013-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2013-00-01T00:00:00Z",
        "0000-00-01T00:00:00Z",
        "9999-99-01T00:00:00Z",
        "2013-01-00T00:00:00Z",
        "2013-01-01T00:00:00+24:00",
        "2013-01-01T00:00:00+00:60",
    ],
)
def test_a_date_that_the_calendar_lacks_is_no_instant(text):
    assert parse_one(text) is None
    assert parse_alone(text) is None


@pytest.mark.parametrize(
    "text",
    ["2013-01-01T00:00:00", "2013-01-01", "20130101T000000Z", "2013-01-01T00:00Z", "", "1",
     "2013-01-01T00:00:00Z ", "2013-01-01T00:00:00,5Z", "2013-01-01T00:00:00+0100",
     "+2013-01-01T00:00:00Z", "٢٠١٣-01-01T00:00:00Z"],
)  # fmt: skip
def test_a_text_without_zone_or_of_another_form_is_no_instant(text):
    assert parse_one(text) is None


def test_a_column_that_is_a_slice_is_read_from_its_own_rows():
    texts = pl.Series(["1970-01-01T00:00:01Z", None, "1970-01-01T00:00:02.5Z"])[1:]
    at_us, valid = parse(texts)
    assert valid.tolist() == [False, True]
    assert at_us[1] == 2_500_000


def test_a_column_of_nulls_holds_no_instants():
    assert parse(pl.Series([None, None], dtype=pl.String))[1].tolist() == [False, False]
    assert len(parse(pl.Series([], dtype=pl.String))[0]) == 0


@pytest.mark.parametrize(
    ("at_us", "text"),
    [
        (-1, "1969-12-31T23:59:59.999999Z"),
        (253402300799999999, "9999-12-31T23:59:59.999999Z"),
        (253402300800000000, None),
    ],
)
def test_instant_is_written_as_rfc_3339_in_utc(at_us, text):
    assert format_instant(at_us) == text
