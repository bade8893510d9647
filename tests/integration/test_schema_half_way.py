"""A schema that changes half-way: what came before and after it is one history, everywhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

import tegula as tg
from tegula import agg
from tegula.schemas.errors import DefinitionErrors
from tegula.schemas.time import MINUTE_US

AT = 1_714_564_800_000_000
NAME = tg.Entity("name", keys={"k": tg.String})
OLD = tg.Stream(
    "events",
    schema={"k": tg.String, "x": tg.Float64, "n": tg.Int64, "at": tg.Timestamp.of("us")},
    event_time="at",
)
NEW = replace(OLD, schema={"k": tg.String, "y": tg.Int64, "x": tg.Float64, "at": OLD.schema["at"]})
"""`y` came, `n` went, and the columns stand in another order."""


def view(stream: tg.Stream, **features: Any) -> tg.FeatureView:
    shared = {
        "count": agg.count().over(tg.lifetime()),
        "x": agg.sum("x").over(tg.lifetime()),
        "hour": agg.max("x").over(tg.sliding("1h")),
    }
    return tg.FeatureView(
        "v", entity=NAME, stream=stream, features={**shared, **features}, history="1d"
    )


BEFORE = view(OLD, n=agg.sum("n").over(tg.lifetime()))
AFTER = view(
    NEW,
    y=agg.sum("y").over(tg.lifetime()),
    y_count=agg.count("y").over(tg.lifetime()),
    newest=agg.last("y").over(tg.lifetime(), default=-1),
)
INSTANTS = [AT + minute * MINUTE_US for minute in (-1, 10, 30, 45, 61, 75, 119, 121)]


def events(seed: int, begin: int) -> list[dict[str, Any]]:
    """An hour of events in which whole numbers stand for floats, as JSON writes them."""
    draw = np.random.default_rng(seed)
    found = []
    for at in sorted(draw.integers(0, 60 * MINUTE_US, 80).tolist()):
        x = int(draw.integers(0, 50)) if draw.random() < 0.5 else float(draw.normal())
        found.append({"k": "ab"[int(draw.integers(2))], "x": x, "at": AT + begin + at})
    return found


def naive(sent: list[dict[str, Any]], key: str, at: int) -> dict[str, Any]:
    """The features of the new view by going through all that was sent."""
    mine = [one for one in sent if one["k"] == key and one["at"] < at]
    mine.sort(key=lambda one: one["at"])
    begin = at - 60 * MINUTE_US
    begin -= begin % MINUTE_US
    ys = [one["y"] for one in mine if one.get("y") is not None]
    return {
        "v:count": len(mine),
        "v:x": pytest.approx(sum(one["x"] for one in mine), abs=1e-9),
        "v:hour": max((one["x"] for one in mine if one["at"] >= begin), default=None),
        "v:y": sum(ys),
        "v:y_count": len(ys),
        "v:newest": ys[-1] if ys else -1,
    }


@pytest.mark.parametrize("archived", [True, False])
def test_both_halves_are_one_history_live_in_a_replay_and_in_a_training_set(
    tmp_path, seed, archived
):
    first = [{**one, "n": number} for number, one in enumerate(events(seed, 0))]
    second = events(seed + 1, 60 * MINUTE_US)
    for number, one in enumerate(second):
        one["y"] = None if number % 5 == 0 else number
    sent = [*first, *second]
    spine = pl.DataFrame({"k": ["a", "b"]}).join(pl.DataFrame({"at": INSTANTS}), how="cross")
    with tg.TestDriver(BEFORE, at=AT, home=tmp_path) as driver:
        driver.advance_to(AT + 60 * MINUTE_US)
        driver.send("events", first, partition="0")
        driver.settle()
        if archived:
            driver.engine.archiving.flush()
        old = tg.training_set(spine, BEFORE, project=driver.settings, out=tmp_path / "old")
        driver.apply(AFTER)
        driver.advance_to(AT + 121 * MINUTE_US)
        # The older build still reads `n`, which producers of the new kind no longer send.
        driver.send("events", second, partition="0")
        driver.crash()
        driver.restart()
        driver.backfill("v")
        for key in "ab":
            expected = naive(sent, key, AT + 121 * MINUTE_US)
            assert driver.online(AFTER, {"k": key}) == expected
            assert driver.offline(AFTER, {"k": key}) == expected
        made = tg.training_set(spine, AFTER, project=driver.settings, now_us=driver.clock())
        rows = made.to_polars()
        for row in rows.iter_rows(named=True):
            if row["at"] > sent[0]["at"]:
                expected = naive(sent, row["k"], row["at"])
                assert {name: row[name] for name in expected} == expected
        # What was made of the first half is made again, by the definitions that it was made by.
        from tegula.backfill.training.rebuild import rebuild

        assert rebuild(tmp_path / "old", driver.settings).same
        assert old.rows == spine.height


def test_column_that_left_does_not_come_back_with_another_type():
    """The archive has it with the type that it had."""
    back = replace(OLD, schema={**NEW.schema, "n": tg.Float64})
    with tg.TestDriver(BEFORE, at=AT) as driver:
        driver.send("events", {"k": "a", "x": 1, "n": 1, "at": AT - 1})
        driver.settle()
        driver.apply(AFTER)
        driver.backfill("v")
        for build in driver.engine.registry.builds(("live",)):
            if build.id == 1:
                driver.engine.registry.retire(1)
        driver.settle()
        with pytest.raises(DefinitionErrors, match="a column keeps its type"):
            driver.apply(view(back))
        driver.apply(view(replace(OLD, schema={**NEW.schema, "n": tg.Int64})))
        driver.send("events", {"k": "a", "x": 1, "n": 2, "at": AT - 1})
        assert driver.online("v:count", {"k": "a"}) == {"v:count": 2}
        driver.engine.archiving.flush()
