"""Records or packed columns: how tiles are best laid out in a stored value.

The design stores a key's tiles as packed columns; we store them as records (`state/packing.py`).
This compares both ways on what a commit and a mirror do most: cutting one array into a value a key,
and putting many values together into columns again. Seven fields a tile, few tiles a key.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from benchmarks.report import Figure, show

FIELDS, KEYS, REPEATS = 7, 100_000, 5


def pack_records(columns: list[np.ndarray], edges: list[int]) -> list[bytes]:
    """One structured array, filled column by column, cut a key at a time."""
    dtype = np.dtype([(f"f{i}", "<i8") for i in range(FIELDS)])
    records = np.empty(len(columns[0]), dtype=dtype)
    for number, column in enumerate(columns):
        records[f"f{number}"] = column
    data, width = records.tobytes(), dtype.itemsize
    return [data[begin * width : end * width] for begin, end in pairwise(edges)]


def unpack_records(values: list[bytes]) -> list[np.ndarray]:
    """One join, one view."""
    dtype = np.dtype([(f"f{i}", "<i8") for i in range(FIELDS)])
    records = np.frombuffer(b"".join(values), dtype=dtype)
    return [np.ascontiguousarray(records[f"f{number}"]) for number in range(FIELDS)]


def pack_columns(columns: list[np.ndarray], edges: list[int]) -> list[bytes]:
    """Each key's columns one after the other: every word is put where its key and column say."""
    bounds = np.array(edges)
    lengths = np.diff(bounds)
    words = np.empty(bounds[-1] * FIELDS, dtype=np.int64)
    place = np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths)
    base, tiles = np.repeat(bounds[:-1] * FIELDS, lengths), np.repeat(lengths, lengths)
    for number, column in enumerate(columns):
        words[base + tiles * number + place] = column
    data, width = words.tobytes(), 8 * FIELDS
    return [data[begin * width : end * width] for begin, end in pairwise(edges)]


def unpack_columns(values: list[bytes]) -> list[np.ndarray]:
    """One join, then every column gathered from its keys' parts."""
    words = np.frombuffer(b"".join(values), dtype=np.int64)
    lengths = np.fromiter(map(len, values), np.int64, len(values)) // (8 * FIELDS)
    bounds = np.concatenate(([0], np.cumsum(lengths)))
    place = np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths)
    base, tiles = np.repeat(bounds[:-1] * FIELDS, lengths), np.repeat(lengths, lengths)
    return [words[base + tiles * number + place] for number in range(FIELDS)]


def best_ns(work: Callable[[], object], tiles: int) -> float:
    """The best of some runs, in ns a tile: what disturbs a run only ever makes it slower."""
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times) / tiles * 1e9


def compare(mean: int) -> list[Figure]:
    """Both layouts for keys with so many tiles on average."""
    rng = np.random.default_rng(1)
    lengths = np.ones(KEYS, np.int64) if mean == 1 else rng.integers(1, 2 * mean, KEYS)
    edges = np.concatenate(([0], np.cumsum(lengths))).tolist()
    columns = [rng.integers(0, 1 << 40, edges[-1]) for _ in range(FIELDS)]
    by_records, by_columns = pack_records(columns, edges), pack_columns(columns, edges)
    for one, other in zip(unpack_records(by_records), unpack_columns(by_columns), strict=True):
        assert (one == other).all()
    works: dict[str, Callable[[], object]] = {
        "records_pack": lambda: pack_records(columns, edges),
        "columns_pack": lambda: pack_columns(columns, edges),
        "records_unpack": lambda: unpack_records(by_records),
        "columns_unpack": lambda: unpack_columns(by_columns),
    }
    return [
        Figure(f"layout.{name}.{mean}_a_key", best_ns(work, edges[-1]), "ns/tile", better="less")
        for name, work in works.items()
    ]


def main() -> None:
    """Compare keys with one tile, and with ten on average."""
    show([*compare(1), *compare(10)])


if __name__ == "__main__":
    main()
