"""Sets by the clock `served`: real answers of real serving, taken as of each row's instant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

import tegula as tg
from tegula import agg, last, lifetime, sliding
from tegula.backfill.training.rebuild import rebuild
from tegula.schemas.errors import BadDataset, BadSpine, NothingServed
from tegula.schemas.time import MINUTE_US
from tegula.state.served import ServedTable, served_path
from tests.support.answering import served
from tests.support.training import START_US, card, fraud, made, paid, payments, shops, spend, spine

KEYS = {"card_id": ["a"], "shop": ["y"]}


@contextmanager
def asked(folder: Path) -> Iterator[tg.TestDriver]:
    """In each of five minutes two events come, and then serving is asked."""
    with tg.TestDriver(fraud, at=START_US, home=folder / "project") as driver:
        for minute in range(1, 6):
            driver.advance_to(START_US + minute * MINUTE_US)
            driver.send("payments", [paid(minute - 0.5), paid(minute - 0.5, "b", 2.0, "y")])
            served(driver, KEYS, trace_id=f"{minute:032x}")
        driver.advance_to(START_US + 10 * MINUTE_US)
        yield driver


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[tg.TestDriver]:
    with asked(tmp_path) as driver:
        yield driver


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tg.TestDriver]:
    """The same, for tests that change nothing."""
    with asked(tmp_path_factory.mktemp("shared")) as driver:
        yield driver


def at(minute: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        microseconds=START_US + int(minute * MINUTE_US)
    )


def by_served(driver: tg.TestDriver, rows: Any, features: Any = fraud, **options: Any) -> Any:
    return made(driver, rows, features, clock="served", **options)


def test_values_are_the_newest_answer_and_not_what_events_say(shared):
    rows = spine(0.5, 1, 1.9, 2, 4.5, 9)
    frame = by_served(shared, rows, include=["status", "event_time", "trace"]).to_polars()
    assert frame["spend:n"].to_list() == [None, 1, 1, 2, 4, 5]
    assert frame["spend:total"].to_list() == [None, 1.0, 1.0, 2.0, 4.0, 5.0]
    assert frame["shops:n"].to_list() == [None, 1, 1, 2, 4, 5]
    assert frame["spend:n|status"].to_list() == ["NOT_SERVED"] + ["PRESENT"] * 5
    assert frame["spend:n|served_at"].to_list() == [None, *map(at, (1, 1, 2, 4, 5))]
    assert frame["shops:n|trace_id"].to_list()[1:] == [f"{n:032x}" for n in (1, 1, 2, 4, 5)]
    # An event counts half a minute before serving knew of it.
    assert made(shared, rows).to_polars()["spend:n"].to_list() == [0, 1, 2, 2, 4, 5]


def test_an_answer_a_microsecond_later_is_not_taken(shared):
    us = 1 / MINUTE_US
    frame = by_served(shared, spine(2 - 1.01 * us, 2, 2 + 1.01 * us)).to_polars()
    assert frame["spend:n"].to_list() == [1, 2, 2]
    late = spine(2 + 1 + 1.01 * us, 3, 3 - 1.01 * us)
    frame = by_served(shared, late, max_age="1m").to_polars()
    assert frame["spend:n"].to_list() == [3, 3, 2]
    ages = by_served(shared, spine(6, 6 + 1.01 * us), max_age="1m", include=["status"]).to_polars()
    assert ages["spend:n|status"].to_list() == ["PRESENT", "NOT_SERVED"]


def test_keys_that_nobody_asked_for_are_not_served(shared):
    rows = spine(5, 5, 5).with_columns(card_id=pl.Series(["nobody", None, "a"]))
    frame = by_served(shared, rows, include=["status"]).to_polars()
    assert frame["spend:n"].to_list() == [None, None, 5]
    assert frame["spend:n|status"].to_list() == ["NOT_SERVED", "NOT_SERVED", "PRESENT"]
    assert frame["shops:n"].to_list() == [5, 5, 5]


def test_what_was_answered_stays_whatever_status_it_had(driver):
    served(driver, {"card_id": ["new", None], "shop": ["none", "y"]})
    rows = spine(10).with_columns(card_id=pl.lit("new"), shop=pl.lit("none"))
    frame = by_served(driver, rows, include=["status"]).to_polars()
    assert frame.row(0)[3:] == (0, "NOT_FOUND", 0.0, "NOT_FOUND", None, "NOT_FOUND", 0, "NOT_FOUND")


def test_a_trace_names_its_answer(shared):
    rows = spine(9, 9, 2, 9, trace=[f"{3:032X}", f"{9:032x}", f"{3:032x}", None])
    options: dict[str, Any] = {"trace": "trace", "include": ["status"]}
    frame = by_served(shared, rows, **options).to_polars()
    assert frame["spend:n"].to_list() == [3, None, None, None]
    assert frame["spend:n|status"].to_list() == ["PRESENT"] + ["NOT_SERVED"] * 3
    assert frame["trace"].to_list() == rows["trace"].to_list()
    with pytest.raises(BadSpine, match="no column 'trace'"):
        by_served(shared, spine(9), trace="trace")
    with pytest.raises(BadSpine, match="trace ids"):
        by_served(shared, spine(9, trace=[1]), trace="trace")


def test_answers_as_of_another_instant_are_left_out_but_for_their_trace(driver):
    served(driver, KEYS, trace_id="cd" * 16, as_of="2024-05-01T12:02:00Z")
    made_ = by_served(driver, spine(10, trace=["cd" * 16]))
    assert made_.to_polars()["spend:n"].to_list() == [5]
    assert any("`as_of`" in note for note in made_.notes)
    traced = by_served(driver, spine(10, trace=["cd" * 16]), trace="trace")
    assert traced.to_polars()["spend:n"].to_list() == [2]


def test_values_that_a_request_brought_come_when_they_are_asked_for(driver):
    served(driver, KEYS, request={"amount": [12.5]})
    frame = by_served(driver, spine(4, 10), spend["n"], include=["request"]).to_polars()
    assert frame["spend:n|request"].to_list() == [None, '{"amount":12.5}']


def test_manifest_says_what_answered_and_which_share_was_kept(shared):
    manifest = by_served(shared, spine(0.5, 2, 4)).manifest
    told = manifest["served"]
    log = told["logs"]["fraud"]
    assert (log["share"], log["rows"], log["version"]) == (shared.settings.served_share, 4, 5)
    assert sum(log["writers"].values()) == 4
    assert sum(one["values"] for one in told["answers"]) == 8
    assert {(one["service"], one["version"]) for one in told["answers"]} == {("fraud", 2)}
    assert told["age_us"] == {"mean": 0, "max": 0}
    assert (manifest["clock"], manifest["streams"], manifest["late_rows"]) == ("served", {}, 0)
    assert any("a share of 0.01 of the answers" in note for note in manifest["notes"])


def test_a_service_that_changed_gives_what_each_answer_had(driver):
    more = tg.FeatureView(
        "spend",
        entity=card,
        stream=payments,
        features={
            "n": agg.count(where=pl.col("amount") > 1).over(sliding("1h", resolution="exact")),
            "last": agg.last_n("shop", 2).over(last(3)),
            "most": agg.max("amount").over(lifetime()),
        },
    )
    other = tg.FeatureService("fraud", version=3, features=[more])
    driver.apply(other)
    driver.backfill("spend")
    driver.settle()
    served(driver, {"card_id": ["a", "b"]})
    frame = by_served(driver, spine(4, 10), other, include=["status"]).to_polars()
    assert frame["spend:n"].to_list() == [4, 0]
    assert frame["spend:last"].to_list() == [None, ["x", "x"]]
    assert frame["spend:last|status"].to_list() == ["NOT_SERVED", "PRESENT"]
    assert frame["spend:most|status"].to_list() == ["NOT_SERVED", "PRESENT"]
    made_ = by_served(driver, spine(4, 10), other)
    assert any("another definition" in " ".join(note.split()) for note in made_.notes)
    assert any("another type" in note for note in made_.notes)
    of_two = by_served(driver, spine(10), spend, served_by="fraud@2").to_polars()
    assert of_two["spend:n"].to_list() == [5]
    # By the old definition the newest answer that has the feature as it was.
    before = by_served(driver, spine(10), [spend["total"], shops["n"]]).to_polars()
    assert before.row(0)[3:] == (5.0, 5)


def test_answers_of_all_services_count_unless_one_is_named(driver):
    second = tg.FeatureService("limits", version=1, features=[spend["n"]])
    driver.apply(fraud, second)
    driver.settle()
    driver.send("payments", paid(9.5))
    served(driver, {"card_id": ["a"]}, service="limits")
    rows = spine(10)
    assert by_served(driver, rows).to_polars().row(0)[3:] == (6, 5.0, "x", 5)
    assert by_served(driver, rows, served_by="fraud").to_polars()["spend:n"].to_list() == [5]
    with pytest.raises(NothingServed, match="limits"):
        by_served(driver, rows, shops["n"], served_by="limits")


def test_a_set_is_made_again_bit_for_bit_whatever_was_served_since(driver, tmp_path):
    out = tmp_path / "set"
    rows = spine(1, 2.5, 9, y=[1, 2, 3])
    first = by_served(driver, rows, out=out, max_age="10m", include=["status", "event_time"])
    served(driver, KEYS)
    table = DeltaTable(str(driver.settings.lake_path / served_path("fraud")))
    table.optimize.compact()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    again = rebuild(out, driver.settings, out=tmp_path / "again")
    assert (again.same, again.changes) == (True, ())
    assert again.dataset.manifest["files"] == first.manifest["files"]
    assert again.dataset.manifest["served"]["max_age_us"] == 10 * MINUTE_US
    table.delete(f"_trace_id = '{2:032x}'")
    again = rebuild(out, driver.settings)
    assert not again.same
    assert again.changes == ("the served log of 'fraud' had 5 answers and has 4",)
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({**first.manifest}))
    table.delete()
    with pytest.raises(NothingServed):
        rebuild(file, driver.settings, spine=rows)


def test_an_answer_that_is_written_late_changes_no_set_that_was_made(driver, tmp_path):
    """A server holds an answer back for a while: it is older than the set, and came after it."""
    out = tmp_path / "set"
    by_served(driver, spine(9), out=out)
    lake = driver.settings.lake_path
    rows = pl.read_delta(str(lake / served_path("fraud"))).sort("_served")[-1:].drop("_date")
    late = rows.with_columns(
        pl.lit(at(8)).dt.cast_time_unit("us").alias("_served"),
        pl.lit("late").alias("_writer"),
        pl.lit(99, pl.Int64).alias("spend:n"),
    )
    ServedTable(lake, "fraud", writer="late").append([late], 1)
    assert by_served(driver, spine(9)).to_polars()["spend:n"].to_list() == [99]
    assert rebuild(out, driver.settings).same


def test_nothing_served_is_an_error_that_says_what_to_do(tmp_path):
    with tg.TestDriver(fraud, at=START_US, home=tmp_path / "project") as driver:
        driver.advance_to(START_US + 10 * MINUTE_US)
        with pytest.raises(NothingServed, match="served_share") as raised:
            by_served(driver, spine(1))
        assert raised.value.code == "TG-426"
        served(driver, KEYS)
        with pytest.raises(NothingServed, match="fruad"):
            by_served(driver, spine(1), served_by="fruad")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"clock": "event", "max_age": "1h"}, "`max_age` has a meaning only by the clock `served`"),
        ({"clock": "known", "served_by": "fraud"}, "`served_by` has a meaning only"),
        ({"trace": "trace"}, "`trace` has a meaning only"),
        ({"clock": "served", "served_by": "fraud@x"}, "this is no service"),
        ({"clock": "served", "include": ["bounds"]}, "cannot be included by the clock `served`"),
        ({"include": ["request"]}, "cannot be included by the clock `event`"),
        ({"clock": "served", "landing_delay": "1m"}, "only by the clock `known`"),
        ({"clock": "served", "labels": {"spend:n": "1m"}}, "an answer is no label"),
    ],
)
def test_what_has_no_meaning_is_refused(shared, options, said):
    with pytest.raises(BadDataset, match=said):
        made(shared, spine(1), **options)
