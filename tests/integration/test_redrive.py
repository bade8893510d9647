"""Records driven again: exactly once, as if they had been right the first time."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

import tegula as tg
from tegula import agg
from tegula.schemas.errors import BadRequest
from tegula.schemas.time import HOUR_US, MINUTE_US

AT = 1_714_564_800_000_000
NAME = tg.Entity("name", keys={"k": tg.String})
EVENTS = tg.Stream(
    "events",
    schema={"k": tg.String, "x": tg.Float64, "at": tg.Timestamp.of("us")},
    event_time="at",
)
FEATURES = {
    "n": agg.count().over(tg.lifetime()),
    "sum": agg.sum("x").over(tg.sliding("6h")),
    "last": agg.last("x").over(tg.lifetime()),
}
ALL = tg.FeatureView("all", entity=NAME, stream=EVENTS, features=FEATURES)
STRICT = tg.FeatureView(
    "strict", entity=NAME, stream=EVENTS, features=FEATURES, allowed_lateness="10m"
)
KEY = {"k": "a"}


def event(at_us: int, x: object = 1.0) -> dict[str, object]:
    return {"k": "a", "x": x, "at": at_us}


def as_number(raw: bytes) -> bytes | None:
    """The mending of amounts that came as text; what is not JSON is left out."""
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return orjson.dumps({**record, "x": float(record["x"])})


def values(driver: tg.TestDriver, view: str) -> list[object]:
    return list(driver.online([f"{view}:n", f"{view}:sum", f"{view}:last"], KEY).values())


@pytest.fixture
def driver():
    with tg.TestDriver(ALL, STRICT, at=AT) as driver:
        yield driver


def test_dead_letters_that_are_mended_count_from_their_own_time_on(driver):
    hour_ago = AT - HOUR_US
    driver.send("events", [event(hour_ago - 1, "2.5"), event(AT - 1, 4.0), b"{"], partition="0")
    assert values(driver, "all") == [1, 4.0, 4.0]
    driver.advance_to(AT + 3 * HOUR_US)
    done = driver.redrive("events", mend=as_number)
    assert (done.driven, done.left_out) == (1, 1)
    # It was the first row of its partition, and no row is behind itself: in time for all views.
    assert values(driver, "all") == values(driver, "strict") == [2, 6.5, 4.0]
    as_of = {"as_of": AT - MINUTE_US}
    assert driver.online("all:sum", KEY, **as_of) == {"all:sum": 2.5}
    outcomes = driver.outcomes("all")
    assert (outcomes["read"], outcomes["folded"], outcomes["dead_lettered"]) == (4, 2, 2)


def test_redriving_twice_counts_once(driver):
    driver.send("events", [event(AT - 1, "1.5")], partition="0")
    assert driver.redrive("events", mend=as_number).driven == 1
    again = driver.redrive("events", mend=as_number)
    assert (again.driven, again.before) == (0, 1)
    driver.crash()
    driver.restart()
    assert driver.redrive("events", code="TG-202", mend=as_number).driven == 0
    assert values(driver, "all") == [1, 1.5, 1.5]


def test_record_that_is_still_wrong_is_a_dead_letter_again_and_may_be_driven_again(driver):
    driver.send("events", [event(AT - 1, "1.5")], partition="0")
    driver.redrive("events")
    first, second = sorted(driver.dead_letters("events"), key=lambda one: one.partition)
    assert (first.partition, first.offset, second.offset) == ("0", 0, 0)
    assert second.partition.startswith("redrive-")
    done = driver.redrive("events", mend=as_number)
    assert (done.driven, done.before) == (1, 1)
    assert values(driver, "all") == [1, 1.5, 1.5]


def test_dead_letter_is_judged_late_as_the_row_that_it_was(driver):
    """Not by when it is driven again: a replay that had it right would judge so."""
    driver.send("events", [event(AT - 1), event(AT - HOUR_US, "2.0")], partition="0")
    driver.advance_to(AT + HOUR_US)
    driver.redrive("events", mend=as_number)
    assert values(driver, "all") == [2, 3.0, 1.0]
    assert values(driver, "strict") == [1, 1.0, 1.0]
    assert driver.outcomes("strict")["expired"] == 1


def test_event_that_a_view_found_too_old_counts_there_and_is_a_duplicate_elsewhere(driver):
    driver.send("events", [event(AT - 1, 1.0), event(AT - HOUR_US, 2.0)], partition="0")
    assert values(driver, "all") == [2, 3.0, 1.0]
    assert values(driver, "strict") == [1, 1.0, 1.0]
    assert driver.redrive("events", expired="strict").driven == 1
    assert driver.redrive("events", expired="strict").before == 1
    assert values(driver, "all") == values(driver, "strict") == [2, 3.0, 1.0]
    strict, everything = driver.outcomes("strict"), driver.outcomes("all")
    assert (strict["expired"], strict["folded"], strict["duplicate"]) == (1, 2, 0)
    assert (everything["expired"], everything["folded"], everything["duplicate"]) == (0, 2, 1)


def test_view_that_expires_only_what_no_window_can_use_has_nothing_to_drive_again(driver):
    with pytest.raises(BadRequest, match="allowed_lateness"):
        driver.redrive("events", expired="all")


def test_view_with_sessions_takes_nothing_later_than_its_sessions_wait_for():
    """The sessions that it would have joined may be gone."""
    sessions = tg.FeatureView(
        "sessions",
        entity=NAME,
        stream=EVENTS,
        features={"n": agg.count().over(tg.session("5m", lateness="1h"))},
    )
    with tg.TestDriver(sessions, at=AT) as driver:
        driver.send("events", [event(AT - 1), event(AT - 3 * HOUR_US)], partition="0")
        assert driver.outcomes("sessions")["expired"] == 1
        with pytest.raises(BadRequest, match="sessions"):
            driver.redrive("events", expired="sessions")


@pytest.mark.parametrize("crash", [False, True])
def test_replay_comes_to_the_same_values_as_live(driver, crash):
    rows = [event(AT - 1), event(AT - HOUR_US, 2.0), event(AT - MINUTE_US, "8.0"), b"{"]
    driver.send("events", rows, partition="0")
    driver.send("events", [event(AT - 2 * HOUR_US, "16.0")], partition="1")
    driver.redrive("events", mend=as_number)
    driver.redrive("events", expired="strict")
    live = values(driver, "all"), values(driver, "strict")
    assert live == ([4, 27.0, 1.0], [4, 27.0, 1.0])
    if crash:
        driver.crash()
        driver.restart()
    before = driver.outcomes("strict")
    driver.backfill("strict")
    driver.backfill("all")
    assert (values(driver, "all"), values(driver, "strict")) == live
    assert driver.outcomes("strict") == before
    assert driver.offline(["strict:n", "strict:sum"], KEY) == {"strict:n": 4, "strict:sum": 27.0}


def test_what_was_driven_again_moves_no_watermark(driver):
    driver.send("events", [event(AT - 5 * MINUTE_US), event(AT - 1, "1.0")], partition="0")
    driver.redrive("events", mend=as_number)
    driver.send("events", [event(AT - 12 * MINUTE_US)], partition="0")
    assert driver.outcomes("strict")["expired"] == 0
    place = {
        name: at.running_max_us
        for name, at in driver.engine.streams["events"].lanes.live.places.items()
    }
    assert place["0"] == AT - 5 * MINUTE_US


def test_definition_that_is_mended_takes_the_records_as_they_came(driver):
    wider = replace(EVENTS, ahead="2h")
    driver.send("events", [event(AT + HOUR_US, 3.0)], partition="0")
    assert [one.code for one in driver.dead_letters("events")] == ["TG-209"]
    driver.apply(replace(ALL, stream=wider), replace(STRICT, stream=wider))
    assert driver.redrive("events", code="TG-209").driven == 1
    driver.advance_to(AT + 2 * HOUR_US)
    assert values(driver, "all") == [1, 3.0, 3.0]
