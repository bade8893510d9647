"""Reading: statuses, views that fail alone, and the two ways that give the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas import agg
from tegula.schemas.outcomes import Status
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tegula.schemas.windows import sliding
from tegula.serving import read
from tegula.serving.plan import FeaturePlan
from tegula.serving.read import FeatureReader, Reply
from tegula.state.keys import encode_key
from tests.support.serving import (
    NOON_US,
    SHARDS,
    Event,
    MemoryStore,
    build_of,
    every_exact_feature,
    every_feature,
    plan_of,
)

BUILD = build_of(every_feature())
EXACT = build_of(every_exact_feature())
SMALL = build_of(
    {"n": agg.count().over(sliding("1h")), "m": agg.mean("amount").over(sliding("1h"))}
)
SMALL_PLAN = plan_of(SMALL)


def card(name: str | None) -> bytes | None:
    return None if name is None else encode_key((name,), ("string",))


def ask(
    store: MemoryStore, plan: FeaturePlan, names: Sequence[str | None], at_us: int, **how: object
) -> Reply:
    keys = [card(name) for name in names]
    return FeatureReader(store).read(plan, [keys], len(keys), SHARDS, at_us, **how)  # type: ignore[arg-type]


def event(at_us: int, amount: float | None = 2.0) -> Event:
    return (at_us, amount, 1, "x")


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.put(SMALL, "fresh", [event(NOON_US - MINUTE_US), event(NOON_US - 2 * MINUTE_US, 4.0)])
    store.put(SMALL, "quiet", [event(NOON_US - 70 * MINUTE_US)])
    store.put(SMALL, "blank", [event(NOON_US - MINUTE_US, None)])
    store.put(SMALL, "gone", [event(NOON_US - 30 * DAY_US)])
    return store


def names_of(reply: Reply, feature: str) -> list[str]:
    return [Status(number).name for number in reply.statuses[feature]]


def test_read_tells_present_empty_and_not_found_apart(store):
    reply = ask(store, SMALL_PLAN, ["fresh", "quiet", "blank", "gone", "never", None], NOON_US)
    assert reply.values["spend:n"] == [2, 0, 1, 0, 0, 0]
    assert reply.values["spend:m"] == [3.0, None, None, None, None, None]
    found = ["PRESENT", "EMPTY", "PRESENT", "NOT_FOUND", "NOT_FOUND", "NOT_FOUND"]
    assert names_of(reply, "spend:n") == found
    assert names_of(reply, "spend:m") == [*found[:2], "EMPTY", *found[3:]]


def test_read_keeps_the_order_of_the_keys_and_repeats_repeated_ones(store):
    reply = ask(store, SMALL_PLAN, ["quiet", "fresh", "quiet", "fresh"], NOON_US)
    assert reply.values["spend:n"] == [0, 2, 0, 2]


def test_read_of_no_keys_gives_empty_columns(store):
    reply = ask(store, SMALL_PLAN, [], NOON_US)
    assert reply.values == {"spend:n": [], "spend:m": []}


def test_read_leaves_statuses_out_where_everything_is_present(store):
    assert not ask(store, SMALL_PLAN, ["fresh"], NOON_US).statuses


@pytest.mark.parametrize("keys", [["fresh"], ["fresh", "never"], ["fresh"] * 100])
def test_read_of_a_store_without_marks_is_an_error_and_never_zeros(store, keys):
    store.empty = True
    reply = ask(store, SMALL_PLAN, keys, NOON_US)
    assert reply.values["spend:n"] == [None] * len(keys)
    assert set(names_of(reply, "spend:n")) == {"ERROR"}


def test_read_of_a_build_that_no_mark_names_is_an_error_although_rows_are_there(store):
    store.builds = (2,)
    assert names_of(ask(store, SMALL_PLAN, ["fresh"], NOON_US), "spend:n") == ["ERROR"]


def test_view_that_cannot_be_read_costs_its_own_values_alone(store, caplog):
    other = build_of({"n": agg.count().over(sliding("1h"))}, "visits", 2)
    store.builds, store.broken = (1, 2), (2,)
    plan = plan_of(SMALL, other)
    reply = ask(store, plan, ["fresh", "quiet"], NOON_US)
    assert reply.values["spend:n"] == [2, 0]
    assert reply.values["visits:n"] == [None, None]
    assert names_of(reply, "visits:n") == ["ERROR", "ERROR"]
    assert "visits" in caplog.text
    detailed = ask(store, plan, ["fresh", "quiet"], NOON_US, detailed=True)
    assert detailed.newest_us["visits"] == [None, None]
    assert detailed.values == reply.values


def test_feature_that_no_build_has_yet_is_an_error_alone(store):
    plan = SMALL_PLAN
    lacking = FeaturePlan(
        (*plan.names, "spend:new"), plan.entities, plan.parts, ("spend:new",), (), plan.columns
    )
    reply = ask(store, lacking, ["fresh"], NOON_US)
    assert list(reply.values) == ["spend:n", "spend:m", "spend:new"]
    assert reply.values["spend:new"] == [None]
    assert names_of(reply, "spend:new") == ["ERROR"]


def test_read_with_max_age_marks_what_rests_on_older_facts_as_stale(store):
    reply = ask(store, SMALL_PLAN, ["fresh", "quiet", "never"], NOON_US, max_age_us=5 * MINUTE_US)
    assert names_of(reply, "spend:n") == ["PRESENT", "STALE", "NOT_FOUND"]
    assert reply.values["spend:n"] == [2, 0, 0]


def test_read_in_detail_tells_the_newest_fact_before_the_instant_and_the_bounds(store):
    at_us = NOON_US - 90 * SECOND_US
    reply = ask(store, SMALL_PLAN, ["fresh", "quiet", "never"], at_us, detailed=True)
    assert reply.values["spend:n"] == [1, 0, 0]
    newest = [NOON_US - 2 * MINUTE_US, NOON_US - 70 * MINUTE_US, None]
    assert reply.newest_us["spend"] == newest
    starts, ends = reply.bounds["spend:n"]
    older = (at_us - HOUR_US) // MINUTE_US * MINUTE_US
    assert (starts, ends) == ([older] * 3, [at_us] * 3)


def test_damaged_row_is_an_error_of_its_view(store, caplog):
    key = (1, card("fresh") or b"")
    head, body = store.rows[key]
    store.rows[key] = ((head or b"")[:-8], body)
    assert names_of(ask(store, SMALL_PLAN, ["fresh"], NOON_US), "spend:n") == ["ERROR"]
    assert "damaged" in caplog.text


AGO = build_of({"n": agg.count().over(sliding("1h", resolution="exact"))})
EDGE_US = NOON_US - 30 * MINUTE_US + 7


@pytest.mark.parametrize("copies", [1, 100])
def test_exact_edge_reads_the_segments_of_its_hour(store, copies):
    store.put(AGO, "folded", [event(EDGE_US + n) for n in (-1, 0, 1)], horizon_us=NOON_US)
    reply = ask(store, plan_of(AGO), ["folded"] * copies, EDGE_US + HOUR_US)
    assert reply.values["spend:n"] == [2] * copies
    assert reply.statuses.get("spend:n", [0]) == [0] * len(reply.statuses.get("spend:n", [0]))


@pytest.mark.parametrize("copies", [1, 100])
def test_instant_before_the_newest_event_reads_the_segments_of_its_own_hour_too(store, copies):
    """In a build with exact windows `as_of` is exact to the µs in every window."""
    store.put(AGO, "folded", [event(EDGE_US + n) for n in (-1, 0, 1)], horizon_us=NOON_US - HOUR_US)
    reply = ask(store, plan_of(AGO), ["folded"] * copies, EDGE_US, detailed=True)
    assert reply.values["spend:n"] == [1] * copies
    assert set(names_of(reply, "spend:n")) == {"PRESENT"}
    assert reply.newest_us["spend"] == [EDGE_US - 1] * copies


@pytest.mark.parametrize("copies", [1, 100])
def test_cut_tile_without_its_segment_is_coarse(store, copies):
    store.put(AGO, "folded", [event(EDGE_US + n) for n in (-1, 0, 1)], horizon_us=NOON_US)
    store.segments.clear()
    reply = ask(store, plan_of(AGO), ["folded"] * copies, EDGE_US + HOUR_US)
    assert set(names_of(reply, "spend:n")) == {"COARSE"}


ages_us = st.one_of(st.integers(0, 2 * HOUR_US), st.integers(0, 40 * DAY_US))
histories = st.lists(
    st.lists(
        st.tuples(
            ages_us.map(lambda age: NOON_US - age),
            st.none() | st.integers(-1_000, 1_000).map(float),
            st.none() | st.integers(-9, 9),
            st.none() | st.sampled_from("ab"),
        ),
        max_size=6,
    ),
    max_size=5,
)


@given(
    histories=histories,
    after_us=st.integers(-3 * DAY_US, 3 * DAY_US),
    folded=st.booleans(),
    build=st.sampled_from([BUILD, EXACT]),
)
def test_law_few_keys_and_many_keys_are_read_alike(histories, after_us, folded, build):
    store, plan = MemoryStore(), plan_of(build)
    for number, events in enumerate(histories):
        horizon = {"horizon_us": NOON_US - HOUR_US} if folded else {}
        store.put(build, f"c{number}", events, **horizon)
    names: list[str | None] = [*(f"c{n}" for n in range(len(histories))), None, "never", "c0"]
    few = ask(store, plan, names, NOON_US + after_us)
    one_by_one = [ask(store, plan, [name], NOON_US + after_us) for name in names]
    repeated = names * (read.FEW_KEYS // len(names) + 1)
    many = ask(store, plan, repeated, NOON_US + after_us)
    for feature in plan.names:
        assert [one.values[feature][0] for one in one_by_one] == few.values[feature]
        assert many.values[feature][: len(names)] == few.values[feature]
        fewer = few.statuses.get(feature, [0] * len(names))
        assert many.statuses[feature] == fewer * (len(repeated) // len(names))
