"""What it costs to know copies of an event: the same events with ids, with and without `unique_by`.

    python -m benchmarks.copies [--events N]

One event in a hundred is a copy of one before it. All the way but the archive, zipf(1.2) keys; CPU
time an event, both in one run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from benchmarks import payments
from benchmarks.ingest import EVENTS_PER_SECOND, measure
from benchmarks.report import Figure, show
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.memory import keep_freed_memory

COPIES = 0.01


def with_ids(batches: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    """The events with a number each; a copy has that of one of the last thousand."""
    rng, number = np.random.default_rng(5), 0
    for batch in batches:
        ids = number + np.arange(len(batch))
        copies = rng.random(len(batch)) < COPIES
        ids[copies] -= rng.integers(0, min(1_000, number + 1), int(copies.sum()))
        number += len(batch)
        yield [b'%b,"id":%d}' % (e[:-1], i) for e, i in zip(batch, ids.tolist(), strict=True)]


def cpu_us(unique_by: str | None, count: int) -> float:
    """CPU time an event, in µs."""
    with payments.scratch() as folder:
        settings = payments.make_home(folder, stream={"unique_by": unique_by})
        start_us = now_us() - 40_000_000
        events = payments.events("zipf", count, 1, start_us, EVENTS_PER_SECOND)
        payments.fill_local(settings, with_ids(events))
        return measure(settings, count, state_only=False).cpu_us


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    cpu_us(None, options.events // 4)  # what is loaded and compiled only once
    plain, unique = cpu_us(None, options.events), cpu_us("id", options.events)
    figures = [
        Figure("copies.rate", 1e6 / unique, "events/s a core", 50_000, 100_000),
        Figure("copies.cost", unique - plain, "µs an event", better="less"),
    ]
    show(figures, json_only=options.json)


if __name__ == "__main__":
    main()
