"""Instants of a spine: what is taken as one, what is refused, and which row is named."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from tegula.backfill.training.instants import instants_of
from tegula.schemas.errors import BadSpine

NOON_US = 1_714_564_800_000_000  # 2024-05-01T12:00:00Z


def of(column: pl.Series, zone: str | None = None) -> list[int]:
    return instants_of(column, zone, 0, "column 'at'").tolist()


def test_texts_in_any_zone_are_instants():
    texts = ["2024-05-01T12:00:00Z", "2024-05-01T14:00:00+02:00", "2024-05-01 12:00:00.000001Z"]
    assert of(pl.Series(texts)) == [NOON_US, NOON_US, NOON_US + 1]


def test_integers_are_microseconds():
    assert of(pl.Series([NOON_US])) == [NOON_US]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_datetimes_of_any_unit_and_zone_are_instants(unit):
    column = pl.Series([datetime(2024, 5, 1, 12, tzinfo=UTC)]).dt.cast_time_unit(unit)
    assert of(column) == [NOON_US]
    assert of(column.dt.convert_time_zone("Asia/Kathmandu")) == [NOON_US]


def test_finer_than_a_microsecond_is_floored():
    """Nothing that happened after the instant may count."""
    before = pl.Series([-1, 1], dtype=pl.Int64).cast(pl.Datetime("ns", "UTC"))
    assert of(before) == [-1, 0]


def test_times_without_a_zone_are_refused_unless_one_is_said():
    naive = pl.Series([datetime(2024, 5, 1, 14)])
    with pytest.raises(BadSpine, match="name no time zone"):
        of(naive)
    assert of(naive, "Europe/Berlin") == [NOON_US]
    with pytest.raises(BadSpine, match="row 1 of the spine is no instant"):
        of(pl.Series(["2024-05-01T12:00:00Z", "2024-05-01T14:00:00"]))
    both = pl.Series(["2024-05-01T12:00:00Z", "2024-05-01T14:00:00"])
    assert of(both, "Europe/Berlin") == [NOON_US, NOON_US]
    assert of(pl.Series([date(2024, 5, 1)]), "UTC") == [NOON_US - 43_200_000_000]


@pytest.mark.parametrize("at", [datetime(2024, 3, 31, 2, 30), datetime(2024, 10, 27, 2, 30)])
def test_times_that_clocks_skip_or_show_twice_are_refused(at):
    with pytest.raises(BadSpine, match="shown twice, or never"):
        of(pl.Series([at]), "Europe/Berlin")


def test_a_row_without_an_instant_is_named():
    with pytest.raises(BadSpine, match="row 12 of the spine has no instant"):
        instants_of(pl.Series([1, None, None]), None, 11, "column 'at'")


@pytest.mark.parametrize(
    "column", [pl.Series([1.5]), pl.Series([True]), pl.Series([["2024-05-01T12:00:00Z"]])]
)
def test_other_types_hold_no_instants(column):
    with pytest.raises(BadSpine, match="holds no instants"):
        of(column)


def test_texts_that_are_no_instants_are_refused():
    with pytest.raises(BadSpine, match="row 0 of the spine is no instant"):
        of(pl.Series(["yesterday"]))


def test_unknown_zone_is_refused():
    with pytest.raises(BadSpine, match="no time zone of that name"):
        of(pl.Series([NOON_US]), "Europe/Nowhere")
