"""Every aggregate, through a stream to an answer: one key as it lies, and many by columns."""

from __future__ import annotations

import numpy as np
import polars as pl

import tegula as tg
from tegula import agg, lifetime, session, sliding, tumbling
from tegula.schemas.signatures import SIGNATURES
from tests.oracle import naive

GIVEN = {
    "approx_quantile": {"q": 0.75},
    "approx_quantiles": {"q": [0.75, 0.25]},
    "approx_top_k": {"k": 2},
    "approx_top_k_counts": {"k": 2},
    "decayed_sum": {"half_life": "5m"},
    "decayed_count": {"half_life": "5m"},
    "histogram": {"edges": [-1.0, 0.5]},
    **{name: {"n": 2} for name in ("first_n", "last_n", "lag", "top_n", "top_n_by", "last_n_by")},
}
COLUMNS = {"float": "x", "int": "n", "bool": "yes", "string": "word", "time": "at", "list": "tags"}
WINDOWS = {
    "hour": sliding("1h"),
    "running": tumbling("1h", current=True),
    "ever": lifetime(),
    "visit": session("5m"),
}
START_US = 1_714_564_800_000_000  # 2024-05-01T12:00:00Z


def features() -> dict[str, tg.Feature]:
    """Every aggregate over every column that it takes, in every window that it may have."""
    made: dict[str, tg.Feature] = {}
    for name, signature in SIGNATURES.items():
        function, params = getattr(agg, name), GIVEN.get(name, {})
        inputs = [(COLUMNS[kind],) for kind in sorted(signature.kinds)]
        if signature.vectors:
            inputs = [(["x", "n", pl.col("x") * 3, "yes"],)]
        elif signature.second is not None:
            inputs = [(column, "n") for (column,) in inputs]
        if signature.optional:
            inputs.append(())
        for given in inputs:
            read = "_".join(one if isinstance(one, str) else "vector" for one in given)
            for window, spec in WINDOWS.items():
                # Of sessions those whose states have no fixed size; the others are like them.
                seldom = window == "visit" and not signature.varying
                if not (signature.bounded and window in ("ever", "visit")) and not seldom:
                    label = f"{name}_{read}_{window}"
                    chosen = pl.col("n") > 0 if window == "hour" else None
                    made[label] = function(*given, **params, where=chosen).over(spec)
    return made


def by_category() -> dict[str, tg.Feature]:
    """Aggregates of every kind of state by every kind of category."""
    made: dict[str, tg.Feature] = {}
    for column in ("word", "n", "yes"):
        for window in ("hour", "running", "ever"):
            spec = WINDOWS[window]
            of = {
                "count": agg.count(by=column, cap=1),
                "sum": agg.sum("x", by=column, cap=2),
                "variance": agg.variance("x", by=column),
                "last": agg.last("at", by=column),
                "any": agg.any("yes", by=column),
                "decayed": agg.decayed_sum("x", half_life="5m", by=column, where=pl.col("n") > 0),
                "histogram": agg.histogram("x", [-1.0, 0.5], by=column),
            }
            made |= {f"{name}_by_{column}_{window}": one.over(spec) for name, one in of.items()}
    return made


def test_one_key_has_the_values_that_it_has_among_many(seed):
    stream = tg.Stream(
        "events",
        schema={
            "k": tg.String,
            "x": tg.Float64,
            "n": tg.Int64,
            "yes": tg.Bool,
            "word": tg.String,
            "tags": tg.List(tg.String),
            "at": tg.Timestamp.of("us"),
        },
        event_time="at",
        disorder="10s",
    )
    view = tg.FeatureView(
        "v",
        entity=tg.Entity("name", keys={"k": tg.String}),
        stream=stream,
        features=features() | by_category(),
    )
    names = [f"v:{name}" for name in view.features]
    keys = ["a", "b", *(f"nobody {i}" for i in range(100))]
    chance = np.random.default_rng(seed)
    with tg.TestDriver(view, at=START_US) as driver:
        for _ in range(3):
            driver.advance_to(driver.clock() + int(chance.integers(1, 20 * 60_000_000)))
            driver.send("events", [event(chance, driver.clock()) for _ in range(25)])
            driver.advance_to(driver.clock() + 1)
            many = driver.read(names, {"k": keys})
            for place, key in enumerate(keys[:3]):
                one = driver.read(names, {"k": [key]})
                for name in names:
                    alone, among = one.values[name][0], many.values[name][place]
                    assert naive.same(alone, among), (name, key, alone, among)
                    assert type(alone) is type(among), name


def event(chance: np.random.Generator, now_us: int) -> dict[str, object]:
    """One event of the last quarter of an hour, with nulls here and there."""
    row: dict[str, object] = {
        "k": str(chance.choice(["a", "b"])),
        "x": round(float(chance.normal()), 2),
        "n": int(chance.integers(-2, 6)),
        "yes": bool(chance.integers(0, 2)),
        "word": str(chance.choice(["", "a", "b", "é"])),
        "tags": chance.choice(["", "a", "b", "é"], int(chance.integers(0, 4))).tolist(),
        "at": now_us - int(chance.integers(0, 900_000_000)),
    }
    missing = str(chance.choice(["x", "n", "yes", "word", "tags", "nothing"]))
    return {name: None if name == missing else value for name, value in row.items()}
