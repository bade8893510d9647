"""What archiving and replaying cost: rows a second, processor time a row, bytes a row on disk.

Four-field events of about 100 bytes as JSON, in batches of 16 384 rows over four partitions, one in
ten thousand bad, through the archive's writer into Delta in many flushes, back through the archive
log, merged by maintenance, and back once more.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.report import Figure, show
from tegula.connectors.archive import ArchiveLog
from tegula.schemas.outcomes import BadRecord, RecordCode
from tegula.schemas.types import Float64, String, Timestamp
from tegula.state.archive import Archive, ArchiveRows
from tegula.state.archive_files import ArchiveFiles
from tegula.state.archive_writer import ArchiveWriter, FlushPolicy
from tegula.state.dead_letter import DeadLetter
from tegula.state.lake import LocalLake
from tegula.state.upkeep import Upkeep, UpkeepPolicy

BATCH_ROWS = 16_384
PARTITIONS = 4
FLUSHES = 24
SCHEMA = {"card_id": String, "merchant": String, "amount": Float64, "at": Timestamp}
START_US = 1_700_000_000_000_000
POLL_ROWS = 131_072


def main() -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    parser.add_argument("--rows", type=int, default=8_000_000, help="how many events")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        figures = [*write(root, options.rows), *read(root, options.rows, "small files")]
        figures += [*merge(root, options.rows), *read(root, options.rows, "merged")]
    show(figures, json_only=options.json)


def write(root: Path, row_count: int) -> Iterator[Figure]:
    """Offer all rows to the writer and close it."""
    batches = list(events(row_count))
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    letter = DeadLetter(root, "payments")
    archive = Archive(root, "payments", SCHEMA, writer="benchmark", dead_letter=letter)
    with ArchiveWriter(archive, FlushPolicy()) as writer:
        for number, batch in enumerate(batches, 1):
            writer.offer(batch)
            if number % max(1, len(batches) // FLUSHES) == 0:
                writer.flush()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    files = list((root / "log").rglob("*.parquet"))
    size_bytes = sum(file.stat().st_size for file in files)
    yield Figure("archive.write", row_count / wall_s, "rows/s")
    yield Figure("archive.write_per_core", row_count / cpu_s, "rows/CPU s", goal=1_000_000)
    yield Figure("archive.write_cpu", cpu_s / row_count * 1e6, "µs CPU/row", better="less")
    yield Figure("archive.bytes_per_row", size_bytes / row_count, "bytes", better="less")
    yield Figure("archive.file_rows", row_count / len(files), "rows/file")


def merge(root: Path, row_count: int) -> Iterator[Figure]:
    """Maintain the archive, and look at what files it then has."""
    table = LocalLake(root).below("log/payments")
    upkeep = Upkeep(table, UpkeepPolicy(), order="_offset", now_us=lambda: START_US)
    cpu_s = time.process_time()
    report = upkeep.run()
    cpu_s = time.process_time() - cpu_s
    files = ArchiveFiles(root, "payments", SCHEMA)
    files.refresh()
    sizes = sorted(span.size_bytes for name in files.partitions() for span in files.spans(name, 0))
    yield Figure("archive.merge_per_core", row_count / cpu_s, "rows/CPU s")
    yield Figure("archive.merged_files", report.merged / max(report.made, 1), "files/file")
    yield Figure("archive.smallest_file", sizes[0] / (1 << 20), "MiB")
    yield Figure("archive.largest_file", sizes[-1] / (1 << 20), "MiB")
    yield Figure("archive.merged_bytes_per_row", sum(sizes) / row_count, "bytes", better="less")


def read(root: Path, row_count: int, what: str) -> Iterator[Figure]:
    """Read all rows again, as a replay would."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    log = ArchiveLog("payments", ArchiveFiles(root, "payments", SCHEMA), "at")
    reader = log.open({partition: log.bounds(partition)[0] for partition in log.partitions()})
    read_count = 0
    while (batch := reader.poll(POLL_ROWS)) is not None:
        read_count += batch.read_count
    assert read_count == row_count
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    yield Figure(f"archive.replay, {what}", row_count / wall_s, "rows/s", goal=2_000_000)
    yield Figure(f"archive.replay_per_core, {what}", row_count / cpu_s, "rows/CPU s")


def events(row_count: int) -> Iterator[ArchiveRows]:
    """Batches of the partitions in turn, `row_count` rows together; the data repeat."""
    random = np.random.default_rng(7)
    made = [batch(random) for _ in range(8)]
    for number in range(row_count // BATCH_ROWS + 1):
        count = min(BATCH_ROWS, row_count - number * BATCH_ROWS)
        first = number // PARTITIONS * BATCH_ROWS
        rows = made[number % len(made)]
        log_us = START_US + first * 100 + np.arange(BATCH_ROWS) * 100
        moved = replace(
            rows,
            partition=str(number % PARTITIONS),
            next_offset=first + BATCH_ROWS,
            offsets=rows.offsets + first,
            log_us=log_us,
            watermark_us=log_us - 5_000_000,
            bad=tuple(replace(record, offset=record.offset + first) for record in rows.bad),
        )
        if count < BATCH_ROWS:
            moved = head(moved, count)
        if len(moved.offsets):
            yield moved


def head(rows: ArchiveRows, count: int) -> ArchiveRows:
    """The first `count` rows."""
    end = int(rows.offsets[0]) + count
    kept = int(np.searchsorted(rows.good, count))
    return replace(
        rows,
        next_offset=end,
        offsets=rows.offsets[:count],
        log_us=rows.log_us[:count],
        watermark_us=rows.watermark_us[:count],
        frame=rows.frame[:kept],
        good=rows.good[:kept],
        bad=tuple(record for record in rows.bad if record.offset < end),
    )


def batch(random: np.random.Generator) -> ArchiveRows:
    """One batch at offset 0."""
    offsets = np.arange(BATCH_ROWS)
    is_bad = random.integers(0, 10_000, BATCH_ROWS) == 0
    good = np.flatnonzero(~is_bad)
    at = START_US + offsets[good] * 100 + random.integers(0, 5_000_000, len(good))
    frame = pl.DataFrame(
        {
            "card_id": pl.Series(random.zipf(1.2, len(good)) % 100_000).cast(pl.String) + "-card",
            "merchant": pl.Series(random.integers(0, 5_000, len(good))).cast(pl.String) + "-shop",
            "amount": np.round(random.exponential(50, len(good)), 2),
            "at": pl.Series(at).cast(pl.Datetime("us", "UTC")),
        }
    )
    bad = tuple(
        BadRecord(offset, START_US, RecordCode.MALFORMED, "it breaks off", b'{"card_id": "c1')
        for offset in offsets[is_bad].tolist()
    )
    return ArchiveRows("0", BATCH_ROWS, offsets, offsets, offsets, START_US, frame, good, bad)


if __name__ == "__main__":
    main()
