"""The definitions that a simulation draws from, each also as plain facts for the recomputation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

import tegula as tg
from tegula import agg
from tegula.schemas.fingerprints import structural
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US, parse_duration
from tests.oracle import naive

AHEAD_US = 10 * MINUTE_US
UNIQUE, UNIQUE_WITHIN_US = "clicks", HOUR_US
_SCHEMA = {"id": tg.Int64, "k": tg.String, "w": tg.String, "x": tg.Float64, "n": tg.Int64}
BY_NAME = tg.Entity("name", keys={"k": tg.String})
DISORDER = {"clicks": "30s", "orders": "0s"}
STREAMS = {
    name: tg.Stream(
        name,
        schema={**_SCHEMA, "at": tg.Timestamp.of("us")},
        event_time="at",
        disorder=disorder,
        ahead=f"{AHEAD_US}us",
        unique_by="id" if name == UNIQUE else None,
        unique_within=f"{UNIQUE_WITHIN_US}us",
    )
    for name, disorder in DISORDER.items()
}

Row = Mapping[str, Any]

_SPECS: Mapping[str, tuple[Any, naive.Window]] = {
    "10m": (
        tg.sliding("10m"),
        {"kind": "sliding", "length": 10 * MINUTE_US, "resolution": SECOND_US},
    ),
    "1h": (
        tg.sliding("1h", resolution="exact"),
        {"kind": "sliding", "length": HOUR_US, "resolution": 1},
    ),
    "1d": (tg.sliding("1d"), {"kind": "sliding", "length": DAY_US, "resolution": HOUR_US}),
    "hour": (tg.tumbling("1h"), {"kind": "tumbling", "size": HOUR_US, "current": False}),
    "now": (
        tg.tumbling("5m", current=True),
        {"kind": "tumbling", "size": 5 * MINUTE_US, "current": True},
    ),
    "ever": (tg.lifetime(), {"kind": "lifetime"}),
    "of_3": (tg.last(3), {"kind": "last", "count": 3}),
    "since": (tg.since(pl.col("n") > 3, cap=5), {"kind": "since", "cap": 5}),
    "session": (
        tg.session("5m", lateness="1h"),
        {"kind": "session", "gap": 5 * MINUTE_US, "lateness": HOUR_US},
    ),
}


def matches(row: Row) -> bool:
    """The predicate of the `since` window."""
    return row["n"] is not None and row["n"] > 3


@dataclass(frozen=True)
class ViewFacts:
    """One structural version of a view: what Tegula is given, and what it means."""

    view: str
    stream: str
    features: tuple[tuple[str, str | None, str], ...]
    lateness: str | None = None
    history: str = "1m"
    only_positive: bool = False

    def define(self) -> tg.FeatureView:
        return tg.FeatureView(
            self.view,
            entity=BY_NAME,
            stream=STREAMS[self.stream],
            where=pl.col("n") > 0 if self.only_positive else None,
            features={
                f"{name}_{column or 'rows'}_{window}": _make(name, column).over(_SPECS[window][0])
                for name, column, window in self.features
            },
            history=self.history,
            allowed_lateness=self.lateness,
        )

    @property
    def fingerprint(self) -> str:
        return structural(self.define())

    def window(self, number: int) -> naive.Window:
        return _SPECS[self.features[number][2]][1]

    def retained_us(self) -> float:
        return naive.retention_us(
            [self.window(number) for number in range(len(self.features))],
            parse_duration(self.history),
            parse_duration(DISORDER[self.stream]),
        )

    def rules(self) -> naive.Rules:
        bounds = [self.retained_us()]
        windows = map(self.window, range(len(self.features)))
        bounds += [window["lateness"] for window in windows if "lateness" in window]
        if self.lateness is not None:
            bounds.append(parse_duration(self.lateness))
        expiry_us = min(bounds)
        sessions = any("lateness" in self.window(number) for number in range(len(self.features)))
        foldable_us = expiry_us if sessions else self.retained_us()
        passes: Callable[[Row], bool] = lambda row: True  # noqa: E731
        if self.only_positive:
            passes = lambda row: row["n"] is not None and row["n"] > 0  # noqa: E731
        return naive.Rules(
            parse_duration(DISORDER[self.stream]),
            AHEAD_US,
            None if expiry_us == float("inf") else int(expiry_us),
            passes,
            None if foldable_us == float("inf") else int(foldable_us),
        )


def _make(name: str, column: str | None) -> Any:
    return agg.count() if column is None else getattr(agg, name.removesuffix("_values"))(column)


POOL = (
    ViewFacts(
        "fast", "clicks", (("count", None, "10m"), ("sum", "x", "10m"), ("mean", "n", "now"))
    ),
    ViewFacts(
        "fast",
        "clicks",
        (("count", None, "1d"), ("min", "x", "10m"), ("max", "x", "hour"), ("last", "n", "hour")),
    ),
    ViewFacts(
        "exact",
        "clicks",
        (("sum", "x", "1h"), ("first", "w", "1h"), ("last", "x", "1h"), ("variance", "x", "1h")),
        only_positive=True,
    ),
    ViewFacts(
        "ever",
        "clicks",
        (
            ("count", None, "ever"),
            ("approx_distinct", "w", "1d"),
            ("last", "w", "ever"),
            ("first", "n", "ever"),
        ),
        history="15m",
    ),
    ViewFacts("strict", "orders", (("count", None, "1d"), ("stddev", "x", "1d")), lateness="1m"),
    ViewFacts("strict", "orders", (("sum", "n", "hour"), ("first", "x", "1d")), lateness="10m"),
    ViewFacts(
        "wide", "orders", (("count_values", "w", "1d"), ("sum", "x", "ever"), ("last", "w", "1d"))
    ),
    ViewFacts(
        "ordered",
        "orders",
        (
            ("sum", "x", "of_3"),
            ("first", "w", "of_3"),
            ("count", None, "since"),
            ("max", "x", "since"),
            ("count", None, "ever"),
        ),
    ),
    ViewFacts(
        "ordered",
        "clicks",
        (("count", None, "session"), ("sum", "n", "session"), ("last", "w", "1d")),
    ),
)
