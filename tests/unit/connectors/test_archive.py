"""The archive as a log: what was read live comes again, in the same order, at the same positions.

The files are stand-ins here; `tests/integration/test_archive_replay.py` reads real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.connectors.archive import ArchiveLog
from tegula.connectors.decode import DecodedBatch
from tegula.schemas.errors import FormatUnknown, LogTruncated
from tegula.schemas.outcomes import BadRecord, RecordCode


@dataclass
class Span:
    """A file of rows with these offsets; log time is 10 µs an offset, from `log_us` on."""

    offsets: list[int]
    bad: dict[int, str] = field(default_factory=dict)
    log_us: int = 0
    opened: bool = False

    @property
    def first_offset(self) -> int:
        return self.offsets[0]

    @property
    def last_offset(self) -> int:
        return self.offsets[-1]

    @property
    def first_log_us(self) -> int:
        return self.log_us + 10 * self.first_offset

    def read(self, from_offset: int, rows_max: int) -> Iterator[pl.DataFrame]:
        self.opened = True
        offsets = [offset for offset in self.offsets if offset >= from_offset]
        own = {"_code": pl.String, "_reason": pl.String, "_raw": pl.Binary} if self.bad else {}
        for first in range(0, len(offsets), rows_max):
            part = offsets[first : first + rows_max]
            codes = [self.bad.get(offset) for offset in part]
            columns = {
                "_offset": part,
                "_log_us": [self.log_us + 10 * offset for offset in part],
                "_code": codes,
                "_reason": [code and "torn" for code in codes],
                "_raw": [code and b"\xff" for code in codes],
                "at": [None if offset in self.bad else 10 * offset - 3 for offset in part],
                "n": [None if offset in self.bad else offset for offset in part],
            }
            types = {"_offset": pl.Int64, "_log_us": pl.Int64, **own}
            types |= {"at": pl.Datetime("us", "UTC"), "n": pl.Int64}
            yield pl.DataFrame({name: columns[name] for name in types}, schema=types)


@dataclass
class Files:
    """Spans by partition; `ends` are positions past the last row."""

    all: dict[str, list[Span]]
    ends: dict[str, int] = field(default_factory=dict)
    identity: str = "archive-1"

    def refresh(self) -> None: ...

    def partitions(self) -> tuple[str, ...]:
        return tuple(self.all)

    def bounds(self, partition: str) -> tuple[int, int]:
        spans = self.all.get(partition)
        if not spans:
            return (0, 0)
        return spans[0].first_offset, self.ends.get(partition, spans[-1].last_offset + 1)

    def spans(self, partition: str, from_offset: int) -> list[Span]:
        return [s for s in self.all.get(partition, []) if s.last_offset >= from_offset]


def replay(files: Files, positions: dict[str, int], rows_max: int = 100) -> list[DecodedBatch]:
    reader = ArchiveLog("payments", files, "at").open(positions)
    batches = list(iter(lambda: reader.poll(rows_max), None))
    reader.close()
    return batches


def positions_of(batches: list[DecodedBatch]) -> list[tuple[str, int]]:
    good = [(b.partition, offset) for b in batches for offset in b.offsets.tolist()]
    bad = [(b.partition, record.offset) for b in batches for record in b.bad]
    return sorted(good + bad)


def test_archive_log_has_the_shape_of_a_log() -> None:
    log = ArchiveLog("payments", Files({"0": [Span([3, 4])]}, {"0": 9}), "at")
    assert (log.identity, log.partitions(), log.bounds("0")) == ("archive-1", ("0",), (3, 9))


def test_reader_yields_decoded_rows_at_their_positions() -> None:
    (batch,) = replay(Files({"0": [Span([3, 4, 7])]}), {"0": 3})
    assert (batch.partition, batch.next_offset, batch.read_count) == ("0", 8, 3)
    assert batch.offsets.tolist() == [3, 4, 7]
    assert batch.log_us.tolist() == [30, 40, 70]
    assert batch.event_us.tolist() == [27, 37, 67]
    assert batch.frame.columns == ["at", "n"]
    assert batch.bad == ()


def test_reader_yields_bad_records_as_they_were() -> None:
    (batch,) = replay(Files({"0": [Span([3, 4, 5], bad={4: "TG-209"})]}), {"0": 3})
    assert batch.bad == (BadRecord(4, 40, RecordCode.FUTURE, "torn", b"\xff"),)
    assert batch.offsets.tolist() == [3, 5]
    assert batch.frame["n"].to_list() == [3, 5]
    assert batch.read_count == 3


def test_reader_yields_a_batch_of_bad_records_alone() -> None:
    (batch,) = replay(Files({"0": [Span([3], bad={3: "TG-201"})]}), {"0": 3})
    assert (len(batch.offsets), len(batch.bad), batch.next_offset) == (0, 1, 4)


def test_reader_refuses_a_code_that_it_does_not_know() -> None:
    with pytest.raises(FormatUnknown, match="TG-299"):
        replay(Files({"0": [Span([3], bad={3: "TG-299"})]}), {"0": 3})


def test_reader_opens_no_file_before_its_position() -> None:
    files = Files({"0": [Span([0, 1]), Span([2, 3]), Span([4, 5])]})
    assert positions_of(replay(files, {"0": 3})) == [("0", 3), ("0", 4), ("0", 5)]
    assert [span.opened for span in files.all["0"]] == [False, True, True]


def test_reader_ends_at_the_position_to_read_the_log_from() -> None:
    files = Files({"0": [Span([0, 1]), Span([5, 6])]}, ends={"0": 12})
    assert [b.next_offset for b in replay(files, {"0": 0})] == [5, 12]
    assert [b.next_offset for b in replay(files, {"0": 0}, rows_max=1)] == [1, 5, 6, 12]


def test_reader_keeps_partitions_together_in_log_time() -> None:
    early, late = [Span([0, 1]), Span([2, 3])], [Span([0, 1], log_us=25), Span([2], log_us=25)]
    batches = replay(Files({"0": early, "1": late}), {"0": 0, "1": 0})
    order = [(batch.partition, batch.offsets.tolist()) for batch in batches]
    assert order == [("0", [0, 1]), ("0", [2, 3]), ("1", [0, 1]), ("1", [2])]


def test_reader_refuses_a_position_before_the_archive() -> None:
    with pytest.raises(LogTruncated, match="first offset 3, expected offset 1"):
        ArchiveLog("payments", Files({"0": [Span([3])]}), "at").open({"0": 1})


def test_reader_takes_a_position_past_the_archive() -> None:
    files = Files({"0": [Span([3])]})
    reader = ArchiveLog("payments", files, "at").open({"0": 9, "new": 0})
    assert reader.poll(10) is None
    files.all["0"].append(Span([9]))
    batch = reader.poll(10)
    assert batch is not None
    assert batch.offsets.tolist() == [9]


def test_reader_goes_on_when_more_is_archived() -> None:
    files = Files({"0": [Span([0])]})
    reader = ArchiveLog("payments", files, "at").open({"0": 0})
    assert reader.poll(10) is not None
    assert reader.poll(10) is None
    files.all["0"].append(Span([1]))
    batch = reader.poll(10)
    assert batch is not None
    assert batch.offsets.tolist() == [1]


def test_reader_seeks() -> None:
    files = Files({"0": [Span([0, 1, 2])]})
    reader = ArchiveLog("payments", files, "at").open({"0": 0})
    reader.poll(1)
    reader.seek("0", 2)
    batch = reader.poll(10)
    assert batch is not None
    assert batch.offsets.tolist() == [2]


@given(
    sizes=st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(1, 9), max_size=4)),
    start=st.integers(0, 12),
    rows_max=st.integers(1, 7),
    bad=st.sets(st.integers(0, 40)),
)
def test_law_replay_is_every_row_from_the_positions_on_once_and_in_order(
    sizes: dict[str, list[int]], start: int, rows_max: int, bad: set[int]
) -> None:
    spans: dict[str, list[Span]] = {}
    for partition, counts in sizes.items():
        spans[partition], first = [], 0
        for count in counts:
            offsets = list(range(first, first + 2 * count, 2))
            wrong = {offset: "TG-201" for offset in offsets if offset in bad}
            spans[partition].append(Span(offsets, wrong))
            first = offsets[-1] + 3
    batches = replay(Files(spans), dict.fromkeys(spans, start), rows_max)
    there = [(p, o) for p, files in spans.items() for s in files for o in s.offsets if o >= start]
    assert positions_of(batches) == sorted(there)
    at = dict.fromkeys(spans, start)
    for batch in batches:
        offsets = sorted([*batch.offsets.tolist(), *(record.offset for record in batch.bad)])
        assert 1 <= len(offsets) == batch.read_count <= rows_max
        assert at[batch.partition] <= offsets[0] <= offsets[-1] < batch.next_offset
        at[batch.partition] = batch.next_offset
    for partition, files in spans.items():
        assert at[partition] == max([start, *(files[-1].last_offset + 1 for _ in files[:1])])
