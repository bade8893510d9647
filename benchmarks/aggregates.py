"""What lifting and merging cost, in ns a row, for every monoid and three lengths of run.

Runs of mean length 1 (every row a key of its own), 10 and 1000 (few hot keys), lengths geometric,
one chunk of 262 144 rows as ingest would hand over. `reduce` merges states as they were lifted, one
a row. `one` is `reduce_one` over 30 states, in µs: a read of one key.

Temporary arrays decide these figures where the allocator gives memory back to the kernel after
each operation, since every page is then faulted in anew (up to five times the time, measured on a
virtual machine). This program tells glibc to keep its memory; `--default-malloc` does not.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.report import Figure
from tegula.schemas.errors import UnsupportedInput
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import Column, Monoid, Order, Runs, concat, take

ROWS = 1 << 18
STATES = 1 << 16
MEAN_LENGTHS = (1, 10, 1000)
READ_STATES = 30
LIFT_SUM_FLOAT_GOAL_NS = 40.0
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def main() -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--default-malloc", action="store_true")
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args()
    if not options.default_malloc:
        keep_memory()
    figures: dict[str, float] = {}
    if not options.json:
        lengths = "".join(
            f"{f'{what} {n}':>13}" for what in ("lift", "reduce") for n in MEAN_LENGTHS
        )
        print(f"{'ns a row, runs of':18}{lengths}{'one, µs':>10}")
    for monoid, kind in monoids():
        measured = measure(monoid, kind)
        figures |= {f"aggregates.{monoid.name}.{what}": ns for what, ns in measured.items()}
        if not options.json:
            print(f"{monoid.name:18}", *(f"{ns:12.1f}" for ns in measured.values()))
    for name, value in figures.items():
        goal = LIFT_SUM_FLOAT_GOAL_NS if name.startswith("aggregates.sum_float.lift") else None
        unit = "µs" if name.endswith(".one") else "ns/row"
        print(Figure(name, value, unit, goal=goal, better="less").line())


def keep_memory() -> None:
    """Tell glibc to keep freed memory, however large the block was."""
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def monoids() -> list[tuple[Monoid, str]]:
    """Every registered monoid, with a kind of input that it is made for."""
    found: dict[str, tuple[Monoid, str]] = {}
    for kind in (None, "float", "int", "string"):
        for aggregate in AGGREGATES.values():
            try:
                needs = aggregate.needs(kind, {})
            except UnsupportedInput:
                continue
            for need in needs:
                found.setdefault(need.monoid.name, (need.monoid, kind or "float"))
    return list(found.values())


def measure(monoid: Monoid, kind: str) -> dict[str, float]:
    """Nanoseconds a row of lift and reduce by mean run length; microseconds of `reduce_one`."""
    random = np.random.default_rng(20130101)
    column, order = column_of(kind, random), order_of(random)
    measured: dict[str, float] = {}
    for mean in MEAN_LENGTHS:
        runs = runs_of(ROWS, mean, random)
        seconds = best(lambda runs=runs: monoid.lift(column, order, runs))
        measured[f"lift.{mean}"] = seconds / ROWS * 1e9
    states = monoid.lift(column, order, Runs(np.arange(ROWS), ROWS))
    states = take(states, np.arange(STATES))
    if [field.name for field in monoid.fields] == ["hi", "lo"] and kind == "float":
        states = concat((states,))
        states[1][:] = states[0] * 2.0**-60  # as after some merges
    for mean in MEAN_LENGTHS:
        runs = runs_of(STATES, mean, random)
        seconds = best(lambda runs=runs: monoid.reduce(states, runs))
        measured[f"reduce.{mean}"] = seconds / STATES * 1e9
    few = take(states, np.arange(READ_STATES))
    measured["one"] = best(lambda: [monoid.reduce_one(few) for _ in range(100)]) / 100 * 1e6
    return measured


def column_of(kind: str, random: np.random.Generator) -> Column:
    """A column with some nulls: amounts, quantities, or merchants out of 20 000."""
    valid = random.random(ROWS) > 0.01
    if kind == "string":
        names = pa.array([b"merchant-%05d" % i for i in range(20_000)], pa.large_binary())
        return Column(names.take(pa.array(random.integers(0, 20_000, ROWS))), valid)
    if kind == "int":
        return Column(random.integers(0, 20_000, ROWS), valid)
    return Column(np.round(random.lognormal(3, 1, ROWS), 2), valid)


def order_of(random: np.random.Generator) -> Order:
    """Coordinates of one partition's rows."""
    events = np.sort(random.integers(0, 10**10, ROWS))
    return Order(events, np.zeros(ROWS, np.int64), np.arange(ROWS))


def runs_of(rows: int, mean: int, random: np.random.Generator) -> Runs:
    """Runs of geometric lengths over exactly `rows` rows."""
    ends = np.cumsum(random.geometric(1 / mean, rows // mean + 1))
    starts = np.concatenate(([0], ends))
    return Runs(starts[starts < rows], rows)


def best(action: Callable[[], Any], times: int = 5) -> float:
    """The least number of seconds that `action` takes."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return min(taken)


if __name__ == "__main__":
    main()
