"""Features of many keys at many instants, from their events: beside DuckDB and Polars.

    python -m benchmarks.training [--events N] [--rows N] [--keys uniform|zipf] [--limit SECONDS]

The kernels under training sets (`windows.instants`), from columns in memory to Arrow arrays: the
newest amount before each instant; count, sum, mean, min and max of amounts over 1 h, 24 h and 7 d,
on a grid and exact; different merchants in 7 d; the last 5 amounts; count and sum of the session.
The same of DuckDB, from tables in its memory, each of five questions by the best of the plans that
we know. One that takes more CPU time than the limit is given up, so the whole ends within a few
minutes, and the ratio is at least what is told ("or more"). Of Polars the newest amount
(`join_asof`). All in one run, with all cores. What has a floor is the ratio of CPU times, of which
other load changes least; that of elapsed times stands beside.
"""

from __future__ import annotations

import argparse
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

import tegula as tg
from benchmarks.report import Figure, show
from tegula import agg
from tegula.engine.plan import Build, compile_view
from tegula.windows.algebra import Column, Order
from tegula.windows.instants import Asked, EventRows, FeatureValues, values_at

DAY_US, HOUR_US, MINUTE_US = 86_400_000_000, 3_600_000_000, 60_000_000
DAYS = 90
MERCHANTS = 20_000
WINDOWS = (("1h", HOUR_US, MINUTE_US), ("24h", DAY_US, HOUR_US), ("7d", 7 * DAY_US, HOUR_US))
GAP_US = 30 * MINUTE_US
SEED = 11

USERS = tg.Entity("user", keys={"user": tg.Int64})
EVENTS = tg.Stream(
    "events",
    schema={"user": tg.Int64, "amount": tg.Float64, "merchant": tg.Int64, "at": tg.Timestamp},
    event_time="at",
)


@dataclass(frozen=True, slots=True)
class Data:
    """Events in the order of their log, and the rows of a spine in none."""

    user: np.ndarray
    at_us: np.ndarray
    amount: np.ndarray
    merchant: np.ndarray
    asked: Asked


@dataclass(frozen=True, slots=True)
class Spent:
    """Elapsed and CPU seconds; `given_up`: it was not ready by then."""

    wall: float
    cpu: float
    given_up: bool = False


def drawn(keys: str, events: int, rows: int, key_count: int) -> Data:
    """Events of 90 days and instants of the last 83, keys uniform or zipf(1.2)."""
    rng = np.random.default_rng(SEED)
    weights = np.arange(1, key_count + 1) ** -(1.2 if keys == "zipf" else 0.0)
    ends = np.cumsum(weights) / weights.sum()
    user = rng.permutation(key_count)[np.searchsorted(ends, rng.random(events + rows))]
    at_us = np.sort(rng.integers(0, DAYS * DAY_US, events))
    return Data(
        user[:events],
        at_us,
        np.round(rng.lognormal(3, 1, events), 2),
        rng.integers(0, MERCHANTS, events),
        Asked(user[events:], rng.integers(7 * DAY_US, DAYS * DAY_US, rows)),
    )


def over_windows() -> Iterator[tuple[str, Any]]:
    """Five aggregates over three windows, on a grid and exact."""
    for name, _, _ in WINDOWS:
        for resolution in ("auto", "exact"):
            window = tg.sliding(name, resolution=resolution)
            yield f"count_{name}_{resolution}", agg.count().over(window)
            for one in ("sum", "mean", "min", "max"):
                yield f"{one}_{name}_{resolution}", getattr(agg, one)("amount").over(window)


QUESTIONS: dict[str, dict[str, Any]] = {
    "newest": {"newest": agg.last("amount").over(tg.lifetime())},
    "windows": dict(over_windows()),
    "distinct": {"distinct": agg.approx_distinct("merchant").over(tg.sliding("7d"))},
    "last_5": {"last_5": agg.last_n("amount", n=5).over(tg.lifetime())},
    "session": {
        "session_count": agg.count().over(tg.session("30m")),
        "session_sum": agg.sum("amount").over(tg.session("30m")),
    },
}
SINGLE: dict[str, dict[str, Any]] = {
    "exact_sliding": {"exact": agg.sum("amount").over(tg.sliding("7d", resolution="exact"))},
    "sketches": {
        "quantile": agg.approx_quantile("amount", q=0.9).over(tg.sliding("7d")),
        "distinct": agg.approx_distinct("merchant").over(tg.sliding("7d")),
    },
    "last_n": {"last": agg.last_n("amount", n=10).over(tg.lifetime())},
    "sessions": QUESTIONS["session"],
}


def build_of(features: dict[str, Any]) -> Build:
    """The build of a view with these features."""
    return compile_view(tg.FeatureView("v", entity=USERS, stream=EVENTS, features=features), 1)


def rows_of(build: Build, data: Data) -> EventRows:
    """The events with the columns that the build reads."""
    columns = {"amount": Column(data.amount), "merchant": Column(data.merchant)}
    places = np.arange(len(data.user))
    order = Order(data.at_us, np.zeros(len(data.user), np.int64), places)
    return EventRows(data.user, order, tuple(columns[name] for name, _, _ in build.inputs))


def timed(run: Callable[[], Any]) -> tuple[Any, Spent]:
    """What it returns, and what it took."""
    began, wall = _cpu(), perf_counter()
    result = run()
    return result, Spent(perf_counter() - wall, _cpu() - began)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def ours(features: dict[str, Any], data: Data) -> tuple[dict[str, FeatureValues], Spent]:
    """The features at every row of the spine."""
    build = build_of(features)
    rows = rows_of(build, data)
    found, spent = timed(lambda: values_at(build.shape, rows, data.asked))
    return dict(zip(features, found, strict=True)), spent


def loaded(data: Data) -> duckdb.DuckDBPyConnection:
    """A DuckDB that holds events and spine."""
    spine = pa.table(  # noqa: F841 - read by its name
        {"id": np.arange(len(data.asked)), "person": data.asked.key, "moment": data.asked.at_us}
    )
    names = {
        "person": data.user,
        "moment": data.at_us,
        "amount": data.amount,
        "merchant": data.merchant,
    }
    events = pa.table(names)  # noqa: F841 - read by its name
    connection = duckdb.connect()
    connection.execute("create table events as select * from events")
    connection.execute("create table spine as select * from spine")
    return connection


def _older(length_us: int, grid_us: int) -> str:
    return f"(s.moment - {length_us}) - (s.moment - {length_us}) % {grid_us}"


def _by_join(wanted: Callable[[str, str], str], most: int = 2) -> str:
    columns = []
    for name, length_us, grid_us in WINDOWS:
        for resolution, step_us in (("auto", grid_us), ("exact", 1))[:most]:
            chosen = f"filter (where e.moment >= {_older(length_us, step_us)})"
            columns.append(wanted(f"{name}_{resolution}", chosen))
    return f"""select s.id, {", ".join(columns)} from spine s join events e on e.person = s.person
        and e.moment >= {_older(*WINDOWS[2][1:])} and e.moment < s.moment group by s.id"""


def _five(suffix: str, chosen: str) -> str:
    each = ", ".join(
        f"{one}(e.amount) {chosen} as {one}_{suffix}" for one in ("sum", "avg", "min", "max")
    )
    return f"count(*) {chosen} as count_{suffix}, {each}"


def _by_frames(wanted: str) -> str:
    frames, columns = [], []
    for name, length_us, grid_us in WINDOWS:
        for resolution, step_us in (("auto", grid_us), ("exact", 1)):
            frame = f"w_{name}_{resolution}"
            older = f"{length_us} + (moment - {length_us}) % {step_us}"
            frames.append(
                f"{frame} as (partition by person order by moment"
                f" range between {older} preceding and 1 preceding)"
            )
            columns += [
                f"{one}(amount) over {frame} as {one}_{name}_{resolution}"
                for one in ("count", "sum", "avg", "min", "max")
            ]
    if wanted == "distinct":
        columns, frames = ["count(distinct merchant) over w_7d_auto as n"], frames[4:5]
    return f"""select * from (select id, {", ".join(columns)} from (
        select null as id, person, moment, amount, merchant from events union all
        select id, person, moment, null, null from spine) window {", ".join(frames)})
        where id is not null"""


PLANS: dict[str, tuple[str, ...]] = {
    "newest": (
        """select s.id, e.amount from spine s asof left join events e
        on e.person = s.person and e.moment < s.moment""",
    ),
    "windows": (_by_join(_five), _by_frames("windows")),
    "distinct": (
        _by_frames("distinct"),
        f"""select s.id, count(distinct e.merchant) as n from spine s join events e
        on e.person = s.person and e.moment >= {_older(*WINDOWS[2][1:])} and e.moment < s.moment
        group by s.id""",
    ),
    "last_5": (
        """with newest as (select person, moment, [amount, lag(amount) over w,
        lag(amount, 2) over w, lag(amount, 3) over w, lag(amount, 4) over w] as five from events
        window w as (partition by person order by moment))
        select s.id, e.five from spine s asof left join newest e
        on e.person = s.person and e.moment < s.moment""",
        """with numbered as (select *, row_number() over (partition by person order by moment) as n
        from events), newest as (select s.id, s.person, e.n from spine s asof join numbered e
        on e.person = s.person and e.moment < s.moment)
        select w.id, list(e.amount order by e.n) from newest w cross join range(5) as o(back)
        join numbered e on e.person = w.person and e.n = w.n - o.back group by w.id""",
    ),
    "session": (
        f"""with broken as (select *, moment - lag(moment) over w as gap from events
        window w as (partition by person order by moment)), numbered as (select *,
        sum(case when gap <= {GAP_US} then 0 else 1 end) over (partition by person
        order by moment rows unbounded preceding) as session from broken),
        running as (select person, moment, count(*) over w as n, sum(amount) over w as total
        from numbered window w as (partition by person, session order by moment
        rows unbounded preceding))
        select s.id, e.n, e.total from spine s asof left join running e
        on e.person = s.person and e.moment < s.moment""",
    ),
}


def of_duckdb(connection: duckdb.DuckDBPyConnection, query: str, limit: float) -> tuple[Any, Spent]:
    """The answer to a query, None if it takes more CPU seconds than the limit; what it took."""
    done, began, wall = threading.Event(), _cpu(), perf_counter()

    def watch() -> None:
        while not done.wait(0.05):
            if _cpu() - began > limit:
                connection.interrupt()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        table = connection.sql(query).to_arrow_table()
    except duckdb.InterruptException:
        return None, Spent(perf_counter() - wall, _cpu() - began, given_up=True)
    finally:
        done.set()
        watcher.join()
    return table, Spent(perf_counter() - wall, _cpu() - began)


def best_of(
    connection: duckdb.DuckDBPyConnection, question: str, limit: float
) -> tuple[Any, Spent]:
    """The answer to a question by the plan of DuckDB's that takes the least CPU time.

    What takes longer than the limit, or than the best plan so far, is given up. If all were, no
    plan takes less than the least of what they had taken by then.
    """
    answer: Any = None
    best: Spent | None = None
    for query in PLANS[question]:
        most = limit if best is None or best.given_up else min(limit, best.cpu)
        table, took = of_duckdb(connection, query, most)
        note = f"{question}: {took.wall:.1f} s, CPU {took.cpu:.1f}"
        sys.stderr.write(f"  duckdb {note}{' given up' if took.given_up else ''}\n")
        if best is None or (best.given_up, best.cpu) > (took.given_up, took.cpu):
            answer, best = table, took
    assert best is not None, "every question has a plan"
    return answer, best


def of_polars(data: Data) -> Spent:
    """What `join_asof` takes for the newest amount before each instant."""
    names = {"user": data.user, "at": data.at_us, "amount": data.amount}
    events = pl.DataFrame(names).lazy()
    spine = pl.DataFrame({"user": data.asked.key, "at": data.asked.at_us - 1}).lazy()
    joined = spine.sort("at").join_asof(events.sort("at"), on="at", by="user")
    return timed(joined.collect)[1]


def check(found: dict[str, FeatureValues], answers: dict[str, Any]) -> None:
    """Refuses to compare what is not the same: the newest amounts, and the counts of a day."""
    for question, mine, theirs in (
        ("newest", "newest", "amount"),
        ("windows", "count_24h_auto", "count_24h_auto"),
    ):
        table = answers[question]
        if table is None:
            continue
        wanted = table.sort_by("id")
        values = found[mine].values.take(wanted["id"].combine_chunks())
        if not values.equals(wanted[theirs].combine_chunks().cast(values.type)):
            raise SystemExit(f"DuckDB has other values for {mine}")


def compared(keys: str, data: Data, limit: float, least: float, goal: float) -> list[Figure]:
    """Ours, DuckDB's best, and Polars' on the same data."""
    rows = len(data.asked)
    every = {name: one for features in QUESTIONS.values() for name, one in features.items()}
    found, spent = ours(every, data)
    connection, answers, best = loaded(data), {}, {}
    for question in PLANS:
        answers[question], best[question] = best_of(connection, question, limit)
    check(found, answers)
    theirs, cpu = sum(one.wall for one in best.values()), sum(one.cpu for one in best.values())
    more = " or more" if any(one.given_up for one in best.values()) else ""
    asof = of_polars(data)
    mine = ours(QUESTIONS["newest"], data)[1]
    return [
        Figure(f"training.{keys}.rate", rows / spent.wall, "rows/s"),
        Figure(f"training.{keys}.wall", spent.wall, "s", better="less"),
        Figure(f"training.{keys}.cpu", spent.cpu, "s", better="less"),
        Figure(f"training.{keys}.duckdb_wall", theirs, f"s{more}", better="less"),
        Figure(f"training.{keys}.duckdb_cpu", cpu, f"s{more}", better="less"),
        Figure(f"training.{keys}.times_duckdb", theirs / spent.wall, f"times{more}"),
        Figure(f"training.{keys}.times_duckdb_cpu", cpu / spent.cpu, f"times{more}", least, goal),
        Figure(f"training.{keys}.newest_times_polars", asof.wall / mine.wall, "times"),
    ]


def each_alone(keys: str, data: Data) -> list[Figure]:
    """What each kind of feature adds to a call that has the newest amount already, in CPU time."""
    alone = min(ours(QUESTIONS["newest"], data)[1].cpu for _ in range(2))
    figures = []
    for name, features in SINGLE.items():
        both = min(ours(QUESTIONS["newest"] | features, data)[1].cpu for _ in range(2))
        rate = len(data.asked) / max(both - alone, 1e-3)
        figures.append(Figure(f"training.{keys}.{name}", rate, "rows/s of CPU", 200_000))
    return figures


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--keys", choices=("uniform", "zipf", "all"), default="all")
    parser.add_argument("--limit", type=float, default=200.0, help="CPU seconds a plan of DuckDB")
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args(arguments)
    # What is loaded only once.
    ours(QUESTIONS["newest"], drawn("uniform", 1_000, 100, 10))
    figures = []
    for keys, least, goal in (("uniform", 2.0, 3.0), ("zipf", 30.0, 50.0)):
        if options.keys not in (keys, "all"):
            continue
        data = drawn(keys, options.events, options.rows, 100_000)
        figures += compared(keys, data, options.limit, least, goal)
        if keys == "uniform":
            figures += each_alone(keys, data)
    show(figures, json_only=options.json)


if __name__ == "__main__":
    main()
