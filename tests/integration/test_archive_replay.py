"""What was archived is replayed: the archive's writer and its reader over real Delta tables."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tegula.connectors.archive import ArchiveLog
from tegula.connectors.decode import DecodedBatch
from tegula.schemas.outcomes import BadRecord, RecordCode
from tegula.schemas.types import Bool, DataType, Float64, Int64, List, String, Timestamp
from tegula.state.archive import Archive, ArchiveRows
from tegula.state.archive_files import ArchiveFiles

SCHEMA: dict[str, DataType] = {
    "name": String,
    "count": Int64,
    "value": Float64,
    "flag": Bool,
    "tags": List(String),
    "marks": List(Float64),
    "at": Timestamp,
}


def batch_of(partition: str, offsets: list[int], seed: int) -> ArchiveRows:
    """Rows of every type, with nulls, a record in nine of them bad."""
    random = np.random.default_rng(seed)
    at = np.array(offsets, dtype=np.int64)
    is_bad = random.integers(0, 9, len(at)) == 0
    good = np.flatnonzero(~is_bad)
    frame = pl.DataFrame(
        {
            "name": [f"ü{n}" if n % 3 else None for n in at[good].tolist()],
            "count": [int(n) - 2**62 if n % 5 else None for n in at[good].tolist()],
            "value": random.normal(size=len(good)),
            "flag": [bool(n % 2) for n in at[good].tolist()],
            "tags": [["ü", None, ""][: n % 4] if n % 7 else None for n in at[good].tolist()],
            "marks": [[n / 3] * (n % 3) for n in at[good].tolist()],
            "at": pl.Series(at[good] - 10**12).cast(pl.Datetime("us", "UTC")),
        },
        schema={name: dtype.polars for name, dtype in SCHEMA.items()},
    )
    bad = tuple(
        BadRecord(n, 10 * n, RecordCode.NOT_UTF8, f"byte {n}", bytes([255, n % 256]))
        for n in at[is_bad].tolist()
    )
    return ArchiveRows(
        partition, offsets[-1] + 2, at, 10 * at, at - 10**12, 10**15, frame, good, bad
    )


def rows_of(batches: list[DecodedBatch]) -> pl.DataFrame:
    frames = [
        batch.frame.with_columns(offset=pl.Series(batch.offsets), log_us=pl.Series(batch.log_us))
        for batch in batches
    ]
    return pl.concat(frames)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(
    seed=st.integers(0, 2**32),
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    start=st.integers(0, 80),
    rows_max=st.integers(5, 50),
)
def test_oracle_replay_is_what_was_read_live(
    tmp_path_factory, seed: int, counts: list[int], start: int, rows_max: int
) -> None:
    root = tmp_path_factory.mktemp("lake")
    archive = Archive(root, "events", SCHEMA, writer="test")
    live: dict[str, list[ArchiveRows]] = {"0": [], "import-a/b c": []}
    for partition, batches in live.items():
        end = 0
        for number, count in enumerate(counts):
            batches.append(batch_of(partition, list(range(end, end + 3 * count, 3)), seed + number))
            end = batches[-1].next_offset
    for pair in zip(*live.values(), strict=True):
        for batch in pair:
            archive.append(batch)
        archive.flush()

    log = ArchiveLog("events", ArchiveFiles(root, "events", SCHEMA), "at")
    assert {p: log.bounds(p)[1] for p in log.partitions()} == archive.positions()
    reader = log.open(dict.fromkeys(live, start))
    replayed = list(iter(lambda: reader.poll(rows_max), None))
    for partition, batches in live.items():
        mine = [batch for batch in replayed if batch.partition == partition]
        wanted = [part for batch in batches if len((part := batch.since(start)).offsets)]
        if not wanted:
            assert not mine
            continue
        expected = pl.concat([part.frame for part in wanted])
        got = rows_of(mine)
        assert got.select(expected.columns).equals(expected)
        offsets = np.concatenate([part.offsets[part.good] for part in wanted])
        assert got["offset"].to_list() == offsets.tolist()
        assert got["log_us"].to_list() == (10 * offsets).tolist()
        assert [b for batch in mine for b in batch.bad] == [b for p in wanted for b in p.bad]
        assert np.concatenate([b.event_us for b in mine]).tolist() == (offsets - 10**12).tolist()
        assert mine[-1].next_offset == archive.positions()[partition]
