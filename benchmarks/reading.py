"""What reading one key costs, store and finish, by how much has happened to it; and what it weighs.

    python -m benchmarks.reading [--json]

Ten features over 1 h, 24 h and 30 d of a key with 10 thousand to a million events in the last 40
days, in the online store as the engine leaves it; a hundred such keys, so that no read finds its
row in the processor's cache. Beside it the bytes that the *state* holds of the densest of these
and of a key with an event every other day: compressed by LZ4, as RocksDB writes them, and before.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.report import Figure, show
from benchmarks.serving import definitions, tiles_of_events
from tegula.engine.plan import Build, compile_view
from tegula.engine.runtime.clock import now_us
from tegula.schemas.time import DAY_US, MINUTE_US, SECOND_US
from tegula.serving.single import single_key
from tegula.serving.single_code import AnswerOne, quick
from tegula.state.keys import encode_key
from tegula.state.online.lmdb import LmdbReader, LmdbWriter
from tegula.state.online.rows import Mark, RowWrites
from tegula.state.packing import BODY, HEAD, ONLINE_BODY, ONLINE_HEAD, Stamps, pack
from tegula.windows.coarsen import coarsen
from tegula.windows.tiles import KeyedTiles, group

SPAN_US = 40 * DAY_US
KEYS = 100
READ_FLOOR_US, DENSE_FLOOR_BYTES, SPARSE_FLOOR_BYTES = 20.0, 16 << 10, 1 << 10


def blocks(build: Build, event_us: np.ndarray, at_us: int) -> dict[int, bytes]:
    """Every kind of block of a key with these events, folded up to 15 minutes before `at_us`."""
    horizon_us = (at_us - 15 * MINUTE_US) // SECOND_US * SECOND_US
    owner, tiles, newest_us = tiles_of_events(
        build, np.zeros(len(event_us), np.int64), event_us, np.random.default_rng(3)
    )
    owner, tiles = group(build.shape, owner, tiles)
    tiles, keep = coarsen(build.shape, tiles, np.full(len(tiles), horizon_us))
    owner, tiles = group(build.shape, owner[keep], tiles.take(np.flatnonzero(keep)))
    one = np.ones(1, np.uint64)
    stamps = Stamps(one, one, one, np.array([horizon_us]))
    packed = {}
    for kinds, chosen in (
        ((HEAD, ONLINE_HEAD), tiles.start_us >= horizon_us),
        ((BODY, ONLINE_BODY), tiles.start_us < horizon_us),
    ):
        part = tiles.take(np.flatnonzero(chosen))
        keyed = KeyedTiles(
            pa.array([b""], pa.large_binary()), np.array([0, len(part)]), newest_us, part
        )
        packed |= {kind: pack(build.shape, keyed, kind, stamps)[0] for kind in kinds}
    return packed


def read_us(folder: Path, answer: AnswerOne, row: dict[int, bytes], at_us: int) -> float:
    """Time of reading and finishing one key, in µs: the best of some rounds over many keys."""
    keys = [encode_key((f"c{n}",), ("string",)) for n in range(KEYS)]
    writer = LmdbWriter(folder, 0, 1)
    heads, bodies = ([(key, row[kind]) for key in keys] for kind in (ONLINE_HEAD, ONLINE_BODY))
    writer.write([RowWrites(1, heads, bodies)], Mark(1, 1, (1,)))
    writer.publish()
    writer.close()  # a process has one environment of a path open
    reader = LmdbReader(folder, now_us)
    best = np.inf
    for _ in range(20):
        began = time.perf_counter()
        for key in keys:
            _, ((head, body),) = reader.read(0, 1, [key])
            assert answer(head, body, at_us) is not None
        best = min(best, (time.perf_counter() - began) / KEYS * 1e6)
    reader.close()
    return float(best)


def figures() -> list[Figure]:
    """Times by events, and bytes."""
    build = compile_view(definitions()[2], 1)
    answer = quick(single_key(build.shape, build.shape.features))
    at_us, found = now_us() // SECOND_US * SECOND_US, []
    for count in (10_000, 100_000, 1_000_000):
        rng = np.random.default_rng(count)
        event_us = np.sort(at_us - 1 - (rng.random(count) * SPAN_US).astype(np.int64))
        row = blocks(build, event_us, at_us)
        with tempfile.TemporaryDirectory(prefix="tegula-bench-") as folder:
            took = read_us(Path(folder), answer, row, at_us)
        found.append(Figure(f"reading.{count}_events", took, "µs", READ_FLOOR_US, better="less"))
    seldom = blocks(build, at_us - 1 - np.arange(20, dtype=np.int64)[::-1] * 2 * DAY_US, at_us)
    for name, one, floor in (
        ("dense", row, DENSE_FLOOR_BYTES),
        ("sparse", seldom, SPARSE_FLOOR_BYTES),
    ):
        raw = len(one[HEAD]) + len(one[BODY])
        stored = sum(pa.compress(one[kind], "lz4_raw").size for kind in (HEAD, BODY))
        found += [
            Figure(f"reading.state_{name}", stored, "bytes", floor, better="less"),
            Figure(f"reading.state_{name}.unpacked", raw, "bytes", better="less"),
        ]
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    show(figures(), json_only=parser.parse_args(arguments).json)


if __name__ == "__main__":
    main()
