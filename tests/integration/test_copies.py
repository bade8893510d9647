"""Copies of an event, known by its id: one counts, and the same one in every run and replay."""

from __future__ import annotations

import shutil

import pytest

import tegula as tg
from tegula import agg
from tegula.schemas.errors import DefinitionErrors
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US
from tegula.state.database import rows_of
from tegula.state.rows import ID_PREFIX

AT = 1_714_564_800_000_000
NAME = tg.Entity("name", keys={"k": tg.String})
EVENTS = tg.Stream(
    "events",
    schema={"id": tg.String, "k": tg.String, "x": tg.Float64, "at": tg.Timestamp.of("us")},
    event_time="at",
    unique_by="id",
    unique_within="1h",
)
FEATURES = {
    "n": agg.count().over(tg.lifetime()),
    "sum": agg.sum("x").over(tg.sliding("6h")),
}
VIEW = tg.FeatureView("v", entity=NAME, stream=EVENTS, features=FEATURES)
KEY = {"k": "a"}


def event(id_: str | None, x: float = 1.0, at_us: int = AT - 1) -> dict[str, object]:
    return {"id": id_, "k": "a", "x": x, "at": at_us}


def values(driver: tg.TestDriver) -> list[object]:
    return list(driver.online(["v:n", "v:sum"], KEY).values())


@pytest.fixture
def driver():
    with tg.TestDriver(VIEW, at=AT) as driver:
        yield driver


def test_copies_in_one_batch_in_others_and_in_other_partitions_are_duplicates(driver):
    driver.send("events", [event("1"), event("2", 2.0), event("1", 9.0)], partition="0")
    assert values(driver) == [2, 3.0]
    driver.send("events", [event("2", 9.0), event("3", 4.0)], partition="1")
    assert values(driver) == [3, 7.0]
    outcomes = driver.outcomes("v")
    assert (outcomes["read"], outcomes["folded"], outcomes["duplicate"]) == (5, 3, 2)


def test_event_without_an_id_has_no_copies(driver):
    driver.send("events", [event(None), event(None)])
    assert values(driver) == [2, 2.0]


@pytest.mark.parametrize(("apart_us", "count"), [(HOUR_US, 1), (HOUR_US + 1, 2)])
@pytest.mark.parametrize("together", [True, False])
def test_events_of_one_id_that_are_further_apart_than_the_span_both_count(
    driver, apart_us, count, together
):
    first, second = event("1"), event("1", at_us=AT - 1 - apart_us)
    if together:
        driver.send("events", [first, second], partition="0")
    else:
        driver.send("events", first, partition="0")
        driver.settle()
        driver.send("events", second, partition="0")
    assert values(driver)[0] == count


def test_copy_that_comes_after_a_crash_is_known(driver):
    driver.send("events", [event("1")], partition="0")
    driver.settle()
    driver.crash()
    driver.restart()
    driver.send("events", [event("1")], partition="0")
    assert values(driver) == [1, 1.0]


def test_what_was_judged_and_not_committed_is_judged_alike_again(driver):
    """The copy was read first from partition 1; read again, partition 0 may come first."""
    engine = driver.engine
    driver.settle()
    driver.send("events", [event("1", 5.0)], partition="1")
    work = engine.poll()
    assert work is not None
    driver.send("events", [event("1", 7.0)], partition="0")
    assert engine.poll() is not None
    driver.crash()
    driver.restart()
    assert values(driver) == [1, 5.0]


def test_replay_and_a_new_build_know_the_same_copies(driver):
    driver.send("events", [event("1", 5.0)], partition="1")
    driver.settle()
    driver.send("events", [event("1", 7.0), event("2", 1.0)], partition="0")
    live = values(driver)
    assert live == [2, 6.0]
    before = driver.outcomes("v")
    driver.backfill("v")
    assert values(driver) == live
    assert driver.outcomes("v") == before


@pytest.mark.parametrize("flushed", [True, False])
def test_lost_state_learns_ids_and_copies_from_the_archive(tmp_path, flushed):
    with tg.TestDriver(VIEW, at=AT, home=tmp_path) as driver:
        driver.send("events", [event("1", 5.0)], partition="1")
        driver.settle()
        driver.send("events", [event("1", 7.0), event("2")], partition="0")
        driver.settle()
        if flushed:
            driver.engine.archiving.flush()
        driver.crash()
        shutil.rmtree(tmp_path / ".tegula" / "state")
        driver.restart()
        driver.settle()
        driver.send("events", [event("2", 9.0), event("1", 9.0)], partition="2")
        count, total = values(driver)
        assert count == 2
        assert total == 6.0 if flushed else total in (6.0, 8.0)  # whichever is read first now


def test_ids_are_dropped_when_the_watermark_has_passed_them(driver):
    driver.send("events", [event(str(n)) for n in range(50)], partition="0")
    driver.settle()
    driver.advance_to(AT + DAY_US)
    driver.send("events", [event("new", at_us=AT + DAY_US - 1)], partition="0")
    driver.settle()
    driver.send("events", [event("newer", at_us=AT + DAY_US - 1)], partition="0")
    driver.settle()
    rows = [row for shard in driver.engine.shards for row in rows_of(shard._database, ID_PREFIX)]
    assert len(rows) == 2


def test_copy_is_no_copy_of_itself_when_it_is_driven_again():
    strict = tg.FeatureView(
        "v", entity=NAME, stream=EVENTS, features=FEATURES, allowed_lateness="10m"
    )
    with tg.TestDriver(strict, at=AT) as driver:
        late = AT - 20 * MINUTE_US
        rows = [event("1"), event("2", 2.0, late), event("2", 9.0, late)]
        driver.send("events", rows, partition="0")
        assert values(driver) == [1, 1.0]
        outcomes = driver.outcomes("v")
        assert (outcomes["expired"], outcomes["duplicate"]) == (1, 1)
        assert driver.redrive("events", expired="v").driven == 1
        assert values(driver) == [2, 3.0]


def test_stream_that_becomes_unique_knows_copies_from_then_on(driver):
    plain = tg.Stream(
        "events", schema=EVENTS.schema, event_time="at", unique_by=None, unique_within="1h"
    )
    view = tg.FeatureView("v", entity=NAME, stream=plain, features=FEATURES)
    with tg.TestDriver(view, at=AT) as driver:
        driver.send("events", [event("1"), event("1")], partition="0")
        assert values(driver) == [2, 2.0]
        driver.apply(VIEW)
        driver.send("events", [event("2"), event("2")], partition="0")
        assert values(driver)[0] == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"unique_by": "ident"}, "ident"),
        ({"unique_by": "x"}, "does not tell one event from another"),
        ({"unique_within": "0s"}, "unique_within"),
    ],
)
def test_definition_of_unique_that_cannot_be_is_a_fault(change, said):
    given = {"schema": EVENTS.schema, "event_time": "at", "unique_by": "id", **change}
    stream = tg.Stream("events", **given)
    view = tg.FeatureView("v", entity=NAME, stream=stream, features=FEATURES)
    with pytest.raises(DefinitionErrors, match=said):
        tg.TestDriver(view, at=AT)
