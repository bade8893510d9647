"""A training set of many events, of which a fifth are one key's: memory, time, and how it grows.

    python -m benchmarks.training_scale [--events N] [--rows N] [--limit-gib G] [--parts 4,2,1]

Events of 90 days are written into an archive, a piece at a time. Then `training_set` makes all
features of the benchmark `training` for a spine in a file, in a process of its own that may not
have more than the limit: the kernel refuses it any further writable memory (`RLIMIT_DATA`, which
counts what is reserved too, so it is stricter than a limit on what is resident). That is done for a
quarter of the events and of the rows, for half, and for all; `growth` is how many times as long the
whole took (CPU time) as the first part, over what n log n would give.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import tegula as tg
from benchmarks import payments
from benchmarks.report import Figure, show
from benchmarks.training import DAY_US, DAYS, EVENTS, MERCHANTS, QUESTIONS, USERS, timed
from tegula.engine.lake import lake_of
from tegula.engine.settings import Settings
from tegula.state.archive import Archive, ArchiveRows
from tegula.state.archive_writer import ArchiveWriter, FlushPolicy
from tegula.state.dead_letter import DeadLetter

START_US = 1_700_000_000_000_000 // DAY_US * DAY_US
HEAVY, SHARE = 0, 0.2
"""The key that has a fifth of all events, and of all rows."""
KEYS = 1_000_000
PARTITIONS = 4
PIECE = 500_000
LAG_US = 1_000_000
SEED = 11

SPENT = tg.FeatureView(
    "spent",
    entity=USERS,
    stream=EVENTS,
    features={name: one for asked in QUESTIONS.values() for name, one in asked.items()},
)


@dataclass(frozen=True, slots=True)
class Made:
    """What a set took: seconds, CPU seconds, and the peak of resident memory in bytes."""

    wall: float
    cpu: float
    peak_bytes: int
    rows: int


def users(rng: np.random.Generator, count: int) -> np.ndarray:
    """A fifth of them the heavy key, the others uniform."""
    drawn = rng.integers(1, KEYS, count)
    drawn[rng.random(count) < SHARE] = HEAVY
    return drawn


def batches(events: int) -> Iterator[ArchiveRows]:
    """Events in the order of time, partitions in turn."""
    rng = np.random.default_rng(SEED)
    first = [0] * PARTITIONS
    pieces = math.ceil(events / PIECE)
    for piece in range(pieces):
        count = min(PIECE, events - piece * PIECE)
        edges = [START_US + DAYS * DAY_US * place // pieces for place in (piece, piece + 1)]
        at_us = np.sort(rng.integers(*edges, count))
        frame = pl.DataFrame(
            {
                "user": users(rng, count),
                "amount": np.round(rng.lognormal(3, 1, count), 2),
                "merchant": rng.integers(0, MERCHANTS, count),
                "at": pl.Series(at_us).cast(pl.Datetime("us", "UTC")),
            }
        )
        for partition in range(PARTITIONS):
            rows = frame[partition::PARTITIONS]
            mine_us, size = at_us[partition::PARTITIONS], rows.height
            begin, first[partition] = first[partition], first[partition] + size
            yield ArchiveRows(
                str(partition),
                begin + size,
                np.arange(begin, begin + size),
                mine_us + LAG_US,
                mine_us - 30_000_000,
                int(mine_us[-1]) + LAG_US,
                rows,
                np.arange(size),
                (),
            )


def archive(settings: Settings, events: int) -> None:
    """Write the archive of so many events; a piece is in memory at a time, and what is flushed."""
    lake = lake_of(settings)
    letter = DeadLetter(lake, EVENTS.name)
    table = Archive(lake, EVENTS.name, dict(EVENTS.schema), writer="benchmark", dead_letter=letter)
    with ArchiveWriter(table, FlushPolicy()) as writer:
        for rows in batches(events):
            writer.offer(rows)


def spine(path: Path, rows: int) -> None:
    """A file of keys and instants in no order."""
    rng = np.random.default_rng(SEED + 1)
    at_us = START_US + rng.integers(7 * DAY_US, DAYS * DAY_US, rows)
    pl.DataFrame(
        {"user": users(rng, rows), "at": pl.Series(at_us).cast(pl.Datetime("us", "UTC"))}
    ).write_parquet(path)


def made(settings: Settings, of: Path, out: Path, limit_bytes: int) -> Made:
    """Make the set in a process of its own. Exits if it does not end well."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_make, args=(settings, of, out, limit_bytes, sender))
    child.start()
    sender.close()
    try:
        found: Made = receiver.recv()
    except EOFError:
        child.join()
        raise SystemExit(f"no set within {limit_bytes / 2**30:.1f} GiB: {child.exitcode}") from None
    child.join()
    return found


def _make(settings: Settings, of: Path, out: Path, limit_bytes: int, sender: Any) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
    dataset, spent = timed(lambda: tg.training_set(of, SPENT, project=settings, out=out))
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sender.send(Made(spent.wall, spent.cpu, peak_bytes, dataset.manifest["rows"]))


def run(events: int, rows: int, limit_bytes: int) -> Made:
    """Archive, spine and set of one size, all gone afterwards."""
    with payments.scratch() as folder:
        settings = Settings(project=folder, in_file={})  # type: ignore[call-arg]
        began = time.perf_counter()
        archive(settings, events)
        spine(folder / "spine.parquet", rows)
        sys.stderr.write(f"  {events:,} events archived in {time.perf_counter() - began:.0f} s\n")
        found = made(settings, folder / "spine.parquet", folder / "set", limit_bytes)
        assert found.rows == rows, "a set has the rows of its spine"
        said = f"{found.wall:.0f} s, CPU {found.cpu:.0f}, {found.peak_bytes / 2**20:,.0f} MiB"
        sys.stderr.write(f"  {rows:,} rows made in {said}\n")
        return found


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=50_000_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--parts", default="4,2,1", help="the events are divided by each of these")
    parser.add_argument("--limit-gib", type=float, default=4.0)
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args(arguments)
    limit_bytes = int(options.limit_gib * 2**30)
    sizes = [
        (options.events // part, options.rows // part)
        for part in map(int, options.parts.split(","))
    ]
    all_made = [run(events, rows, limit_bytes) for events, rows in sizes]
    figures = []
    for (events, _), one in zip(sizes, all_made, strict=True):
        name = f"training_scale.{events / 1e6:g}M"
        peak = one.peak_bytes / 2**20
        figures += [
            Figure(f"{name}.peak", peak, "MiB", limit_bytes / 2**20, better="less"),
            Figure(f"{name}.wall", one.wall, "s", better="less"),
            Figure(f"{name}.cpu", one.cpu, "s", better="less"),
        ]
    (few, _), (many, _) = sizes[0], sizes[-1]
    wanted = many * math.log(many) / (few * math.log(few))
    growth = all_made[-1].cpu / all_made[0].cpu / wanted
    figures.append(Figure("training_scale.growth", growth, "times n log n", 1.0, better="less"))
    show(figures, json_only=options.json)


if __name__ == "__main__":
    main()
