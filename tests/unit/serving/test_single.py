"""One key, read as it lies: the same answer as by columns, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.outcomes import Status
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tegula.serving.single import single_key
from tegula.serving.single_code import quick
from tegula.serving.tables import instants_of, table_of
from tegula.windows.finish import finish
from tegula.windows.segments import hours_of_edges
from tegula.windows.tiles import NEVER_US
from tests.support.serving import (
    NOON_US,
    Event,
    Rows,
    build_of,
    every_exact_feature,
    every_feature,
    rows_of,
    segments_of,
)

BUILD = build_of(every_feature())
SHAPE = BUILD.shape
SINGLE = single_key(SHAPE, SHAPE.features)
NUMBERS = tuple(one for one in SHAPE.features if one.output.kind != "string")
QUICK = quick(single_key(SHAPE, NUMBERS))
PLACES = [SHAPE.features.index(one) for one in NUMBERS]

ages_us = st.one_of(
    st.integers(0, 90 * SECOND_US),
    st.integers(0, 2 * HOUR_US),
    st.integers(0, 40 * DAY_US),
)
amounts = st.none() | st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)
events = st.lists(
    st.tuples(
        ages_us.map(lambda age: NOON_US - age),
        amounts,
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.text(max_size=5),
    ),
    max_size=30,
)


def by_columns(rows: Rows, at_us: int) -> tuple[list[object], list[int]]:
    keyed, horizon_us = table_of(SHAPE, [(*rows, {})])
    columns = finish(SHAPE, keyed, at_us, horizon_us, SHAPE.features)
    return [c.values[0] for c in columns], [int(c.statuses[0]) for c in columns]


@given(
    kept=events,
    late=st.lists(st.tuples(ages_us.map(lambda a: NOON_US - a), amounts, st.just(1), st.just("x"))),
    horizon_age_us=st.none() | st.integers(0, 3 * DAY_US),
    ahead_us=st.integers(1, 100 * DAY_US) | st.integers(1, 2 * MINUTE_US),
)
def test_law_one_key_as_it_lies_is_one_key_by_columns(kept, late, horizon_age_us, ahead_us):
    horizon_us = NEVER_US
    if horizon_age_us is not None:
        horizon_us = (NOON_US - horizon_age_us) // SECOND_US * SECOND_US
    rows = rows_of(BUILD, kept, horizon_us, late)
    at_us = NOON_US + ahead_us
    answer = SINGLE.answer(*rows, at_us)
    assert answer is not None, "declined although no tile is cut"
    written_out = QUICK(*rows, at_us)
    assert written_out is not None
    assert written_out.statuses == [answer.statuses[place] for place in PLACES]
    assert written_out.values == [answer.values[place] for place in PLACES]
    values, statuses = by_columns(rows, at_us)
    assert answer.statuses == statuses
    for ours, theirs in zip(answer.values, values, strict=True):
        if isinstance(theirs, float):
            assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-9)
        else:
            assert ours == theirs


EXACT = build_of(every_exact_feature())
EXACTLY = single_key(EXACT.shape, EXACT.shape.features)
near_us = st.one_of(
    st.integers(0, 3 * SECOND_US),
    st.integers(0, 200).map(lambda n: n * 29 * SECOND_US + n),
    st.integers(0, 31 * DAY_US),
)
exact_events = st.lists(
    st.tuples(near_us.map(lambda age: NOON_US - age), amounts, st.just(1), st.sampled_from("ab")),
    max_size=40,
)


@given(
    kept=exact_events,
    late=exact_events,
    horizon_age_us=st.none() | st.integers(0, 4 * HOUR_US) | st.integers(0, 40 * DAY_US),
    ahead_us=near_us,
    row_instants=st.sampled_from([3, 40, 4096]),
    edge=st.none() | st.tuples(st.integers(0, 39), st.sampled_from([0, 1, 10, 180, 43_200, 90])),
)
def test_law_one_key_with_exact_edges_is_one_key_by_columns(
    kept, late, horizon_age_us, ahead_us, row_instants, edge
):
    horizon_us = NEVER_US
    if horizon_age_us is not None:
        horizon_us = (NOON_US - horizon_age_us) // SECOND_US * SECOND_US
    rows = rows_of(EXACT, kept, horizon_us, late)
    segments = segments_of(EXACT, kept, horizon_us, row_instants)
    at_us = NOON_US + 1 + ahead_us
    if edge is not None and edge[0] < len(kept):
        at_us = max(NOON_US + 1, kept[edge[0]][0] + edge[1] * MINUTE_US + ahead_us % 2)
    windows = EXACT.shape.windows
    asked = {hour: segments.get(hour, []) for hour in hours_of_edges(windows, at_us)}
    answer = EXACTLY.answer(*rows, at_us, asked)
    assert answer is not None, "declined although all instants are there"
    keyed, horizons = table_of(EXACT.shape, [(*rows, asked)])
    instants = instants_of(EXACT.shape, [(*rows, asked)])
    columns = finish(EXACT.shape, keyed, at_us, horizons, instants=instants)
    assert answer.statuses == [int(column.statuses[0]) for column in columns]
    assert Status.COARSE not in answer.statuses
    for ours, theirs in zip(answer.values, (c.values[0] for c in columns), strict=True):
        assert ours == (
            pytest.approx(theirs, rel=1e-12, abs=1e-9) if isinstance(theirs, float) else theirs
        )


def _month() -> tuple[Rows, dict[int, list[bytes]], int]:
    """A key with an event a minute, folded up to now; and an edge inside an hour of a month ago."""
    kept = [one(NOON_US - n * MINUTE_US) for n in range(1, 40 * 24 * 60, 7)]
    at_us = NOON_US + 17 * MINUTE_US + 3
    (hour,) = hours_of_edges([EXACT.shape.windows[2]], at_us)
    return rows_of(EXACT, kept, NOON_US), {hour: segments_of(EXACT, kept, NOON_US)[hour]}, at_us


MONTH = single_key(
    EXACT.shape, [one for one in EXACT.shape.features if one.name in ("count_30d", "sum_30d")]
)


def test_exact_window_that_begins_in_the_body_looks_at_the_instants_of_one_hour_alone(monkeypatch):
    rows, segments, at_us = _month()
    expected = MONTH.answer(*rows, at_us, segments)
    assert expected is not None
    monkeypatch.setattr("tegula.serving.single_tiles.Tiles._column", None)
    assert MONTH.answer(*rows, at_us, segments) == expected
    assert quick(MONTH)(*rows, at_us, segments) == expected


@pytest.mark.parametrize("damage", ["is not there", "is cut short", "is another's"])
def test_single_declines_where_a_segment(damage):
    rows, segments, at_us = _month()
    ((hour, (first, *others)),) = segments.items()
    assert others
    blocks = {
        "is not there": others,
        "is cut short": [first[:-1], *others],
        "is another's": [first[:12] + b"----" + first[16:], *others],
    }[damage]
    assert MONTH.answer(*rows, at_us, {hour: blocks}) is None


def one(at_us: int, amount: float = 1.0) -> Event:
    return (at_us, amount, 1, "a")


def test_single_answers_a_key_that_has_no_rows_as_columns_do():
    values, statuses = by_columns((None, None), NOON_US)
    assert SINGLE.answer(None, None, NOON_US) == (values, statuses)
    assert set(statuses) == {Status.NOT_FOUND}


@pytest.mark.parametrize(
    ("what", "rows", "at_us"),
    [
        ("the instant of its newest event", rows_of(BUILD, [one(NOON_US)]), NOON_US),
        ("an instant before it", rows_of(BUILD, [one(NOON_US)]), NOON_US - HOUR_US),
        (
            "an instant before the horizon",
            rows_of(BUILD, [one(NOON_US - DAY_US)], NOON_US),
            NOON_US - 1,
        ),
    ],
)
def test_single_declines_where_columns_must_decide(what, rows, at_us):
    assert SINGLE.answer(*rows, at_us) is None, what


def _damaged(what: str) -> bytes:
    head = bytearray(rows_of(BUILD, [one(NOON_US)])[0] or b"")
    if what == "cut short":
        return bytes(head[:-1])
    if what == "cut inside the header":
        return bytes(head[:20])
    head[{"magic": 0, "version": 2, "kind": 3, "layout": 12}[what]] ^= 1
    return bytes(head)


@pytest.mark.parametrize(
    "what", ["cut short", "cut inside the header", "magic", "version", "kind", "layout"]
)
def test_single_declines_a_damaged_block_so_that_columns_name_the_damage(what):
    assert SINGLE.answer(_damaged(what), None, NOON_US + 1) is None


def test_features_that_all_have_summaries_are_answered_by_written_out_code():
    numbers = [one for one in NUMBERS if not one.window.bounds(NOON_US)[1] < NOON_US]
    key = single_key(SHAPE, numbers)
    assert quick(key) != key.answer
    assert quick(SINGLE) == SINGLE.answer, "texts have no summaries"


def test_windows_that_begin_in_the_body_look_at_no_tile(monkeypatch):
    month = [one for one in NUMBERS if one.name.endswith("_30d")]
    key = single_key(SHAPE, month)
    rows = rows_of(BUILD, [one(NOON_US - n * HOUR_US) for n in range(1, 90)], NOON_US - 2 * HOUR_US)
    expected = key.answer(*rows, NOON_US + 1)
    monkeypatch.setattr("tegula.serving.single_tiles.Tiles._column", None)
    assert key.answer(*rows, NOON_US + 1) == expected
    assert quick(key)(*rows, NOON_US + 1) == expected
