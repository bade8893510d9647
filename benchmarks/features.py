"""What features cost at ingest: more windows, more aggregates, sketches, maps, ordered windows.

    python -m benchmarks.features [--events N] [--only NAME …]

Every definition is ingested from a log of its own, all the way but the archive, by an engine of
its own: zipf(1.2) keys. What is compared is CPU time an event, which other work on the machine
disturbs least: "a core" is a second of it. Ratios are within one run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

import polars as pl

from benchmarks import payments
from benchmarks.ingest import EVENTS_PER_SECOND, measure
from benchmarks.report import Figure, show
from tegula import agg, last, session, since, sliding
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.memory import keep_freed_memory

TEN = ("10m", "30m", "1h", "2h", "6h", "12h", "24h", "3d", "7d", "30d")
PLAIN = (agg.count(), agg.sum("amount"), agg.mean("amount"), agg.max("amount"))
MORE = (agg.min("amount"), agg.stddev("amount"), agg.first("amount"), agg.last("amount"))


def _over(aggregates: tuple[object, ...], *lengths: str) -> payments.Features:
    return {
        f"f{i}_{length}": one.over(sliding(length))  # type: ignore[attr-defined]
        for i, one in enumerate(aggregates)
        for length in lengths
    }


DEFINITIONS: Mapping[str, Callable[[], payments.Features]] = {
    "one_window": lambda: _over(PLAIN[1:2], "24h"),
    "ten_windows": lambda: _over(PLAIN[1:2], *TEN),
    "plain_4": lambda: _over(PLAIN, "1h", "24h", "30d"),
    "plain_8": lambda: _over((*PLAIN, *MORE), "1h", "24h", "30d"),
    "distinct": lambda: _over((agg.approx_distinct("amount"),), "1h", "24h", "30d"),
    "quantile": lambda: _over((agg.approx_quantile("amount", q=0.9),), "1h", "24h", "30d"),
    "top_k": lambda: _over((agg.approx_top_k("amount", k=10),), "1h", "24h", "30d"),
    "drawdown": lambda: _over((agg.drawdown("amount"),), "1h", "24h", "30d"),
    "maps": lambda: _over((agg.sum("amount", by="merchant", cap=50),), "1h", "24h", "30d"),
    "last_n": lambda: {"mean_10": agg.mean("amount").over(last(10))},
    "since": lambda: {"sum": agg.sum("amount").over(since(pl.col("amount") > 900, cap=100))},
    "sessions": lambda: {
        "count": agg.count().over(session("30s")),
        "sum": agg.sum("amount").over(session("30s")),
    },
}
FLOORS = dict.fromkeys(
    ("distinct", "quantile", "top_k", "drawdown"), (150_000, 250_000)
) | dict.fromkeys(("maps", "last_n", "since", "sessions"), (100_000, None))


def cpu_us(features: payments.Features, count: int) -> float:
    """CPU time an event, in µs, of an engine that keeps these features."""
    with payments.scratch() as folder:
        settings = payments.make_home(folder, features=features)
        start_us = now_us() - 40_000_000
        payments.fill_local(
            settings, payments.events("zipf", count, 1, start_us, EVENTS_PER_SECOND)
        )
        return measure(settings, count, state_only=False).cpu_us


def figures(taken: Mapping[str, float]) -> list[Figure]:
    """Rates a core, and the two ratios."""
    found = [
        Figure(f"features.{name}", 1e6 / cost, "events/s a core", *FLOORS.get(name, (None, None)))
        for name, cost in taken.items()
    ]
    if {"one_window", "ten_windows"} <= taken.keys():
        ratio = taken["ten_windows"] / taken["one_window"]
        found.append(Figure("features.ten_windows.cost", ratio, "x", 1.3, better="less"))
    if {"plain_4", "plain_8"} <= taken.keys():
        found.append(Figure("features.plain_8.rate", taken["plain_4"] / taken["plain_8"], "x", 0.7))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="+", choices=tuple(DEFINITIONS))
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    names = options.only or tuple(DEFINITIONS)
    cpu_us(DEFINITIONS[names[0]](), options.events // 4)  # what is loaded and compiled only once
    show(
        figures({name: cpu_us(DEFINITIONS[name](), options.events) for name in names}),
        json_only=options.json,
    )


if __name__ == "__main__":
    main()
