"""Training sets: what they are made from, what is refused, and what one does with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

import tegula as tg
from tegula import agg, lifetime, sliding
from tegula.backfill.imports.importing import import_rows
from tegula.backfill.training.ranges import features_in_range
from tegula.engine.apply import apply_definitions
from tegula.engine.plan import compile as compile_plan
from tegula.engine.settings import Settings
from tegula.schemas.codec import collect
from tegula.schemas.errors import (
    BadDataset,
    BadSpine,
    SinkError,
    UnknownFeature,
    UnknownService,
)
from tegula.schemas.time import MINUTE_US
from tests.support.importing import asked
from tests.support.training import (
    SCHEMA,
    START_US,
    card,
    fraud,
    lived,
    made,
    paid,
    payments,
    shops,
    spend,
    spine,
)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[tg.TestDriver]:
    with tg.TestDriver(fraud, at=START_US, home=tmp_path / "project") as made:
        lived(made)
        yield made


def test_several_entities_and_labels_come_in_one_call(driver):
    rows = spine(2, 5, y=[1, 0])
    labels = {"y": "6m", spend["n"]: "3m", "shops:n": "7m"}
    frame = made(driver, rows, [fraud, spend], labels=labels, include=["status"]).to_polars()
    assert frame.columns[:4] == rows.columns
    assert frame["spend:n"].to_list() == [2, 5]
    assert frame["shops:n"].to_list() == [2, 5]
    assert frame["spend:n+3m"].to_list() == [5, 5]
    assert frame["y"].to_list() == [1, None]  # at minute 11 nobody knows yet
    assert frame["shops:n+7m"].to_list() == [5, None]
    assert frame["shops:n+7m|status"].to_list() == ["PRESENT", "NOT_KNOWN_YET"]


def test_names_mean_what_is_applied(driver):
    by_name = made(driver, spine(5), ["fraud@2", "shops"]).to_polars()
    assert by_name.equals(made(driver, spine(5)).to_polars())
    for wrong in ("spend:nothing", "nothing:n"):
        with pytest.raises(UnknownFeature):
            made(driver, spine(5), wrong)
    with pytest.raises(UnknownService):
        made(driver, spine(5), "fraud@1")


def test_definitions_need_not_be_applied(driver):
    new = tg.FeatureView(
        "new", entity=card, stream=payments, features={"most": agg.max("amount").over(lifetime())}
    )
    assert made(driver, spine(5), new).to_polars()["new:most"].to_list() == [1.0]


def test_what_was_pushed_and_no_engine_has_seen_counts(driver):
    driver.crash()
    driver.send("payments", paid(9, amount=50.0))
    assert made(driver, spine(10)).to_polars()["spend:total"].to_list() == [55.0]
    driver.restart()


def test_known_counts_what_had_landed_and_event_tells_how_many_rows_differ(driver):
    rows = spine(1, 1.75, 2, 2 + 1e-6 * 2, 4.75)
    event = made(driver, rows)
    known = made(driver, rows, clock="known")
    assert event.to_polars()["spend:n"].to_list() == [1, 2, 2, 2, 5]
    assert known.to_polars()["spend:n"].to_list() == [0, 1, 1, 2, 4]
    assert (event.late_rows, known.late_rows) == (4, 0)
    landed = made(driver, rows, clock="known", landing_delay="1m")
    assert landed.to_polars()["spend:n"].to_list() == [0, 0, 0, 1, 3]


@pytest.mark.parametrize("clock", ["event", "known"])
def test_events_of_a_key_cut_by_time_give_the_same_set(driver, monkeypatch, clock):
    minutes = [1, 1.5, 1.75, 2, 2.5, 3, 4.25, 4.5, 5, 9]
    rows = spine(*minutes, y=list(range(len(minutes))))
    options: dict[str, Any] = {"labels": {"y": "1m", spend["total"]: "30s"}, "clock": clock}
    options |= {"include": ["status", "event_time", "bounds"]}
    whole = made(driver, rows, **options)
    monkeypatch.setattr("tegula.backfill.training.slices.ROWS_MAX", 2)
    turned = made(driver, rows, **options)
    assert turned.to_polars().equals(whole.to_polars())
    assert turned.manifest["hash"] == whole.manifest["hash"]
    assert turned.late_rows == whole.late_rows


@pytest.mark.parametrize("feature", ["n", "total", "last"])
def test_nothing_of_the_instant_itself_or_later_leaks(driver, feature):
    """Every row is compared with a log that ends right before its instant."""
    driver.advance_to(START_US + 60 * MINUTE_US)
    driver.send("payments", paid(30, amount=1e6, shop="late"))
    before, after = (
        made(driver, spine(30, 30 + 1 / 60e6), spend[feature])
        .to_polars()[f"spend:{feature}"]
        .to_list()
    )
    expected = {"n": (5, 6), "total": (5.0, 1_000_005.0), "last": ("x", "late")}
    assert (before, after) == expected[feature]


def test_duplicate_rows_and_their_order_stay(driver):
    rows = spine(5, 2, 5, n=[3, 1, 2])
    frame = made(driver, rows).to_polars()
    assert frame.select(rows.columns).equals(rows)
    assert frame["spend:n"].to_list() == [5, 2, 5]


def test_keys_that_were_never_seen_and_null_keys_are_not_found(driver):
    rows = spine(5, 5).with_columns(card_id=pl.Series(["nobody", None]))
    frame = made(driver, rows, include=["status", "event_time", "bounds"]).to_polars()
    assert frame["spend:n|status"].to_list() == ["NOT_FOUND", "NOT_FOUND"]
    assert frame["spend:n"].to_list() == [0, 0]
    assert frame["shops:n"].to_list() == [5, 5]
    assert frame["spend:n|event_time"].to_list() == [None, None]
    assert frame["spend:n|end"].dt.epoch("us").to_list() == rows["at"].to_list()


def test_instants_before_the_first_event_have_a_status_and_no_zero(driver):
    frame = made(driver, spine(0.25, 0.5, 0.6), include=["status"]).to_polars()
    assert frame["spend:n"].to_list() == [None, 0, 1]
    assert frame["spend:n|status"].to_list() == ["BEFORE_HISTORY", "NOT_FOUND", "PRESENT"]


def test_an_archive_that_was_cut_says_so(driver):
    driver.engine.archiving.flush()
    table = DeltaTable(str(driver.settings.lake_path / "log" / "payments"))
    driver.crash()
    table.delete("_offset < 4")
    frame = made(driver, spine(2, 3.5), spend, include=["status"]).to_polars()
    assert frame["spend:n|status"].to_list() == ["BEFORE_HISTORY", "COARSE"]
    assert frame["spend:n"].to_list() == [None, 1]
    driver.restart()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (spine(1).drop("card_id", "at"), r"no column 'at', 'card_id'"),
        (spine(1).with_columns(at=pl.lit(None, pl.Int64)), "row 0 of the spine has no instant"),
        (spine(1, 11), "row 1 of the spine lies in the future"),
        (spine(1).with_columns(card_id=pl.lit(7)), "another type in the spine"),
        (spine(1).rename({"shop": "spend:n"}).with_columns(shop=pl.lit("x")), "name of a feature"),
        (pl.DataFrame(), "no column"),
    ],
)
def test_bad_spines_are_refused(driver, rows, said):
    with pytest.raises(BadSpine, match=said):
        made(driver, rows)


def test_what_has_no_meaning_is_refused(driver):
    for wrong in (
        {"clock": "wall"},
        {"landing_delay": "1m"},
        {"include": ["everything"]},
        {"memory_bytes": 1},
        {"cores": -1},
    ):
        with pytest.raises(BadDataset):
            made(driver, spine(1), **wrong)
    with pytest.raises(BadDataset, match="no feature"):
        made(driver, spine(1), [])
    with pytest.raises(BadDataset, match="no feature"):
        made(driver, spine(1), [7])


def test_an_empty_spine_gives_an_empty_set(driver, tmp_path):
    empty = made(driver, spine(1)[:0], out=tmp_path / "empty")
    assert (empty.rows, empty.to_polars().height) == (0, 0)
    assert "spend:total" in empty.to_polars().columns


def test_missing_archive_file_is_named_and_nothing_is_written(driver, tmp_path):
    driver.crash()
    file = next((driver.settings.lake_path / "log" / "payments").rglob("*.parquet"))
    kept = file.read_bytes()
    for damage in (lambda: file.unlink(), lambda: file.write_bytes(kept[:100])):
        damage()
        with pytest.raises(SinkError, match=file.name):
            made(driver, spine(5), out=tmp_path / "set")
        assert [one.name for one in tmp_path.iterdir()] == ["project"]
    file.write_bytes(kept)
    driver.restart()


def test_a_schema_that_grew_is_null_where_it_was_not(driver):
    more = tg.Stream(
        "payments",
        schema={**SCHEMA, "online": tg.Bool},
        event_time="at",
        disorder="10s",
    )
    grown = tg.FeatureView(
        "grown",
        entity=card,
        stream=more,
        features={
            "said": agg.count("online").over(lifetime()),
            "all": agg.count().over(lifetime()),
        },
    )
    driver.apply(grown)
    driver.send("payments", {**paid(9), "online": True})
    driver.settle()
    frame = made(driver, spine(5, 10), [grown]).to_polars()
    assert frame["grown:said"].to_list() == [0, 1]
    assert frame["grown:all"].to_list() == [5, 6]


def test_expired_and_driven_again_events_count_as_they_did(driver):
    short = tg.FeatureView(
        "short",
        entity=card,
        stream=payments,
        allowed_lateness="1m",
        features={"n": agg.count().over(sliding("1h", resolution="exact"))},
    )
    driver.apply(fraud, short)
    driver.settle()
    driver.send("payments", [paid(9.9), paid(5.5), paid(9.5)])
    driver.advance_to(START_US + 11 * MINUTE_US)
    assert driver.outcomes("short")["expired"] == 1
    before = made(driver, spine(6, 10), [short, spend]).to_polars()
    assert before["short:n"].to_list() == [5, 7]
    assert before["spend:n"].to_list() == [6, 8]
    driver.redrive("payments", expired="short")
    driver.settle()
    assert driver.online(short, {"card_id": "a"})["short:n"] == 8
    again = made(driver, spine(6, 10), [short, spend]).to_polars()
    assert again["short:n"].to_list() == [6, 8]
    assert again["spend:n"].to_list() == [6, 8]  # for it the event is a duplicate


def test_copies_do_not_count_archived_or_not(tmp_path: Path):
    unique = tg.Stream(
        "unique",
        schema={**SCHEMA, "id": tg.String},
        event_time="at",
        unique_by="id",
        unique_within="2m",
    )
    view = tg.FeatureView(
        "v", entity=card, stream=unique, features={"n": agg.count().over(lifetime())}
    )
    with tg.TestDriver(view, at=START_US, home=tmp_path / "project") as driver:
        for minute in range(1, 8):
            driver.advance_to(START_US + minute * MINUTE_US)
            ids = [f"i{minute}", f"i{minute - 1}", f"i{minute}", None]
            driver.send("unique", [{**paid(minute - 0.5), "id": one} for one in ids])
            driver.settle()
            if minute in (2, 5):
                driver.engine.archiving.flush()
        driver.advance_to(START_US + 10 * MINUTE_US)
        online = driver.online(view, {"card_id": "a"})["v:n"]
        driver.crash()
        assert made(driver, spine(10), view).to_polars()["v:n"].to_list() == [online]
        driver.restart()


# What one does with a set


def test_results_are_one_table_in_every_form(driver, tmp_path):
    one = made(driver, spine(1, 5), include=["status", "event_time"])
    frame = one.to_polars()
    assert pl.DataFrame(one.to_arrow()).equals(frame)
    assert one.to_pandas()["spend:n"].tolist() == frame["spend:n"].to_list()
    one.to_delta(tmp_path / "set")
    assert pl.read_delta(str(tmp_path / "set")).equals(frame)
    assert len(one) == 2
    told = {row["column"]: row for row in one.statistics.to_dicts()}
    assert (told["spend:n"]["min"], told["spend:n"]["mean"]) == ("1", 3.0)
    assert ("spend:n", "PRESENT", 2) in one.statuses.rows()


def test_parts_by_time_are_apart_by_the_longest_window_or_outcome(driver):
    one = made(driver, spine(1, 2, 3, 4, 5), shops, labels={"shop": "2m"})
    cut = "2024-05-01T12:04:00Z"
    early, late = one.split_by_time(cut, embargo="2m")
    assert early["at"].to_list() == [START_US + MINUTE_US]
    assert late["at"].to_list() == [START_US + 4 * MINUTE_US, START_US + 5 * MINUTE_US]
    with pytest.raises(BadDataset, match="labels of the earlier part"):
        one.split_by_time(cut, embargo="1m")
    assert [part.height for part in one.split_by_time(cut)] == [0, 2]  # the window is an hour
    for wrong in ((), ("yesterday",), (cut, cut)):
        with pytest.raises(BadDataset, match="instants that ascend"):
            one.split_by_time(*wrong)


def test_parts_by_entity_share_no_key(driver):
    rows = pl.DataFrame(
        {"card_id": [f"c{n % 40}" for n in range(200)] + [None], "at": [START_US + MINUTE_US] * 201}
    )
    one = made(driver, rows, spend)
    parts = one.split_by_entity((0.5, 0.3, 0.2), seed=3)
    assert sum(part.height for part in parts) == 201
    keys = [set(part["card_id"].drop_nulls()) for part in parts]
    assert keys[0] | keys[1] | keys[2] == set(rows["card_id"].drop_nulls())
    assert sum(map(len, keys)) == 40
    assert [len(part) for part in keys] != [40, 0, 0]
    for wrong in ((0.5, 0.6), ()):
        with pytest.raises(BadDataset, match="add up"):
            one.split_by_entity(wrong)
    both = made(driver, spine(1))
    with pytest.raises(BadDataset, match="which entity"):
        both.split_by_entity()
    assert both.split_by_entity(keys=["shop"])[0].height in (0, 1)


def test_features_in_a_range_are_rows_of_keys_and_instants(driver):
    settings: Settings = driver.settings
    between: Any = ("2024-05-01T12:01:00Z", "2024-05-01T12:05:00Z", "2m")
    options = {"project": settings, "now_us": driver.clock()}
    frame = features_in_range(spend["n"], *between, **options)
    assert frame.columns == ["card_id", "at", "spend:n"]
    assert frame.select("card_id", "spend:n").rows() == [("a", 1), ("a", 3), ("b", 1), ("b", 3)]
    chosen = features_in_range(spend["n"], *between, keys={"card_id": ["b"]}, **options)
    assert chosen["spend:n"].to_list() == [1, 3]
    with pytest.raises(BadDataset, match="no range"):
        features_in_range(spend, between[1], between[0], "1m", **options)
    with pytest.raises(BadDataset, match="several entities"):
        features_in_range([spend, shops], *between, **options)
    with pytest.raises(BadDataset, match="too much"):
        features_in_range(spend, between[0], between[1], "1us", keys={"card_id": ["b"]}, **options)


def test_imports_count_where_nothing_was_ever_pushed(tmp_path):
    """No engine has run and there is no log: all that is kept of the stream was imported."""
    settings, definitions = Settings(project=tmp_path, shards=1), collect(fraud)
    apply_definitions(settings, definitions, author="test", message="", now_us=START_US)
    source = tmp_path / "history.jsonl"
    source.write_text("".join(f"{json.dumps(paid(minute))}\n" for minute in (1, 2, 3)))
    what = asked(source, stream=compile_plan(definitions).stream("payments"))
    import_rows(settings, what, START_US + 10 * MINUTE_US, lambda *_: None)
    got = tg.training_set(spine(2.5, 5), fraud, project=settings)
    assert got.to_polars()["spend:n"].to_list() == [2, 3]
    assert got.notes == ()


def test_lost_log_is_told_and_imports_are_read_all_the_same(driver, tmp_path):
    source = tmp_path / "history.jsonl"
    source.write_text(json.dumps(paid(0.25)))
    driver.import_rows("payments", source)
    assert made(driver, spine(5)).notes == ()
    driver.crash()
    driver.settings.log_path("payments").unlink()
    got = made(driver, spine(5))
    assert "does not answer (TG-" in got.notes[0]
    # Eight events were archived of which four are the card's; the log had one more of it.
    assert got.to_polars()["spend:n"].to_list() == [1 + 4]
