"""One key's answer over windows by its own clock: as by columns, general and written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula import agg
from tegula.schemas.outcomes import Status
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tegula.schemas.windows import calendar, sliding
from tegula.serving.single import SingleAnswer, single_key
from tegula.serving.single_code import quick
from tegula.serving.tables import table_of
from tegula.state.packing import ONLINE_HEAD
from tegula.windows.finish import finish
from tegula.windows.ladder import INSTANT
from tegula.windows.tiles import NEVER_US, concat_tiles
from tests.support.serving import NOON_US, Rows, build_of, pack_row, rows_of, tiles_of

HERE = pl.col("shop")
WINDOWS = {
    "today": calendar("day", tz=HERE),
    "yesterday": calendar("day", tz=HERE, current=False),
    "year": calendar("year", tz=HERE, include_instant=True),
    "elsewhere": calendar("week", tz=pl.lit("Asia/").add(HERE)),
    "day": sliding("1d"),
}
AGGREGATES = {"n": agg.count(), "sum": agg.sum("amount"), "rate": agg.rate(per="1h")}
BUILD = build_of(
    {f"{n}_{w}": one.over(over) for w, over in WINDOWS.items() for n, one in AGGREGATES.items()}
)
SHAPE = BUILD.shape
SINGLE = single_key(SHAPE, SHAPE.features)
QUICK = quick(SINGLE)

ages_us = st.one_of(
    st.integers(0, 90 * SECOND_US),
    st.integers(0, 3 * DAY_US),
    st.integers(0, 400 * DAY_US),
    st.integers(0, 3 * 96).map(lambda quarters: quarters * 15 * MINUTE_US),
)
events = st.lists(
    st.tuples(
        ages_us.map(lambda age: NOON_US - age),
        st.none() | st.integers(-40, 40).map(lambda n: n / 4),
        st.just(1),
        st.sampled_from(["Europe/Berlin", "Asia/Tokyo", "Tokyo", "UTC", "Nowhere", "", None]),
    ),
    max_size=12,
)


def by_columns(rows: Rows, at_us: int) -> SingleAnswer:
    keyed, horizon_us = table_of(SHAPE, [(*rows, {})])
    columns = finish(SHAPE, keyed, at_us, horizon_us)
    return SingleAnswer([c.values[0] for c in columns], [int(c.statuses[0]) for c in columns])


@given(
    kept=events,
    late=events,
    horizon_age_us=st.none() | st.integers(0, 3 * DAY_US),
    ahead_us=st.integers(1, 3 * DAY_US) | st.integers(0, 96).map(lambda n: 1 + n * 15 * MINUTE_US),
)
def test_law_one_key_by_its_own_clock_is_one_key_by_columns(kept, late, horizon_age_us, ahead_us):
    horizon_us = NEVER_US
    if horizon_age_us is not None:
        horizon_us = (NOON_US - horizon_age_us) // SECOND_US * SECOND_US
    rows, at_us = rows_of(BUILD, kept, horizon_us, late), NOON_US + ahead_us
    answer = by_columns(rows, at_us)
    assert SINGLE.answer(*rows, at_us) == answer
    assert QUICK(*rows, at_us) == answer


@pytest.mark.parametrize(
    ("zone", "status"), [("Asia/Tokyo", Status.PRESENT), ("Nowhere", Status.NO_ZONE)]
)
@pytest.mark.parametrize("newest_age_us", [1, 2 * HOUR_US])
def test_zone_is_found_in_head_and_body(zone, status, newest_age_us):
    old, new = (NOON_US - 5 * HOUR_US, 1.0, 1, "UTC"), (NOON_US - newest_age_us, 2.0, 1, zone)
    rows = rows_of(BUILD, [old, new], NOON_US - HOUR_US, [])
    answer = QUICK(*rows, NOON_US)
    assert answer == by_columns(rows, NOON_US)
    assert answer is not None
    by_name = dict(zip([one.name for one in SHAPE.features], answer.statuses, strict=True))
    assert by_name["n_today"] == by_name["sum_today"] == status
    assert by_name["n_day"] == Status.PRESENT


def test_late_event_in_the_head_does_not_outdo_a_newer_one_in_the_body():
    body = [(NOON_US - 2 * HOUR_US, 1.0, 1, "Asia/Tokyo")]
    rows = rows_of(BUILD, body, NOON_US - HOUR_US, [(NOON_US - 20 * HOUR_US, 1.0, 1, "Nowhere")])
    answer = SINGLE.answer(*rows, NOON_US)
    assert answer == by_columns(rows, NOON_US)
    assert answer is not None
    assert answer.statuses[0] == Status.PRESENT


@pytest.mark.parametrize(("first", "second"), [("Nowhere", "UTC"), ("UTC", "Nowhere")])
def test_events_at_one_instant_in_two_tiles_name_the_zone_by_their_order(first, second):
    """One of them was dated ahead of its log, and so is kept as an instant."""
    at_us = NOON_US + 7
    parts = [tiles_of(BUILD, [(at_us, 1.0, 1, zone)], n) for n, zone in enumerate((first, second))]
    ahead = replace(parts[1], start_us=np.array([at_us]), rung=np.array([INSTANT], np.uint8))
    for tiles in (concat_tiles([parts[0], ahead]), concat_tiles([ahead, parts[0]])):
        rows = pack_row(SHAPE, tiles, at_us, ONLINE_HEAD, NEVER_US), None
        answer = QUICK(*rows, at_us + 1)
        assert answer == by_columns(rows, at_us + 1)
        assert answer is not None
        assert (answer.statuses[0] == Status.PRESENT) == (second == "UTC")
