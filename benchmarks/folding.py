"""What a fold of one hot key costs whose states are large: CPU time, bytes written, bytes read.

    python -m benchmarks.folding [--folds N] [--resolution 1h] [--json]

A quantile, a distinct count and a map of a hundred categories, each over an hour, a day and thirty
days: tiles of kilobytes, so that the body is of a megabyte (of several, where the thirty days have
a finer resolution). The key has had events for 35 days; what is measured are folds as they then go
on, one every ten seconds of event time, with what the mirror does after each: `split` as they are,
and `whole` with bodies that are never split (`state/bodies.py`). Bytes are those of the values put
into the state and the online store, before compression and before anything that the stores do with
them; most of the others are the head's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks import payments
from benchmarks.report import Figure, show
from tegula import FeatureView, agg, sliding
from tegula.engine.plan import Build, compile_view
from tegula.engine.runtime.memory import keep_freed_memory
from tegula.schemas.time import DAY_US, HOUR_US, SECOND_US
from tegula.state import bodies
from tegula.state.database import Memory
from tegula.state.fold import fold
from tegula.state.mirror import Mirror
from tegula.state.mirror_merge import Committed
from tegula.state.online.lmdb import LmdbWriter
from tegula.state.online.rows import Mark, RowWrites
from tegula.state.shard import Shard
from tegula.windows.algebra import Column, Order, Runs
from tegula.windows.tiles import KeyedTiles, Tiles

KEY: Final = b"hot"
DAYS: Final = 35
START_US: Final = 20_000 * DAY_US
FOLD_US: Final = 10 * SECOND_US
CHUNKS_A_FOLD: Final = 4
EVENTS_A_CHUNK: Final = 100
SHOPS: Final = [f"shop-{number:03}".encode() for number in range(100)]


def large_build(resolution: str) -> Build:
    """A view whose tiles are of kilobytes each; `resolution` is that of its longest window."""
    known: list[Any] = [*payments.definitions()]
    card, stream = known[:2]
    aggregates = {
        "p90": agg.approx_quantile("amount", q=0.9),
        "kinds": agg.approx_distinct("amount"),
        "by_shop": agg.sum("amount", by="merchant", cap=100),
    }
    features = {
        f"{name}_{length}": one.over(sliding(length, resolution=step))
        for name, one in aggregates.items()
        for length, step in (("1h", "auto"), ("24h", "auto"), ("30d", resolution))
    }
    return compile_view(FeatureView("large", entity=card, stream=stream, features=features), 1)


def chunk_of(build: Build, event_us: np.ndarray, rng: np.random.Generator) -> KeyedTiles:
    """The tiles of events, ascending in time, as a commit would hold them."""
    shape, count = build.shape, len(event_us)
    start_us = event_us - event_us % SECOND_US
    runs = Runs.of_changes(start_us)
    place = Order(event_us, np.zeros(count, np.int64), np.arange(count))
    amounts = np.round(rng.lognormal(3, 1, count), 2)
    shops = pa.array([SHOPS[n] for n in rng.integers(0, len(SHOPS), count)], pa.large_binary())
    columns: list[Any] = []
    for slot in shape.slots:
        kind = None if slot.input is None else build.inputs[slot.input][2]
        beside = shops if kind is not None and "," in kind else None
        column = None if kind is None else Column(amounts, None, beside)
        columns.extend(slot.monoid.lift(column, place, runs))
    rung = np.full(runs.count, shape.finest, np.uint8)
    tiles = Tiles(start_us[runs.starts], rung, runs.lengths, tuple(columns))
    keys, bounds = pa.array([KEY], pa.large_binary()), np.array([0, runs.count])
    return KeyedTiles(keys, bounds, event_us[-1:], tiles)


class CountedWriter(LmdbWriter):
    """The online store, with the bytes of what is put into it."""

    written = 0

    def write(self, writes: Sequence[RowWrites], mark: Mark) -> None:
        blocks = [block for one in writes for _, block in (*one.heads, *one.bodies)]
        self.written += sum(map(len, blocks))
        super().write(writes, mark)


class CountedShard(Shard):
    """A shard, with the bytes of what folds put into it."""

    written = 0

    def write_folded(self, build: int, puts: Any, *rest: Any) -> int:
        rows = list(puts)
        self.written += sum(len(value) for _, value in rows)
        return super().write_folded(build, rows, *rest)


def lots(count: int) -> Iterator[tuple[int, int]]:
    """Begin and length of each lot of events: quarters of an hour, then as folds are measured."""
    end_us = START_US + DAYS * DAY_US
    for begin_us in range(START_US, end_us, HOUR_US // 4):
        yield begin_us, HOUR_US // 4
    for number in range(count):
        yield end_us + number * FOLD_US, FOLD_US


def measure(folder: Path, resolution: str, count: int, name: str) -> list[Figure]:
    """Fill a key, then fold it `count` times."""
    build, rng = large_build(resolution), np.random.default_rng(3)
    shard = CountedShard(0, folder / "state", Memory(), 1)
    shard.renew(incarnation=1, boot_id="bench")
    writer = CountedWriter(folder / "online", 0, 1)
    mirror = Mirror(shard, writer, {1: build.shape})
    mirror.rebuild_missing()
    fold_s, mirror_s = [], []
    for number, (begin_us, span_us) in enumerate(lots(count)):
        live = span_us == FOLD_US
        if live and not fold_s:
            shard.written = writer.written = 0
            began = time.process_time()
        chunks: list[Any] = []
        for part in range(CHUNKS_A_FOLD if live else 1):
            width_us = span_us // (CHUNKS_A_FOLD if live else 1)
            drawn = rng.integers(0, width_us, EVENTS_A_CHUNK) + begin_us + part * width_us
            keyed = chunk_of(build, np.sort(drawn), rng)
            chunks.append(Committed(shard.commit({1: (build.shape, keyed)}, {}), {1: keyed}))
        if not live and number % 32:
            mirror.take(chunks)
            continue
        before = time.thread_time()
        folded = fold(shard, 1, build.shape, [KEY], begin_us + span_us - build.shape.depth_us)
        between = time.thread_time()
        mirror.take([*chunks, folded])
        if live:
            fold_s.append(between - before)
            mirror_s.append(time.thread_time() - between)
    shard.flush()
    took = (time.process_time() - began) / count
    (stored,) = shard.read_keys(1, [KEY])
    weight = len(stored.body or b"") + sum(map(len, stored.parts.values()))
    put, online = shard.written / count, writer.written / count
    writer.close()
    shard.close()
    return [
        Figure(f"folding.{name}.body", weight, "bytes"),
        Figure(f"folding.{name}.fold", 1e3 * float(np.mean(fold_s)), "ms CPU", better="less"),
        Figure(f"folding.{name}.mirror", 1e3 * float(np.mean(mirror_s)), "ms CPU", better="less"),
        Figure(f"folding.{name}.all", 1e3 * took, "ms CPU", better="less"),
        Figure(f"folding.{name}.state", put, "bytes a fold", better="less"),
        Figure(f"folding.{name}.online", online, "bytes a fold", better="less"),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folds", type=int, default=100, help="folds to measure")
    parser.add_argument("--resolution", default="auto", help="of the thirty days")
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    found: list[Figure] = []
    for name, bound in (("whole", 1 << 60), ("split", bodies.SPLIT_BYTES)):
        bodies.SPLIT_BYTES = bound
        with tempfile.TemporaryDirectory(prefix="tegula-bench-") as folder:
            found += measure(Path(folder), options.resolution, options.folds, name)
    show(found, json_only=options.json)


if __name__ == "__main__":
    main()
