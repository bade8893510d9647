"""The demo: its data, its recomputation, and a month of it for real."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import polars as pl
import pytest

from tegula.cli.demo.data import events_of, lines, months_of, read_flights
from tegula.cli.demo.features import TEXT
from tegula.cli.demo.recompute import VIEWS, Recomputation, compare
from tegula.cli.project import load_definitions

ROOT = Path(__file__).parents[2]
FLIGHTS, CANCELLED = 336_776, 8_255


@pytest.fixture(scope="module")
def raw():
    return read_flights()


@pytest.fixture(scope="module")
def events(raw):
    return events_of(raw)


@pytest.fixture(scope="module")
def recomputation(raw):
    made = Recomputation(raw)
    yield made
    made.close()


def test_demo_definitions_are_the_example():
    assert (ROOT / "examples/flights.py").read_text("utf-8") == TEXT


def test_demo_events_are_all_flights_in_order_of_time(events):
    assert len(events) == FLIGHTS
    assert events["at_us"].is_sorted()
    assert events["delay"].null_count() == CANCELLED


def test_demo_months_hold_every_event_once(events):
    months = months_of(events)
    assert [month.begin for month in months[1:]] == [month.end for month in months[:-1]]
    assert (months[0].begin, months[-1].end) == (0, FLIGHTS)
    for month in months:
        assert events["at_us"][month.begin : month.end].max() < month.end_us
        if month.end < FLIGHTS:
            assert events["at_us"][month.end] >= month.end_us


def test_demo_lines_are_json_of_the_events(events):
    ((count, body), *_) = lines(events, 0, 10, 4)
    records = [orjson.loads(line) for line in body.splitlines()]
    assert (count, len(records)) == (4, 4)
    assert records[0] == {
        "at": "2013-01-01T10:17:00Z",
        "carrier": "UA",
        "origin": "EWR",
        "dest": "IAH",
        "tailnum": "N14228",
        "delay": 2,
        "air_time": 227,
        "distance": 1400.0,
    }


def test_demo_recomputes_every_feature_that_is_defined(tmp_path, recomputation):
    (tmp_path / "features").mkdir()
    (tmp_path / "features/flights.py").write_text(TEXT)
    views = {view.name: view for view in load_definitions(tmp_path).views}
    assert views.keys() == VIEWS.keys()
    for name, view in views.items():
        assert tuple(view.entity.keys) == VIEWS[name][0]
        assert set(view.features) == set(recomputation.features(name, 0).columns)


def test_demo_recomputation_equals_a_plain_filter(events, recomputation):
    end_us = months_of(events)[2].end_us
    start_us = (end_us - 30 * 86_400_000_000) // 86_400_000_000 * 86_400_000_000
    rows = events.filter(
        (pl.col("at_us") >= start_us) & (pl.col("at_us") < end_us) & pl.col("delay").is_not_null()
    )
    found = pl.concat(
        [recomputation.keys("airports"), recomputation.features("airports", end_us)],
        how="horizontal",
    )
    for origin, part in rows.group_by("origin"):
        row = found.row(by_predicate=pl.col("origin") == origin[0], named=True)
        assert row["departures_30d"] == len(part)
        assert row["delay_max_30d"] == part["delay"].max()
        assert row["aircraft_30d"] == part["tailnum"].n_unique()
        assert row["last_dest_30d"] == part.sort("at_us", maintain_order=True)["dest"][-1]


def one(name, dtype, right, served, status="PRESENT"):
    keys = pl.DataFrame({"tailnum": ["N1"]})
    expected = pl.DataFrame({name: pl.Series([right], dtype=dtype)})
    feature = f"planes:{name}"
    return compare("planes", keys, expected, {feature: [served]}, {feature: [status]})


@pytest.mark.parametrize(
    ("name", "dtype", "right", "served", "differ"),
    [
        ("departures_1h", pl.Int64, 3, 3, 0),
        ("departures_1h", pl.Int64, 3, 4, 1),
        ("delay_max_1h", pl.Int64, None, None, 0),
        ("delay_max_1h", pl.Int64, None, 0, 1),
        ("delay_max_1h", pl.Int64, 0, None, 1),
        ("delay_mean_1h", pl.Float64, 1.0, 1.0 + 1e-12, 0),
        ("delay_mean_1h", pl.Float64, 1.0, 1.0 + 1e-6, 1),
        ("delay_mean_1h", pl.Float64, 1.0, None, 1),
        ("dests_30d", pl.Int64, 512, 513, 1),
        ("dests_30d", pl.Int64, 1000, 1050, 0),
        ("dests_30d", pl.Int64, 1000, 1100, 1),
        ("last_dest_1h", pl.String, "LAX", "LAX", 0),
        ("last_dest_1h", pl.String, "LAX", None, 1),
    ],
)
def test_demo_counts_what_differs(name, dtype, right, served, differ):
    found = one(name, dtype, right, served)
    assert (found.compared, len(found.differing)) == (1, differ)


@pytest.mark.parametrize("status", ["ERROR", "COARSE", "OVERFLOW"])
def test_demo_takes_no_right_number_of_a_wrong_status(status):
    assert one("departures_1h", pl.Int64, 3, 3, status).differing


def test_demo_runs_a_month_without_a_difference(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "tegula.cli.main", "demo", str(tmp_path / "d"), "--months", "1"],
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout.decode().rstrip().endswith("0 differ.")
    # Libraries that count what is left over when the interpreter ends must find nothing to tell.
    assert b"leaked" not in ran.stderr
