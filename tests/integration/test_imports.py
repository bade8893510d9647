"""Imported history counts as if it had been there: live, after a crash, and in every replay."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

import tegula as tg
from tegula import agg
from tegula.backfill.at_rest import reading
from tegula.backfill.verify import verify
from tegula.schemas.errors import ImportChanged

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
NAME = tg.Entity("name", keys={"k": tg.String})
EVENTS = tg.Stream(
    "events",
    schema={"k": tg.String, "x": tg.Float64, "at": tg.Timestamp},
    event_time="at",
)
VIEW = tg.FeatureView(
    "v",
    entity=NAME,
    stream=EVENTS,
    features={
        "n": agg.count().over(tg.lifetime()),
        "day": agg.sum("x").over(tg.sliding("1d", resolution="exact")),
        "week": agg.max("x").over(tg.sliding("7d")),
        "last": agg.last("x").over(tg.lifetime()),
        "three": agg.sum("x").over(tg.last(3)),
        "visit": agg.count().over(tg.session("2h")),
    },
)
STRICT = tg.FeatureView(
    "strict",
    entity=NAME,
    stream=EVENTS,
    features={"day": agg.count().over(tg.sliding("1d"))},
    allowed_lateness="10m",
)


def history(seed: int, count: int, before: datetime) -> pl.DataFrame:
    """Rows of 30 days, out of order."""
    draw = random.Random(seed)
    span_us = 30 * 86_400_000_000
    return pl.DataFrame(
        {
            "k": [draw.choice("abc") for _ in range(count)],
            "x": [float(draw.randrange(-100, 100)) for _ in range(count)],
            "at": [
                before - timedelta(microseconds=draw.randrange(1, span_us)) for _ in range(count)
            ],
        },
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )


def naive(rows: list[tuple[datetime, float]], at: datetime) -> dict[str, object]:
    """What the features are by going through the key's rows, at after each other."""
    rows = sorted(row for row in rows if row[0] < at)
    visit = 0
    for place in range(len(rows) - 1, -1, -1):
        visit += 1
        if place == 0 or rows[place][0] - rows[place - 1][0] > timedelta(hours=2):
            break
    day = [x for when, x in rows if when >= at - timedelta(days=1)]
    week_from = (at - timedelta(days=7)).replace(minute=0, second=0, microsecond=0)
    week = [x for when, x in rows if when >= week_from]
    return {
        "v:n": len(rows),
        "v:day": sum(day),
        "v:week": max(week, default=None),
        "v:last": rows[-1][1] if rows else None,
        "v:three": float(sum(x for _, x in rows[-3:])),
        "v:visit": visit,
    }


def of_key(frame: pl.DataFrame, key: str) -> list[tuple[datetime, float]]:
    return frame.filter(pl.col("k") == key).select("at", "x").rows()


@pytest.fixture
def source(tmp_path, seed):
    frame = history(seed, 3_000, AT - timedelta(hours=3))
    frame.write_parquet(tmp_path / "h.parquet", row_group_size=700)
    return tmp_path / "h.parquet", frame


def live_events() -> list[dict[str, object]]:
    seconds = (1, 4_000, 7_300)
    return [{"k": "a", "x": 1.0, "at": (AT - timedelta(seconds=s)).isoformat()} for s in seconds]


def with_live(frame: pl.DataFrame, key: str) -> list[tuple[datetime, float]]:
    rows = of_key(frame, key)
    if key == "a":
        rows += [(datetime.fromisoformat(str(one["at"])), 1.0) for one in live_events()]
    return rows


@pytest.mark.parametrize("order", ["import first", "live first", "crash between"])
def test_history_and_live_events_are_one_answer(source, order):
    place, frame = source
    with tg.TestDriver(VIEW, STRICT, at=AT) as driver:
        if order != "import first":
            driver.send("events", live_events(), partition="0")
            driver.settle()
        if order == "crash between":
            driver.crash()
            driver.restart()
        driver.import_rows("events", place)
        if order == "import first":
            driver.settle()
            driver.send("events", live_events(), partition="0")
        for key in "abc":
            assert driver.online(VIEW, {"k": key}) == naive(with_live(frame, key), AT)
        # An imported row is never late; two of the live ones are.
        outcomes = driver.outcomes("strict")
        assert (outcomes["expired"], outcomes["folded"], outcomes["read"]) == (2, 3_001, 3_003)


def test_backfill_replay_and_a_view_that_comes_later_say_the_same(source):
    place, frame = source
    with tg.TestDriver(VIEW, at=AT) as driver:
        driver.send("events", live_events(), partition="0")
        driver.import_rows("events", place, landing_delay="1d")
        expected = {key: naive(with_live(frame, key), AT) for key in "abc"}
        assert {key: driver.online(VIEW, {"k": key}) for key in "abc"} == expected
        assert driver.offline(VIEW, {"k": "a"}) == expected["a"]
        driver.backfill("v")
        assert {key: driver.online(VIEW, {"k": key}) for key in "abc"} == expected
        later = tg.FeatureView("later", entity=NAME, stream=EVENTS, features=VIEW.features)
        driver.apply(VIEW, later)
        again = driver.online(later, {"k": "b"})
        assert [*again.values()] == [*expected["b"].values()]
        assert driver.outcomes("later") == driver.outcomes("v")


def test_archive_says_what_was_imported_and_when_it_landed(source, tmp_path):
    place, frame = source
    home = tmp_path / "home"
    with tg.TestDriver(VIEW, at=AT, home=home) as driver:
        driver.import_rows("events", place, landing_delay="2d")
        driver.settle()
        driver.engine.archiving.flush()
    archive = pl.read_delta(str(home / ".tegula/lake/log/events")).sort("_offset")
    assert archive["_partition"].str.starts_with("import-").all()
    at_us = archive["at"].to_physical()
    assert at_us.to_list() == sorted(frame["at"].to_physical())
    now_us = int(AT.timestamp()) * 1_000_000
    landed = np.minimum(at_us.to_numpy() + 2 * 86_400_000_000, now_us)
    assert archive["_log_us"].to_numpy().tolist() == landed.tolist()
    assert (archive["_watermark_us"] <= at_us).all()


def test_bad_rows_are_dead_letters_and_can_be_driven_again(tmp_path):
    rows = ['{"k": "a", "x": "5.5", "at": "2024-05-01T11:00:00Z"}', "{"]
    rows.append('{"k": "a", "x": 1.0, "at": "2024-05-01T11:30:00Z"}')
    (tmp_path / "h.jsonl").write_text("\n".join(rows))
    with tg.TestDriver(VIEW, at=AT) as driver:
        done = driver.import_rows("events", tmp_path / "h.jsonl")
        assert done.held.bad == {"TG-201": 1, "TG-202": 1}
        dead = driver.dead_letters("events")
        assert sorted(one.code for one in dead) == ["TG-201", "TG-202"]
        assert all(one.partition.startswith("import-") for one in dead)
        mended = driver.redrive("events", mend=lambda raw: raw.replace(b'"5.5"', b"5.5"))
        assert mended.driven == 2
        assert driver.online("v:day", {"k": "a"}) == {"v:day": 6.5}
        outcomes = driver.outcomes("v")
        assert (outcomes["read"], outcomes["dead_lettered"], outcomes["folded"]) == (5, 3, 2)


def test_state_verify_finds_nothing_odd_in_a_state_with_imports(source, tmp_path):
    place, _ = source
    home = tmp_path / "home"
    with tg.TestDriver(VIEW, STRICT, at=AT, home=home) as driver:
        driver.send("events", live_events(), partition="0")
        driver.import_rows("events", place)
        driver.settle()
        settings = driver._settings
    with reading(settings) as state:
        report = verify(state, builds=state.deployed.builds, sample=3, seed=1)
    assert report.faults == []
    assert {check.name: check.notes for check in report.checks if check.notes} == {}


def test_import_counts_once_however_often_the_engine_crashes(source):
    place, frame = source
    with tg.TestDriver(VIEW, at=AT) as driver:
        driver.import_rows("events", place)
        for _ in range(2):
            driver.settle()
            driver.crash()
            driver.restart()
            assert driver.import_rows("events", place).before
        assert driver.online(VIEW, {"k": "c"}) == naive(of_key(frame, "c"), AT)
        with pytest.raises(ImportChanged):
            driver.import_rows("events", place, landing_delay="1h")
