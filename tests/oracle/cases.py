"""Random definitions, and random scripts of what happens to them: what the stream oracle draws.

Each window and each input is given twice: as Tegula's, and as plain facts for the naive
recomputation, so that the two share nothing but this table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st

import tegula as tg
from tegula import agg
from tegula.schemas.signatures import SIGNATURES
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tests.oracle import naive
from tests.oracle.places import PLACES, Place
from tests.oracle.windows import windows_in

KEYS = ("a", "b", "c")
SHARDS = 2
AHEAD_US = 10 * MINUTE_US

Row = Mapping[str, Any]

HERE = "here"
"""Stands for the zone in which a story is told."""
ZONES = (HERE, HERE, "UTC", "Asia/Kathmandu", "Pacific/Apia", "Pacific/Kiritimati", "Etc/GMT+12")
NO_ZONES = (None, None, "", "Nowhere", "utc")


@dataclass(frozen=True)
class Input:
    """What an aggregate reads: for Tegula, and for the naive recomputation."""

    given: tuple[pl.Expr | str | list[pl.Expr | str], ...]
    of_row: Callable[[Row], Any]
    kinds: tuple[str, ...]


def ratio(row: Row) -> float | None:
    """x / n as IEEE does it, where what is not finite is as good as null."""
    x, n = row["x"], row["n"]
    return None if x is None or not n else x / n


def elements(row: list[Any] | None) -> list[Any] | None:
    """The elements of a list that are not null; None where there are none, as good as no value."""
    return [one for one in row or () if one is not None] or None


INPUTS = {
    "all": Input((), lambda row: True, ()),
    "x": Input(("x",), lambda row: row["x"], ("float",)),
    "ratio": Input((pl.col("x") / pl.col("n"),), ratio, ("float",)),
    "n": Input(("n",), lambda row: row["n"], ("int",)),
    "yes": Input(("yes",), lambda row: row["yes"], ("bool",)),
    "word": Input(("word",), lambda row: row["word"], ("string",)),
    "at": Input(("at",), lambda row: row["at"], ("time",)),
    "tags": Input(("tags",), lambda row: elements(row["tags"]), ("list",)),
    "numbers": Input(("numbers",), lambda row: elements(row["numbers"]), ("list",)),
    "xnx": Input(
        (["x", "n", pl.col("x") * 0.5],),
        lambda row: (row["x"], row["n"], None if row["x"] is None else row["x"] / 2),
        ("float", "int", "float"),
    ),
    "xn": Input(("x", "n"), lambda row: (row["x"], row["n"]), ("float", "int")),
}
PARAMS: Mapping[str, Mapping[str, Any]] = {
    "decayed_sum": {"half_life": "90s"},
    "decayed_count": {"half_life": "7m"},
    "approx_quantile": {"q": 0.9},
    "approx_quantiles": {"q": [0.75, 0.0, 1.0]},
    "approx_top_k": {"k": 2},
    "approx_top_k_counts": {"k": 3},
    "first_n": {"n": 3},
    "last_n": {"n": 2},
    "lag": {"n": 1},
    "top_n": {"n": 3},
    "top_n_by": {"n": 3},
    "last_n_by": {"n": 2},
    "histogram": {"edges": [-1.0, 0.0, 4.5]},
}
"""What the aggregates are given, where they must have parameters."""
NAIVE_PARAMS: Mapping[str, Mapping[str, Any]] = {
    "decayed_sum": {"half_life_us": 90 * SECOND_US},
    "decayed_count": {"half_life_us": 7 * MINUTE_US},
    "approx_quantile": {"share": Fraction(9, 10)},
    "approx_quantiles": {"shares": [Fraction(3, 4), Fraction(0), Fraction(1)]},
    "approx_top_k": {"k": 2},
    "approx_top_k_counts": {"k": 3},
    "first_n": {"n": 3},
    "last_n": {"n": 2},
    "lag": {"n": 1},
    "top_n": {"n": 3},
    "top_n_by": {"n": 3},
    "last_n_by": {"n": 2},
    "vector_sum": {"columns": 3},
    "histogram": {"edges": [-1.0, 0.0, 4.5]},
}
"""The same as plain facts."""


def fits(aggregate: str, source: str) -> bool:
    """Whether the aggregate has a meaning for the input."""
    return takes(aggregate, INPUTS[source].kinds)


def takes(aggregate: str, kinds: tuple[str, ...]) -> bool:
    """Whether the aggregate has a meaning for columns of these kinds."""
    signature = SIGNATURES[aggregate]
    if not kinds:
        return signature.optional
    if signature.vectors:
        return len(kinds) > 2
    if signature.second is not None:
        return len(kinds) == 2 and kinds[0] in signature.kinds and kinds[1] in signature.second
    return len(kinds) == 1 and kinds[0] in signature.kinds


def has_map(aggregate: str, source: str, window: str) -> bool:
    """Whether the aggregate of the input can be taken by a category over the kind of window."""
    kinds, signature = INPUTS[source].kinds, SIGNATURES[aggregate]
    varies = bool(kinds) and kinds[0] in signature.varying
    return window not in ("series", *naive.BY_ORDER) and not signature.second and not varies


def may_be_over(aggregate: str, source: str, window: str) -> bool:
    """Whether the aggregate of the input can be taken over the kind of window."""
    if window in ("lifetime", *naive.BY_ORDER) and aggregate == "rate":
        return False
    signature = SIGNATURES[aggregate]
    return window not in ("last", "since") or (not signature.second and aggregate != "union")


@dataclass(frozen=True)
class Case:
    """One definition, and where on earth and when its story begins."""

    place: Place
    windows: tuple[tuple[Any, naive.Window], ...]
    inputs: tuple[str, ...]
    aggregates: tuple[str, ...]
    disorder_us: int
    depth_us: int
    lateness_us: int | None
    filtered: bool
    by: str | None
    cap: int

    def view(self) -> tg.FeatureView:
        schema = {
            "k": tg.String,
            "word": tg.String,
            "zone": tg.String,
            "x": tg.Float64,
            "n": tg.Int64,
            "tags": tg.List(tg.String),
            "numbers": tg.List(tg.Float64),
        }
        stream = tg.Stream(
            "events",
            schema={**schema, "yes": tg.Bool, "at": tg.Timestamp.of("us")},
            event_time="at",
            disorder=f"{self.disorder_us}us",
            ahead=f"{AHEAD_US}us",
        )
        return tg.FeatureView(
            "view",
            entity=tg.Entity("name", keys={"k": tg.String}),
            stream=stream,
            where=pl.col("n") >= 0 if self.filtered else None,
            history=f"{self.depth_us}us",
            allowed_lateness=None if self.lateness_us is None else f"{self.lateness_us}us",
            features={name: self.feature(name) for name in self.names()},
        )

    def names(self) -> list[str]:
        """`aggregate__input__window__where` of every feature; `where` is all, some, or by category.

        What is taken by category is also over some events only where the cap is even.
        """
        names = [
            f"{aggregate}__{source}__{place}__{where}"
            for place in range(len(self.windows))
            for aggregate in self.aggregates
            for source in ("all", *self.inputs)
            for where in ("all", "some")
            if fits(aggregate, source)
            and may_be_over(aggregate, source, self.windows[place][1]["kind"])
        ]
        if self.by is None:
            return names
        parts = [name.split("__") for name in names if name.endswith("__all")]
        return names + [
            f"{aggregate}__{source}__{place}__by"
            for aggregate, source, place, _ in parts
            if has_map(aggregate, source, self.windows[int(place)][1]["kind"])
        ]

    def is_chosen(self, where: str, row: Row) -> bool:
        """Whether a feature looks at an event."""
        some = where == "some" or (where == "by" and self.cap % 2 == 0)
        return bool(row["yes"]) if some else True

    def feature(self, name: str) -> Any:
        aggregate, source, place, where = name.split("__")
        make, params = getattr(agg, aggregate), PARAMS.get(aggregate, {})
        chosen = pl.col("yes") if not self.is_chosen(where, {"yes": False}) else None
        if where == "by":
            params = {**params, "by": self.by, "cap": self.cap}
        return make(*INPUTS[source].given, **params, where=chosen).over(self.windows[int(place)][0])

    def rules(self) -> naive.Rules:
        retained_us = self.retained_us()
        bounds_us = [facts["lateness"] for _, facts in self.windows if "lateness" in facts]
        bounds_us += [] if self.lateness_us is None else [self.lateness_us]
        expiry_us = min([retained_us, *bounds_us])
        return naive.Rules(
            self.disorder_us,
            AHEAD_US,
            None if expiry_us == np.inf else int(expiry_us),
            (lambda row: row["n"] is not None and row["n"] >= 0)
            if self.filtered
            else (lambda row: True),
        )

    def retained_us(self) -> float:
        facts = [facts for _, facts in self.windows]
        return naive.retention_us(facts, self.depth_us, self.disorder_us)


sources = st.sampled_from([name for name in INPUTS if name != "all"])
cases = st.sampled_from(PLACES).flatmap(
    lambda place: st.builds(
        Case,
        place=st.just(place),
        windows=st.lists(windows_in(place), min_size=1, max_size=3, unique_by=str).map(tuple),
        inputs=st.lists(sources, min_size=1, max_size=2, unique=True).map(tuple),
        aggregates=st.lists(
            st.sampled_from(list(SIGNATURES)), min_size=4, max_size=12, unique=True
        ).map(lambda drawn: tuple(dict.fromkeys(("count", *drawn)))),
        disorder_us=st.sampled_from([0, 30 * SECOND_US, 20 * MINUTE_US]),
        depth_us=st.sampled_from([0, MINUTE_US, 15 * MINUTE_US]),
        lateness_us=st.sampled_from([None, None, 0, HOUR_US]),
        filtered=st.booleans(),
        by=st.sampled_from([None, "word", "n", "yes"]),
        cap=st.sampled_from([1, 2, 3, 100]),
    )
)

words = st.none() | st.sampled_from(["", "a", "b", "zebra", "é", "__other__", "x" * 40])
ages_us = st.one_of(
    st.integers(0, 3 * SECOND_US),
    st.integers(0, 90 * SECOND_US),
    st.integers(0, 2 * HOUR_US),
    st.sampled_from([0, MINUTE_US, HOUR_US, DAY_US]),
    st.integers(-SECOND_US, 0),
)
unlikely_ages_us = st.one_of(
    st.integers(0, 12 * DAY_US),
    st.integers(-AHEAD_US, 0),
    st.sampled_from([-AHEAD_US, -AHEAD_US - 1, -300 * DAY_US]),
)
floats = st.one_of(
    st.none(),
    st.integers(-40, 40).map(lambda n: n / 4),
    st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-5),
)


def mostly(usual: st.SearchStrategy[Any], seldom: st.SearchStrategy[Any]) -> Any:
    """One in eight is seldom."""
    return st.sampled_from([usual] * 7 + [seldom]).flatmap(lambda strategy: strategy)


rows = st.fixed_dictionaries(
    {
        "k": mostly(st.sampled_from(KEYS), st.none()),
        "x": floats,
        "n": st.integers(-3, 9) | st.none() | st.integers(-(2**40), 2**40),
        "yes": st.none() | st.booleans(),
        "word": words,
        "tags": st.none() | st.lists(words, max_size=4),
        "numbers": st.none() | st.lists(floats, max_size=3),
        "zone": mostly(st.sampled_from(ZONES), st.sampled_from(NO_ZONES)),
        "age_us": mostly(ages_us, unlikely_ages_us),
    }
)
unreadable = st.sampled_from([b"nonsense", b"{}", b"[1]", b'{"at": "x"}', b"null"])
partitions = st.sampled_from("0123")
sends = st.tuples(
    st.just("send"),
    st.tuples(partitions, st.lists(mostly(rows, unreadable), min_size=1, max_size=8)),
)
bursts = st.tuples(
    st.just("burst"),
    st.tuples(
        partitions,
        st.integers(20, 120),
        st.sampled_from([2 * SECOND_US, MINUTE_US, 40 * MINUTE_US, 30 * HOUR_US]),
        st.integers(0, 2**32),
    ),
)
advances = st.tuples(
    st.just("advance"),
    st.one_of(
        st.integers(1, 5 * SECOND_US),
        st.integers(1, 30 * MINUTE_US),
        st.sampled_from([SECOND_US, MINUTE_US, HOUR_US]),
        st.integers(1, 3 * DAY_US),
    ),
)
edges = st.tuples(st.just("edge"), st.integers(0, 2**32))
turns = st.tuples(st.just("turn"), partitions)
steps = st.one_of(
    sends,
    bursts,
    bursts,
    advances,
    advances,
    st.tuples(st.just("check"), st.integers(0, 15 * MINUTE_US)),
    edges,
    edges,
    turns,
    st.tuples(st.just("fold"), st.lists(st.sampled_from(KEYS), min_size=1, unique=True)),
    st.tuples(st.just("gather"), st.integers(1, 4)),
    st.tuples(st.just("rebuild"), st.booleans()),
    mostly(
        st.tuples(st.just("tear"), st.integers(0, SHARDS - 1)),
        st.tuples(st.just("crash"), st.booleans()),
    ),
)
scripts = st.tuples(bursts, st.lists(steps, min_size=4, max_size=16)).map(
    lambda script: [script[0], *script[1]]
)
