"""What a user reads when something is wrong, word for word."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

import tegula as tg
from tegula import (
    agg,
    calendar,
    errors,
    hopping,
    last,
    lifetime,
    series,
    session,
    since,
    sliding,
    tumbling,
)
from tegula.schemas.codec import collect
from tegula.schemas.types import DataType
from tegula.schemas.validation import faults

CARD = tg.Entity("card", keys={"card_id": tg.String})
SCHEMA = {
    "card_id": tg.String,
    "merchant": tg.String,
    "amount": tg.Float64,
    "items": tg.Int64,
    "online": tg.Bool,
    "tags": tg.List(tg.String),
    "at": tg.Timestamp,
}
PAYMENTS = tg.Stream("payments", schema=SCHEMA, event_time="at")
COUNT_1H = agg.count().over(sliding("1h"))


def view(name: Any = "spend", **changes: Any) -> tg.FeatureView:
    whole: dict[str, Any] = {"entity": CARD, "stream": PAYMENTS, "features": {"n": COUNT_1H}}
    return tg.FeatureView(name, **(whole | changes))


def feature(one: Any) -> tg.FeatureView:
    return view(features={"f": one})


def stream(**changes: Any) -> tg.Stream:
    return tg.Stream("payments", **({"schema": SCHEMA, "event_time": "at"} | changes))


def where(expr: Any) -> tg.FeatureView:
    return view(where=expr)


ENTITIES = {
    "a name that cannot stand in a URL": tg.Entity("Credit Card", keys={"card_id": tg.String}),
    "a name that is no text": tg.Entity(7, keys={"card_id": tg.String}),  # type: ignore[arg-type]
    "no key": tg.Entity("card", keys={}),
    "keys that are no dict": tg.Entity("card", keys=["card_id"]),  # type: ignore[arg-type]
    "a list as key": tg.Entity("card", keys={"card_id": tg.List(tg.String)}),
    "a float key": tg.Entity("card", keys={"card_id": tg.Float64}),
    "a Python type": tg.Entity("card", keys={"card_id": str}),  # type: ignore[dict-item]
}

STREAMS = {
    "no event time": stream(event_time="time"),
    "a text as event time": stream(event_time="merchant"),
    "no time anywhere": stream(schema={"card_id": tg.String}, event_time="at"),
    "an unknown unit": stream(schema=SCHEMA | {"at": tg.Timestamp.of("ns")}),
    "a unit on a float": stream(schema=SCHEMA | {"amount": DataType("Float64", "ms")}),
    "a list of lists": stream(schema=SCHEMA | {"x": tg.List(tg.List(tg.Int64))}),
    "a list of instants": stream(schema=SCHEMA | {"x": tg.List(tg.Timestamp)}),
    "a list as event time": stream(event_time="tags"),
    "an id that is a list": stream(unique_by="tags"),
    "partitions by a list": stream(partition_by="tags"),
    "a reserved column": stream(schema=SCHEMA | {"_offset": tg.Int64}),
    "columns that differ in case": stream(schema=SCHEMA | {"Amount": tg.Float64}),
    "a bare number as disorder": stream(disorder=30),
    "a negative span": stream(ahead=timedelta(seconds=-1)),
    "no idle timeout": stream(idle_timeout="0s"),
    "months": stream(disorder="1mo"),
    "a misspelled partition column": stream(partition_by="card"),
    "a source by name": stream(source="payments"),
    "a topic with a slash": stream(source=tg.Kafka("pay/ments")),
    "a format not yet read": stream(source=tg.Kafka("payments", format="avro")),
    "an owner that is no text": stream(owner=("risk", "fraud")),
}

VIEWS = {
    "an entity by name": view(entity="card"),
    "stream and entity mixed up": view(entity=PAYMENTS, stream=CARD),
    "no features": view(features={}),
    "a key that the stream does not carry": view(
        entity=tg.Entity("shop", keys={"merchants": tg.String})
    ),
    "a key of another type": view(entity=tg.Entity("card", keys={"card_id": tg.Int64})),
    "a feature named like the key": view(features={"card_id": COUNT_1H}),
    "a feature name with a capital": view(features={"Spent1h": COUNT_1H}),
    "a history of ages": view(history="6000w"),
    "a lateness without unit": view(allowed_lateness="10"),
}

WHERES = {
    "a misspelled column": where(pl.col("amout") > 0),
    "not true or false": where(pl.col("amount") + 1),
    "a Python bool": where(True),
    "a constant": where(pl.lit(True)),
    "a mean over all rows": where(pl.col("amount") > pl.col("amount").mean()),
    "the row before": where(pl.col("amount") > pl.col("amount").shift(1)),
    "a rank within a group": where(pl.col("items").sum().over("card_id") > 3),
    "a Python function": where(
        pl.col("merchant").map_elements(str.isupper, return_dtype=pl.Boolean)
    ),
    "a regular expression": where(pl.col("merchant").str.contains("^a")),
    "several columns": where(pl.col("amount", "items") > 0),
    "text and number": where(pl.col("merchant") > 1),
    "a local time": where(pl.col("at") > datetime(2024, 1, 1)),
    "not a number": where(pl.col("amount") == float("nan")),
    "a number past 64 bits": where(pl.col("items") < 2**70),
    "is_in of a column": where(pl.col("items").is_in(pl.col("amount"))),
    "is_in of whole numbers for floats": where(pl.col("amount").is_in([1, 2])),
    "a cast to a small type": where(pl.col("amount").cast(pl.Int8) > 1),
    "a list": where(pl.col("tags")),
    "a list that is null": where(pl.col("tags").is_null()),
    "the length of a list": where(pl.col("tags").list.len() > 1),
    "a logarithm": where(pl.col("amount").log() > 1),
}

FEATURES = {
    "no window": feature(agg.sum("amount")),
    "an aggregate that was not called": feature(agg.count),
    "an expression": feature(pl.col("amount").sum()),
    "a text as window": feature(agg.sum("amount").over("1h")),  # type: ignore[arg-type]
    "a window that was not called": feature(agg.sum("amount").over(lifetime)),  # type: ignore[arg-type]
    "the sum of a text": feature(agg.sum("merchant").over(sliding("1h"))),
    "the count of a list": feature(agg.count("tags").over(sliding("1h"))),
    "the union of a text": feature(agg.union("merchant").over(sliding("1h"))),
    "the union of two lists": feature(
        agg.union(pl.coalesce("tags", pl.col("tags"))).over(sliding("1h"))
    ),
    "a union without a column": feature(tg.agg.AggregateSpec("union", None).over(sliding("1h"))),
    "a union of too many": feature(agg.union("tags", cap=10_001).over(sliding("1h"))),
    "a union by a category": feature(agg.union("tags", by="merchant").over(sliding("1h"))),
    "a sum by a list": feature(agg.sum("amount", by="tags").over(sliding("1h"))),
    "a union of the last events": feature(agg.union("tags").over(last(5))),
    "a union since an event": feature(agg.union("tags").over(since(pl.col("online")))),
    "since a list": feature(agg.count().over(since(pl.col("tags")))),
    "a list as zone": feature(agg.count().over(calendar("day", tz=pl.col("tags")))),
    "a list of numbers as default": feature(agg.union("tags").over(sliding("1h"), default=[1])),
    "the mean of a time": feature(agg.mean("at").over(sliding("1h"))),
    "a misspelled column": feature(agg.sum("amonut").over(sliding("1h"))),
    "an expression over rows": feature(agg.sum(pl.col("amount").diff()).over(sliding("1h"))),
    "a result of no type": feature(agg.last(pl.col("at") - pl.col("at")).over(sliding("1h"))),
    "a window of no time": feature(agg.count().over(sliding("0s"))),
    "a window of words": feature(agg.count().over(sliding("one hour"))),
    "a window past a century": feature(agg.count().over(tumbling("36526d"))),
    "a misspelled resolution": feature(agg.count().over(sliding("1h", resolution="exakt"))),
    "a resolution of no time": feature(agg.count().over(sliding("1h", resolution="0s"))),
    "a resolution past the length": feature(agg.count().over(sliding("1h", resolution="1d"))),
    "a running window by text": feature(agg.count().over(tumbling("1d", current="yes"))),  # type: ignore[arg-type]
    "a rate over no length": feature(agg.rate().over(lifetime())),
    "a rate over a session": feature(agg.rate().over(session("30m"))),
    "two columns of the last": feature(agg.covariance("amount", "items").over(last(5))),
    "a rate per no time": feature(agg.rate(per="0s").over(sliding("1h"))),
    "a covariance with a text": feature(agg.covariance("amount", "merchant").over(sliding("1h"))),
    "a correlation of nothing there": feature(
        agg.correlation("amonut", "price").over(sliding("1h"))
    ),
    "a half-life of no time": feature(
        agg.decayed_sum("amount", half_life="0s").over(sliding("1h"))
    ),
    "a quantile in percent": feature(agg.approx_quantile("amount", 99).over(sliding("1h"))),
    "a vector of one text": feature(
        agg.vector_sum("amount").over(sliding("1h"))  # type: ignore[arg-type]
    ),
    "a vector of one column": feature(agg.vector_mean(["amount"]).over(sliding("1h"))),
    "a vector with a text and a misspelt column": feature(
        agg.vector_sum(["amount", "merchant", "itms"]).over(sliding("1h"))
    ),
    "quantiles in percent": feature(agg.approx_quantiles("amount", [50, 99]).over(sliding("1h"))),
    "edges that fall": feature(agg.histogram("amount", [1, 0]).over(sliding("1h"))),
    "more than fits": feature(agg.last_n("amount", 1001).over(sliding("1h"))),
    "a list by a text": feature(agg.max_by("amount", "merchant").over(sliding("1h"))),
    "a default that is no list": feature(agg.top_n("amount", 3).over(sliding("1h"), default=0.0)),
    "by a float": feature(agg.sum("amount", by="amount").over(sliding("1h"))),
    "by a misspelled column": feature(agg.sum("amount", by="merchnat").over(sliding("1h"))),
    "by a category, of a series": feature(agg.count(by="merchant").over(series("1d", "1d", 7))),
    "by a category, of the last": feature(agg.count(by="merchant").over(last(5))),
    "two columns by a third": feature(
        agg.covariance("amount", "items", by="merchant").over(sliding("1h"))
    ),
    "the last texts by a category": feature(
        agg.last("merchant", by="merchant").over(sliding("1h"))
    ),
    "a sketch for each category": feature(agg.median("amount", by="items").over(sliding("1h"))),
    "no categories": feature(agg.count(by="merchant", cap=0).over(sliding("1h"))),
    "more categories than are kept": feature(
        agg.count(by="merchant", cap=1025).over(sliding("1h"))
    ),
    "a cap of no categories": feature(agg.count(cap=5).over(sliding("1h"))),
    "a default that is no map": feature(
        agg.count(by="merchant").over(sliding("1h"), default={"a": "b"})
    ),
    "any of a number": feature(agg.any("amount").over(sliding("1h"))),
    "where of a number": feature(agg.mean("items", where="amount").over(sliding("1h"))),
    "where of a misspelled column": feature(
        agg.count(where=pl.col("amonut") > 1).over(sliding("1h"))
    ),
    "three degrees less": feature(agg.variance("amount", ddof=3).over(sliding("1h"))),
    "a default of another type": feature(agg.mean("amount").over(sliding("1h"), default="none")),
    "a bool for a number": feature(agg.last("items").over(sliding("1h"), default=True)),
    "a datetime for a time": feature(
        agg.last("at").over(sliding("1h"), default=datetime(2024, 1, 1, tzinfo=UTC))
    ),
}

WINDOWS = {
    "an offset of words": sliding("1h", offset="a week"),
    "a bare number as offset": sliding("1h", offset=7),  # type: ignore[arg-type]
    "an offset into the future": sliding("1h", offset=timedelta(days=-1)),
    "an offset in text with a sign": sliding("1h", offset="-1d"),
    "a century and an hour ago": sliding("1h", offset="36525d"),
    "the instant included by text": sliding("1h", include_instant="yes"),  # type: ignore[arg-type]
    "three centuries": sliding("109575d"),
    "a hop of no time": hopping("1h", "0s"),
    "a size of no time": hopping("0s", "1h"),
    "a hop past the size": hopping("5m", "1h"),
    "hops without unit": hopping("1h", 300),  # type: ignore[arg-type]
    "a running hop by number": hopping("1h", "5m", current=1),  # type: ignore[arg-type]
    "a series of none": series("1d", "1d", 0),
    "a series of a thousand and one": series("1h", "1h", 1001),
    "a series of words": series("one", "1h", "two"),  # type: ignore[arg-type]
    "a series that stands still": series("1d", "0s", 7),
    "a series of two centuries": series("1d", "73d", 1000),
    "a series on a grid past its length": series("1h", "1d", 7, resolution="1d"),
    "a quarter": calendar("quarter", tz="UTC"),
    "weeks": calendar("weeks", tz="UTC"),
    "a misspelled zone": calendar("day", tz="Europe/Brelin"),
    "a city alone": calendar("day", tz="New York"),
    "an offset as zone": calendar("day", tz="+02:00"),
    "a column as zone": calendar("day", tz="home_zone"),
    "a zone that is a number": calendar("days", tz=pl.col("amount")),
    "a zone from nowhere": calendar("day", tz=pl.col("home_zone")),
    "no zone": calendar("day", tz=None),  # type: ignore[arg-type]
    "a calendar of numbers, running by text": calendar(1, tz=1, current="no"),  # type: ignore[arg-type]
    "ever, and the instant by number": lifetime(include_instant=1),  # type: ignore[arg-type]
    "the last none": last(0),
    "the last by text": last("5"),  # type: ignore[arg-type]
    "the last million": last(1_000_000),
    "the last within no time": last(5, within="0s"),
    "the last within less than no time": last(5, within="-1d"),
    "the last within a number": last(5, within=30),  # type: ignore[arg-type]
    "the last within centuries": last(5, within="40000d"),
    "the last but less than none": last(5, skip=-1),
    "the last but some, by text": last(0, skip="1"),  # type: ignore[arg-type]
    "the last beyond the cap with those before": last(9_999, skip=2),
    "since a misspelled column": since("onlin"),
    "since a number": since("amount"),
    "since, of none": since("online", cap=0),
    "a session of no gap": session("0s"),
    "a session of a gap without unit": session(30),  # type: ignore[arg-type]
}

SPEND = view()
SERVICES = {
    "a version of text": tg.FeatureService("fraud", version="1", features=[SPEND]),  # type: ignore[arg-type]
    "no features": tg.FeatureService("fraud", version=1, features=[]),
    "a misspelled feature": tg.FeatureService("fraud", version=1, features=[SPEND["m"]]),
    "a feature by name": tg.FeatureService("fraud", version=1, features=["spend:n"]),  # type: ignore[list-item]
    "a view and its feature": tg.FeatureService("fraud", version=1, features=[SPEND, SPEND["n"]]),
}

TOGETHER = {
    "two views of one name": [view(), view(features={"m": COUNT_1H})],
    "two streams of one name": [stream(), stream(disorder="1m")],
    "two services of one name and version": [
        tg.FeatureService("fraud", version=1, features=[SPEND]),
        tg.FeatureService("fraud", version=1, features=[SPEND["n"]]),
    ],
}

GROUPS: dict[str, dict[str, Any]] = {
    "entities": ENTITIES,
    "streams": STREAMS,
    "views": VIEWS,
    "wheres": WHERES,
    "features": FEATURES,
    "windows": {case: feature(agg.count().over(window)) for case, window in WINDOWS.items()},
    "services": SERVICES,
    "together": TOGETHER,
}


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.filterwarnings("ignore::polars.exceptions.PolarsInefficientMapWarning")
def test_golden_every_fault_of_a_definition(group: str, golden: Callable[[str, str], None]) -> None:
    sections = []
    for case, definition in GROUPS[group].items():
        found = faults(collect(definition))
        assert found, f"no fault is found in: {case}"
        sections.append("\n".join([f"# {case}", *map(str, found)]))
    golden(f"errors/{group}", "\n\n".join(sections))


def test_golden_report_of_several_faults(golden: Callable[[str, str], None]) -> None:
    wrong = view(
        where=pl.col("amout") > 0,
        features={"a": agg.count(), "b": agg.sum("merchant").over(sliding("0s"))},
    )
    golden("errors/report", str(errors.DefinitionErrors(faults(collect(wrong)))))


OTHERS: tuple[errors.TegulaError, ...] = (
    errors.BrokerUnreachable(bootstrap="127.0.0.1:9092", detail="connection refused"),
    errors.TopicMissing(topic="payments", bootstrap="127.0.0.1:9092"),
    errors.LogRecreated(stream="payments", got_identity="c1/t2", expected_identity="c1/t1"),
    errors.LogTruncated(stream="payments", partition="0", first_offset=90, wanted_offset=7),
    errors.LogShrunk(stream="payments", partition="0", end_offset=7, applied_offset=90),
    errors.LogFull(where=".tegula/log", got="9.5 MiB free", expected="at least 512.0 MiB"),
    errors.UnknownService(service="fraudd", known=["fraud", "risk"]),
    errors.UnknownFeature(feature="spend.n", known=["spend:n"]),
    errors.UnknownStream(stream="p", known=[]),
    errors.MissingKey(column="card_id", needed_by="spend"),
    errors.WrongKeyType(column="card_id", index=1, got="7", expected="String"),
    errors.TooLarge(what="keys", got=20_000, limit=10_000),
    errors.Busy(stream="payments", waiting=268_000_000, limit=268_435_456),
    errors.StateHeld(directory=".tegula/state", holder="process 12"),
    errors.FormatUnknown(where="shard 0", got="version 9", expected="version 1"),
    errors.FingerprintMismatch(view="spend", got="ab", expected="cd"),
    errors.StateCorrupt(where="shard 0", detail="checksum 1 instead of 2"),
    errors.WorkerLost(worker=0, workers=2),
    errors.ImportChanged(
        stream="payments",
        name="history",
        got="25 rows, landing delay 0 us",
        expected="the 24 rows that were imported, 0 us",
    ),
    errors.ImportRunning(name="history", where=".tegula/lake/imports/payments/history"),
    errors.BadSpine(
        "row 17 of the spine has no instant",
        where="column 'at'",
        got="null",
        expected="text such as 2024-05-01T12:00:00Z, a Datetime with a time zone, or µs since 1970",
        hint="leave such rows out, or give them their instant",
    ),
    errors.BadDataset(
        "there is no such clock", got="'wall'", expected="one of event, known, served"
    ),
    errors.DatasetExists(where="sets/fraud"),
    errors.DatasetMissing(where="sets/fraud"),
    errors.NothingServed(features=["spend:spent_1h"], service=None, known=[]),
    errors.NothingServed(features=["spend:spent_1h"], service="fraud", known=["limits"]),
    errors.DatasetsOff(),
    errors.DatasetsBusy(running=2, limit=2),
    errors.DiskFull(where=".tegula/state", got="No space left on device"),
    errors.PortInUse(host="127.0.0.1", port=8000),
    errors.ProjectMissing(directory="."),
    errors.DefinitionsUnloadable(file="features/fraud.py", detail="SyntaxError on line 3"),
)


def test_golden_every_other_error(golden: Callable[[str, str], None]) -> None:
    golden("errors/others", "\n".join(map(str, OTHERS)))


def test_golden_every_code(golden: Callable[[str, str], None]) -> None:
    golden(
        "errors/codes", "\n".join(f"{code}  {text}" for code, text in errors.all_codes().items())
    )
