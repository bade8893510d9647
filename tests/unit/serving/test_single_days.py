"""One key's answer from tiles of civil days: as by columns, also where midnights have moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tegula import agg
from tegula.schemas.civil import Periods
from tegula.schemas.outcomes import Status
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tegula.schemas.windows import calendar, sliding
from tegula.schemas.zones import periods
from tegula.serving.single import SingleAnswer, single_key
from tegula.serving.single_code import quick
from tegula.serving.tables import table_of
from tegula.windows.finish import finish
from tegula.windows.geometry import Calendar
from tegula.windows.shape import Shape
from tegula.windows.tiles import NEVER_US
from tests.support.serving import NOON_US, Rows, build_of, rows_of

ZONE = "Europe/Berlin"
WINDOWS = {
    "year": calendar("year", tz=ZONE),
    "last_month": calendar("month", tz=ZONE, current=False),
    "week": calendar("week", tz=ZONE, include_instant=True),
    "hour": sliding("1h"),
}
AGGREGATES = {"n": agg.count(), "sum": agg.sum("amount")}
BUILD = build_of(
    {f"{n}_{w}": one.over(over) for w, over in WINDOWS.items() for n, one in AGGREGATES.items()}
)
SHAPE = BUILD.shape
RUNNING = tuple(one for one in SHAPE.features if not one.name.endswith("last_month"))

ages_us = st.one_of(
    st.integers(0, 90 * SECOND_US),
    st.integers(0, 60 * DAY_US),
    st.integers(0, 400 * DAY_US),
    st.integers(0, 60 * 24).map(lambda hours: hours * HOUR_US),
)
events = st.lists(
    st.tuples(
        ages_us.map(lambda age: NOON_US - age),
        st.none() | st.integers(-40, 40).map(lambda n: n / 4),
        st.just(1),
        st.just("a"),
    ),
    max_size=20,
)
horizons_us = st.none() | st.integers(0, 3 * DAY_US) | st.integers(0, 60 * DAY_US)
aheads_us = st.integers(1, 40 * DAY_US) | st.integers(1, 2 * MINUTE_US)


def by_columns(shape: Shape, rows: Rows, at_us: int) -> SingleAnswer:
    keyed, horizon_us = table_of(shape, [(*rows, {})])
    columns = finish(shape, keyed, at_us, horizon_us)
    return SingleAnswer([c.values[0] for c in columns], [int(c.statuses[0]) for c in columns])


def rows_at(kept: list, late: list, horizon_age_us: int | None) -> Rows:
    horizon_us = NEVER_US
    if horizon_age_us is not None:
        horizon_us = (NOON_US - horizon_age_us) // SECOND_US * SECOND_US
    return rows_of(BUILD, kept, horizon_us, late)


@given(events, events, horizons_us, aheads_us)
def test_law_one_key_of_days_is_one_key_by_columns(kept, late, horizon_age_us, ahead_us):
    rows, at_us = rows_at(kept, late, horizon_age_us), NOON_US + ahead_us
    single = single_key(SHAPE, SHAPE.features)
    assert single.answer(*rows, at_us) == by_columns(SHAPE, rows, at_us)
    running = replace(SHAPE, features=RUNNING)
    straight = quick(single_key(SHAPE, RUNNING))(*rows, at_us)
    assert straight == by_columns(running, rows, at_us)


def moved(table: Periods, by_us: int) -> Periods:
    """The same with every edge at another time."""
    return replace(table, digest=f"{by_us}", starts_us=table.starts_us + by_us)


def moved_shape(by_us: int) -> Shape:
    """What the build is read by under another release, whose clocks are ahead or behind."""
    features = tuple(
        replace(
            one,
            window=replace(
                one.window,
                periods=moved(one.window.periods, by_us),
                days=moved(one.window.days or one.window.periods, by_us),
            ),
        )
        for one in SHAPE.features
        if isinstance(one.window, Calendar)
    )
    return replace(SHAPE, features=features)


@given(events, events, horizons_us, aheads_us, st.sampled_from([-2, -1, 1, 2]))
def test_law_moved_midnights_are_left_to_columns_where_they_cut_a_day(
    kept, late, horizon_age_us, ahead_us, hours
):
    rows, at_us = rows_at(kept, late, horizon_age_us), NOON_US + ahead_us
    shape = moved_shape(hours * HOUR_US)
    expected = by_columns(shape, rows, at_us)
    single = single_key(shape, shape.features)
    assert (single.answer(*rows, at_us) is None) == (Status.COARSE in expected.statuses)
    assert (quick(single)(*rows, at_us) or expected) == expected
    events_us = np.array([at for at, *_ in (*kept, *late)])
    for place, one in enumerate(shape.features):
        start_us, end_us = one.window.bounds(at_us)
        if expected.statuses[place] != Status.COARSE and one.name.startswith("n_"):
            inside = (events_us >= start_us) & (events_us < end_us)
            assert expected.values[place] == inside.sum()


def test_moved_midnight_inside_a_day_is_seen():
    """Berlin's year began at 23:00 UTC: an event an hour after, and clocks that are behind."""
    start_us = int(periods("year", ZONE).starts_us[123])  # 2023
    rows = rows_of(BUILD, [(start_us + MINUTE_US, 1.0, 1, "a")], NOON_US)
    assert by_columns(SHAPE, rows, NOON_US).values[0] == 1
    shape = moved_shape(HOUR_US)
    assert by_columns(shape, rows, NOON_US).statuses[0] == Status.COARSE
    single = single_key(shape, [shape.features[0]])
    assert single.answer(*rows, NOON_US) is None
    assert quick(single)(*rows, NOON_US) is None
