"""What an exact edge costs: state, reading and ingest, by how much has happened to the key.

    python -m benchmarks.exact [--events N] [--json]

Four features over `sliding("30d", resolution="exact")` of a key with 10 thousand to a million
events in the last 40 days, committed and folded bit by bit as the engine does, and read at instants
whose older edge lies anywhere in an hour. Bytes are those of the key's rows in the *state*, before
compression. Ingest is the CPU time an event of the same four aggregates with and without the exact
edge, zipf(1.2) keys, all the way but the archive.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.features import cpu_us
from benchmarks.report import Figure, show
from benchmarks.serving import definitions, tiles_of_events
from tegula import FeatureView, agg, sliding
from tegula.engine.plan import Build, compile_view
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.memory import keep_freed_memory
from tegula.engine.steps.commit import FOLD_EVERY
from tegula.schemas.definitions import Feature
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tegula.serving.plan import FeaturePlan, Part
from tegula.serving.read import FeatureReader
from tegula.serving.single import single_key
from tegula.serving.single_code import quick
from tegula.state.database import Memory
from tegula.state.fold import fold
from tegula.state.keys import encode_key
from tegula.state.mirror import Mirror
from tegula.state.online.lmdb import LmdbReader, LmdbWriter
from tegula.state.shard import Shard
from tegula.windows.tiles import KeyedTiles

SPAN_US: Final = 40 * DAY_US
KEY: Final = encode_key(("c0",), ("string",))
READS: Final = 500
READ_FLOOR_US: Final = 200.0
PLAIN: Final = (agg.count(), agg.sum("amount"), agg.mean("amount"), agg.max("amount"))


def _features(resolution: str) -> dict[str, Feature]:
    return {
        f"f{number}": one.over(sliding("30d", resolution=resolution))
        for number, one in enumerate(PLAIN)
    }


def exact_build() -> Build:
    """Four aggregates over the last 30 days, both edges exact."""
    view = definitions()[2]
    return compile_view(
        FeatureView("exact", entity=view.entity, stream=view.stream, features=_features("exact")), 1
    )


def fill(build: Build, shard: Shard, mirror: Mirror, event_us: np.ndarray) -> None:
    """Commit events in order of time, and fold as often as a key is that every commit touches."""
    rng = np.random.default_rng(7)
    lots = np.array_split(event_us, max(32, min(256, len(event_us) // 200)))
    for lot in lots:
        for part in np.array_split(lot, FOLD_EVERY // 8):
            if not len(part):
                continue
            owner = np.zeros(len(part), np.int64)
            _, tiles, newest_us = tiles_of_events(build, owner, part, rng)
            keys = pa.array([KEY], pa.large_binary())
            keyed = KeyedTiles(keys, np.array([0, len(tiles)]), newest_us, tiles)
            shard.commit({1: (build.shape, keyed)}, {})
        fold(shard, 1, build.shape, [KEY], int(lot[-1]) - build.shape.depth_us)
    mirror.catch_up()


def state_bytes(shard: Shard) -> int:
    """Bytes of all rows of the key, as they are put."""
    (stored,) = shard.read_keys(1, [KEY])
    rows = [stored.head or b"", stored.body or b"", *stored.chunks]
    return sum(map(len, rows)) + sum(len(row) for _, _, row in shard.segments.all_of(1, [KEY]))


def read_us(build: Build, folder: Path, at_us: int) -> float:
    """Time of one read, store and finish, in µs: the median of reads at instants over an hour."""
    features = build.shape.features
    names = tuple(one.name for one in features)
    answer = quick(single_key(build.shape, features))
    part = Part("exact", 1, build.shape, 0, names, features, answer)
    plan = FeaturePlan(names, (), (part,), (), (), frozenset())
    store = LmdbReader(folder, now_us)
    reader, keys, took = FeatureReader(store), [[KEY]], []
    for later_us in np.random.default_rng(5).integers(0, HOUR_US, READS).tolist():
        began = time.perf_counter()
        reply = reader.read(plan, keys, 1, 1, at_us + later_us)
        took.append(time.perf_counter() - began)
        assert not reply.statuses, "an exact window is present, never coarse"
    store.close()
    return float(np.median(took)) * 1e6


def of_key(count: int) -> list[Figure]:
    """Bytes and time of a key with so many events."""
    build, at_us = exact_build(), now_us() // SECOND_US * SECOND_US
    rng = np.random.default_rng(count)
    event_us = np.sort(at_us - 1 - (rng.random(count) * SPAN_US).astype(np.int64))
    with tempfile.TemporaryDirectory(prefix="tegula-bench-") as name:
        folder = Path(name)
        shard = Shard(0, folder / "state", Memory(), 1)
        shard.renew(incarnation=1, boot_id="bench")
        writer = LmdbWriter(folder / "online", 0, 1)
        mirror = Mirror(shard, writer, {1: build.shape})
        mirror.rebuild_missing()
        fill(build, shard, mirror, event_us)
        writer.publish()
        weight = state_bytes(shard)
        writer.close()
        took = read_us(build, folder / "online", at_us + MINUTE_US)
        shard.close()
    return [
        Figure(f"exact.read_{count}_events", took, "µs", READ_FLOOR_US, better="less"),
        Figure(f"exact.state_{count}_events", weight, "bytes", better="less"),
    ]


def ingest(count: int) -> list[Figure]:
    """CPU time an event, with and without the exact edge."""
    cpu_us(_features("auto"), count // 4)  # what is loaded and compiled only once
    plain, exact = cpu_us(_features("auto"), count), cpu_us(_features("exact"), count)
    return [
        Figure("exact.ingest.without", plain, "µs an event", better="less"),
        Figure("exact.ingest.with", exact, "µs an event", better="less"),
        Figure("exact.ingest.cost", exact / plain, "x", better="less"),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="events to ingest")
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    found = [figure for count in (10_000, 100_000, 1_000_000) for figure in of_key(count)]
    show([*found, *ingest(options.events)], json_only=options.json)


if __name__ == "__main__":
    main()
