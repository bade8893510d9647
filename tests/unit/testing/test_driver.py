"""`TestDriver` as its users meet it: each test is an example of what it is for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import orjson
import polars as pl
import pytest

import tegula as tg
from tegula import agg, sliding
from tegula.connectors.local_log import LocalLog
from tegula.schemas.errors import DefinitionErrors, StateHeld, UnknownFeature, UnknownStream
from tegula.schemas.outcomes import Status
from tegula.state.keys import shard_of

card = tg.Entity("card", keys={"card_id": tg.String})

payments = tg.Stream(
    "payments",
    schema={
        "card_id": tg.String,
        "merchant": tg.String,
        "amount": tg.Float64,
        "at": tg.Timestamp,
    },
    event_time="at",
    disorder="30s",
    source=tg.Kafka(topic="payments"),
)

spend = tg.FeatureView(
    "spend",
    entity=card,
    stream=payments,
    where=pl.col("amount") > 0,
    features={
        "payments_10m": agg.count().over(sliding("10m")),
        "spent_1h": agg.sum("amount").over(sliding("1h")),
        "last_merchant": agg.last("merchant").over(tg.lifetime()),
    },
)

fraud = tg.FeatureService("fraud", version=1, features=[spend["payments_10m"], spend["spent_1h"]])


def payment(amount: float, at: str, card_id: str = "c1", merchant: str = "m") -> dict[str, object]:
    return {
        "card_id": card_id,
        "merchant": merchant,
        "amount": amount,
        "at": f"2024-01-01T{at}Z",
    }


@pytest.fixture
def driver():
    with tg.TestDriver(fraud, at="2024-01-01T12:00:00Z") as made:
        yield made


def test_driver_answers_from_what_was_sent(driver):
    driver.send("payments", payment(10.0, "11:59:00"))
    driver.send("payments", [payment(2.5, "11:58:00"), payment(4.0, "11:40:00")])
    answer = driver.online(fraud, {"card_id": "c1"})
    assert answer == {"spend:payments_10m": 2, "spend:spent_1h": 16.5}


def test_driver_needs_no_broker_though_the_stream_has_a_topic(driver):
    assert payments.source is not None
    assert driver.online(fraud, {"card_id": "c1"})["spend:payments_10m"] == 0


def test_driver_values_change_as_the_clock_moves_with_no_event(driver):
    driver.send("payments", payment(10.0, "11:59:00"))
    driver.advance_to("2024-01-01T12:09:00Z")
    assert driver.online("spend:payments_10m", {"card_id": "c1"}) == {"spend:payments_10m": 1}
    driver.advance_to("2024-01-01T12:10:00Z")
    assert driver.online("spend:payments_10m", {"card_id": "c1"}) == {"spend:payments_10m": 0}
    assert driver.online("spend:spent_1h", {"card_id": "c1"}) == {"spend:spent_1h": 10.0}


def test_driver_clock_never_goes_back(driver):
    driver.advance_to("2024-01-01T13:00:00Z")
    driver.advance_to("2024-01-01T12:30:00Z")
    assert driver.clock() == 1_704_114_000_000_000


@pytest.mark.parametrize(
    "instant",
    [
        "2024-01-01T13:00:00Z",
        "2024-01-01T14:00:00+01:00",
        datetime(2024, 1, 1, 13, tzinfo=UTC),
        datetime(2024, 1, 1, 8, tzinfo=timezone(timedelta(hours=-5))),
        1_704_114_000_000_000,
    ],
)
def test_driver_takes_an_instant_in_any_of_its_forms(driver, instant):
    driver.advance_to(instant)
    assert driver.clock() == 1_704_114_000_000_000


def test_driver_takes_a_service_a_view_a_feature_or_its_name(driver):
    driver.send("payments", payment(10.0, "11:59:00"))
    key = {"card_id": "c1"}
    assert set(driver.online(fraud, key)) == {"spend:payments_10m", "spend:spent_1h"}
    assert set(driver.online(spend, key)) == {f"spend:{name}" for name in spend.features}
    assert driver.online(spend["last_merchant"], key) == {"spend:last_merchant": "m"}
    mixed = [spend["last_merchant"], "spend:payments_10m"]
    assert driver.online(mixed, key) == {"spend:last_merchant": "m", "spend:payments_10m": 1}


def test_driver_refuses_a_feature_that_does_not_exist(driver):
    with pytest.raises(UnknownFeature, match="spent_2h"):
        driver.online("spend:spent_2h", {"card_id": "c1"})


def test_driver_tells_the_status_of_each_value(driver):
    driver.send("payments", payment(10.0, "11:30:00"))
    assert driver.statuses(spend, {"card_id": "c1"}) == {
        "spend:payments_10m": Status.EMPTY,
        "spend:spent_1h": Status.PRESENT,
        "spend:last_merchant": Status.PRESENT,
    }
    assert set(driver.statuses(spend, {"card_id": "c2"}).values()) == {Status.NOT_FOUND}


def test_driver_reads_many_keys_at_once_with_bounds(driver):
    driver.send("payments", [payment(1.0, "11:59:00", "c1"), payment(2.0, "11:59:00", "c2")])
    reply = driver.read("spend:spent_1h", {"card_id": ["c2", "c1", "c3", "c2"]})
    assert reply.values == {"spend:spent_1h": [2.0, 1.0, 0.0, 2.0]}
    noon_us = driver.clock()
    assert reply.bounds["spend:spent_1h"][0] == [noon_us - 3_600_000_000] * 4


def test_driver_reads_as_of_an_instant_within_history(driver):
    driver.send("payments", [payment(1.0, "11:50:00"), payment(2.0, "11:58:00")])
    wanted, key = "spend:spent_1h", {"card_id": "c1"}
    assert driver.online(wanted, key, as_of="2024-01-01T11:55:00Z") == {wanted: 1.0}
    assert driver.online(wanted, key, as_of="2024-01-01T11:50:00Z") == {wanted: 0.0}


def test_driver_tells_what_became_of_each_record(driver):
    driver.send(
        "payments",
        [
            payment(1.0, "11:59:00"),
            payment(-1.0, "11:59:00"),
            {**payment(1.0, "11:59:00"), "card_id": None},
            payment(1.0, "12:30:00"),
            b"nonsense",
            b"",
        ],
    )
    outcomes = driver.outcomes("spend")
    assert outcomes == {
        "read": 6,
        "folded": 1,
        "filtered": 2,
        "duplicate": 0,
        "expired": 0,
        "dead_lettered": 3,
        "late": 0,
    }


def test_driver_counts_what_is_late_and_what_is_expired(driver):
    hourly = tg.FeatureView(
        "hourly",
        entity=card,
        stream=payments,
        features={"n": agg.count().over(sliding("1h"))},
        allowed_lateness="5m",
    )
    with tg.TestDriver(hourly, at="2024-01-01T12:00:00Z") as driver:
        driver.send("payments", payment(1.0, "11:59:00"))
        driver.send("payments", [payment(1.0, "11:57:00"), payment(1.0, "11:50:00")])
        outcomes = driver.outcomes("hourly")
        assert (outcomes["folded"], outcomes["late"], outcomes["expired"]) == (2, 1, 1)
        assert driver.online(hourly, {"card_id": "c1"}) == {"hourly:n": 2}


def test_driver_orders_events_of_one_instant_by_partition_and_not_by_arrival(driver):
    driver.send("payments", payment(1.0, "11:59:00", merchant="second"), partition="3")
    driver.settle()
    driver.send("payments", payment(1.0, "11:59:00", merchant="first"), partition="1")
    wanted = "spend:last_merchant"
    assert driver.online(wanted, {"card_id": "c1"}) == {wanted: "second"}


def test_driver_loses_nothing_in_a_crash(driver):
    driver.send("payments", [payment(1.0, "11:59:00")] * 3)
    driver.settle()
    driver.send("payments", [payment(1.0, "11:59:30")] * 2)
    driver.crash()
    with pytest.raises(AssertionError, match="restart"):
        driver.online(fraud, {"card_id": "c1"})
    driver.restart()
    assert driver.online(fraud, {"card_id": "c1"})["spend:payments_10m"] == 5
    assert driver.outcomes("spend")["read"] == 5


def test_driver_restarts_without_a_crash_too(driver):
    driver.send("payments", payment(1.0, "11:59:00"))
    driver.restart()
    driver.restart()
    assert driver.online(fraud, {"card_id": "c1"})["spend:payments_10m"] == 1


def test_driver_answers_offline_what_it_answers_online(driver):
    driver.send("payments", [payment(1.5, "11:30:00"), payment(2.0, "11:59:00")], partition="2")
    driver.settle()
    driver.send("payments", [payment(4.0, "11:10:00"), b"nonsense"])
    key = {"card_id": "c1"}
    assert driver.offline(spend, key) == driver.online(spend, key)
    as_of = "2024-01-01T11:50:00Z"
    assert driver.offline(spend, key, as_of=as_of) == driver.online(spend, key, as_of=as_of)


def test_driver_builds_a_view_anew_and_answers_the_same(driver):
    driver.send("payments", [payment(1.5, "11:30:00"), payment(2.0, "11:59:00")])
    before = driver.online(spend, {"card_id": "c1"})
    driver.backfill("spend")
    assert driver.engine.registry.catalogue().active == {"spend": 2}
    assert driver.online(spend, {"card_id": "c1"}) == before
    driver.send("payments", payment(1.0, "11:59:30"))
    assert driver.online("spend:payments_10m", {"card_id": "c1"}) == {"spend:payments_10m": 2}
    assert driver.outcomes("spend")["read"] == 3


def test_driver_finishes_a_backfill_that_a_crash_interrupted(driver):
    driver.send("payments", [payment(1.5, "11:30:00"), payment(2.0, "11:59:00")])
    driver.settle()
    driver.engine.registry.start_backfill("spend", driver.clock())
    driver.engine.look()
    driver.crash()
    driver.restart()
    assert driver.online(spend["spent_1h"], {"card_id": "c1"}) == {"spend:spent_1h": 3.5}
    driver.settle()
    assert driver.engine.registry.catalogue().active == {"spend": 2}
    assert driver.outcomes("spend")["folded"] == 2


seat = tg.Entity(
    "seat", keys={"hall": tg.String, "row": tg.Int64, "vip": tg.Bool, "show": tg.Timestamp}
)
visits = tg.FeatureView(
    "visits",
    entity=seat,
    stream=tg.Stream(
        "visits",
        schema={**seat.keys, "at": tg.Timestamp},
        event_time="at",
    ),
    features={"n": agg.count().over(sliding("1h"))},
)


@pytest.mark.parametrize("hall", ["", "a", "a\x00b", "é", "h" * (1 << 16)], ids=len)
def test_driver_finds_keys_of_every_type_by_what_was_sent(hall):
    show, later = "2024-01-01T20:00:00Z", "2024-01-01T20:00:00.000001Z"
    keys = [
        {"hall": hall, "row": row, "vip": vip, "show": at}
        for row in (-(2**63), -1, 2**63 - 1)
        for vip in (True, False)
        for at in (show, later)
    ]
    with tg.TestDriver(visits, at="2024-01-01T12:00:00Z") as driver:
        for count, key in enumerate(keys):
            driver.send("visits", [{**key, "at": "2024-01-01T11:59:00Z"}] * count)
        columns = {name: [key[name] for key in keys] for name in seat.keys}
        reply = driver.read(visits, columns)
        assert reply.values == {"visits:n": list(range(len(keys)))}
        assert reply.statuses["visits:n"][0] == Status.NOT_FOUND


def test_driver_answers_a_null_key_as_one_that_is_not_there(driver):
    driver.send("payments", {**payment(1.0, "11:59:00"), "card_id": None})
    assert driver.online("spend:spent_1h", {"card_id": None}) == {"spend:spent_1h": 0.0}
    assert driver.statuses("spend:spent_1h", {"card_id": None}) == {
        "spend:spent_1h": Status.NOT_FOUND
    }


wider = tg.FeatureView(
    "spend",
    entity=card,
    stream=payments,
    where=pl.col("amount") > 0,
    features={**spend.features, "largest_1h": agg.max("amount").over(sliding("1h"))},
)


def test_driver_takes_new_definitions_up_while_it_runs(driver):
    driver.send("payments", [payment(1.5, "11:30:00"), payment(2.0, "11:59:00")])
    driver.settle()
    counts = tg.FeatureView(
        "counts",
        entity=tg.Entity("shop", keys={"merchant": tg.String}),
        stream=payments,
        features={"n": agg.count().over(sliding("1h"))},
    )
    driver.apply(fraud, counts, message="counts by shop")
    assert driver.online(counts, {"merchant": "m"}) == {"counts:n": 2}
    assert driver.online(fraud, {"card_id": "c1"})["spend:payments_10m"] == 1
    assert driver.offline(counts, {"merchant": "m"}) == {"counts:n": 2}


def test_driver_serves_the_old_build_until_a_changed_view_is_backfilled(driver):
    driver.send("payments", payment(2.0, "11:59:00"))
    driver.settle()
    driver.apply(wider)
    assert driver.online("spend:payments_10m", {"card_id": "c1"}) == {"spend:payments_10m": 1}
    driver.backfill("spend")
    assert driver.online(wider["largest_1h"], {"card_id": "c1"}) == {"spend:largest_1h": 2.0}


def test_driver_keeps_a_home_that_it_was_given(tmp_path: Path):
    with tg.TestDriver(fraud, at="2024-01-01T12:00:00Z", home=tmp_path) as driver:
        driver.send("payments", payment(1.0, "11:59:00"))
        driver.settle()
    with tg.TestDriver(fraud, at="2024-01-01T12:00:00Z", home=tmp_path) as driver:
        assert driver.online(fraud, {"card_id": "c1"})["spend:payments_10m"] == 1


def test_driver_removes_what_was_temporary(driver):
    home = driver._home
    assert home.exists()
    driver.close()
    assert not home.exists()
    driver.close()


def test_driver_holds_its_home_alone(tmp_path: Path):
    with tg.TestDriver(fraud, home=tmp_path), pytest.raises(StateHeld):
        tg.TestDriver(fraud, home=tmp_path)


def test_driver_refuses_definitions_with_all_their_faults_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    wrong = tg.FeatureView(
        "wrong",
        entity=card,
        stream=payments,
        features={"a": agg.sum("nothing").over(sliding("1h")), "b": agg.sum("at").over(sliding(1))},
    )
    with pytest.raises(DefinitionErrors) as caught:
        tg.TestDriver(wrong)
    assert len(caught.value.faults) >= 2
    assert list(tmp_path.iterdir()) == []


def test_driver_spreads_events_as_a_push_would(tmp_path):
    spread = replace(payments, partition_by="card_id")
    view = replace(spend, stream=spread)
    sent = [payment(float(n), "11:00:00", f"c{n % 7}") for n in range(1, 50)]
    with tg.TestDriver(view, at="2024-01-01T12:00:00Z", home=tmp_path) as driver:
        driver.send("payments", [*sent, b"rubbish", {**sent[0], "card_id": None}])
        driver.send("payments", {**sent[0]})
        assert driver.outcomes("spend")["read"] == 52
        log = LocalLog(tmp_path / ".tegula/log/payments.db", "payments")
        found = {name: _cards(log, name) for name in log.partitions()}
        log.close()
    cards = [card for cards in found.values() for card in set(cards)]
    assert len(cards) == len(set(cards)), "events of one card are together"
    assert set(cards) == {*(one["card_id"] for one in sent), None, "rubbish"}
    assert sum(bool(cards) for cards in found.values()) > 1
    for number in range(7):
        place = shard_of(f"c{number}".encode(), len(found))
        assert f"c{number}" in found[str(place)]


def _cards(log: LocalLog, partition: str) -> list[str | None]:
    reader = log.open({partition: 0})
    batch = reader.poll(1_000)
    reader.close()
    records = [] if batch is None else list(batch.payloads)
    return ["rubbish" if r == b"rubbish" else orjson.loads(r)["card_id"] for r in records]


def test_driver_refuses_a_stream_that_is_not_defined(driver):
    with pytest.raises(UnknownStream, match="paymets"):
        driver.send("paymets", payment(1.0, "11:00:00"))
