"""One key's answer with lists, and over windows that end elsewhere than now: as by columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula import agg
from tegula.schemas.outcomes import Status
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tegula.schemas.windows import calendar, hopping, lifetime, series, sliding
from tegula.serving.single import SingleAnswer
from tegula.serving.single_series import answer_one
from tegula.serving.tables import table_of
from tegula.windows.finish import finish
from tegula.windows.tiles import NEVER_US
from tests.support.serving import NOON_US, Event, Rows, build_of, rows_of

WINDOWS = {
    "before": sliding("1h", offset="1d"),
    "hops": hopping("1d", "25m"),
    "running": hopping("1d", "25m", current=True, include_instant=True),
    "today": calendar("day", tz="Asia/Kathmandu"),
    "last_week": calendar("week", tz="Europe/Berlin", current=False),
    "upto": sliding("1h", include_instant=True),
    "ever": lifetime(include_instant=True),
    "days": series("1d", "1d", 7),
    "gaps": series("10m", "1h", 3, include_instant=True),
    "one": series("1h", "1h", 1),
}
AGGREGATES = {
    "n": agg.count(),
    "sum": agg.sum("amount"),
    "most": agg.max("items"),
    "seen": agg.last("at"),
}
BUILD = build_of(
    {f"{n}_{w}": one.over(over) for w, over in WINDOWS.items() for n, one in AGGREGATES.items()}
)
SHAPE = BUILD.shape
PLAIN = tuple(one for one in SHAPE.features if not one.name.endswith(("_days", "_gaps", "_one")))
WHOLE, STRAIGHT = answer_one(SHAPE, SHAPE.features), answer_one(SHAPE, PLAIN)

ages_us = st.one_of(
    st.integers(0, 90 * SECOND_US),
    st.integers(0, 2 * HOUR_US),
    st.integers(0, 15 * DAY_US),
    st.integers(0, 15 * 24).map(lambda hours: hours * HOUR_US),
)
events = st.lists(
    st.tuples(
        ages_us.map(lambda age: NOON_US - age),
        st.none() | st.integers(-40, 40).map(lambda n: n / 4),
        st.none() | st.integers(-9, 9),
        st.just("a"),
    ),
    max_size=20,
)


def by_columns(rows: Rows, at_us: int, features=SHAPE.features) -> SingleAnswer:
    keyed, horizon_us = table_of(SHAPE, [(*rows, {})])
    columns = finish(SHAPE, keyed, at_us, horizon_us, features)
    return SingleAnswer([c.values[0] for c in columns], [int(c.statuses[0]) for c in columns])


@given(
    kept=events,
    late=events,
    horizon_age_us=st.none() | st.integers(0, 3 * DAY_US),
    ahead_us=st.integers(1, 40 * DAY_US) | st.integers(1, 2 * MINUTE_US) | st.just(12 * HOUR_US),
)
def test_law_one_key_with_lists_is_one_key_by_columns(kept, late, horizon_age_us, ahead_us):
    horizon_us = NEVER_US
    if horizon_age_us is not None:
        horizon_us = (NOON_US - horizon_age_us) // SECOND_US * SECOND_US
    rows, at_us = rows_of(BUILD, kept, horizon_us, late), NOON_US + ahead_us
    assert WHOLE(*rows, at_us) == by_columns(rows, at_us)
    assert STRAIGHT(*rows, at_us) == by_columns(rows, at_us, PLAIN)


def one(at_us: int) -> Event:
    return (at_us, 1.0, 1, "a")


def test_key_without_rows_has_lists_of_nothing():
    answer = WHOLE(None, None, NOON_US)
    assert answer == by_columns((None, None), NOON_US)
    assert answer is not None
    by_name = dict(zip([f.name for f in SHAPE.features], answer.values, strict=True))
    assert by_name["n_days"] == [0] * 7
    assert by_name["most_gaps"] == [None] * 3
    assert set(answer.statuses) == {Status.NOT_FOUND}


@pytest.mark.parametrize("at_us", [NOON_US, NOON_US - HOUR_US])
def test_lists_are_left_to_columns_where_the_instant_may_cut_a_tile(at_us):
    assert WHOLE(*rows_of(BUILD, [one(NOON_US)]), at_us) is None
