"""Log timestamps that producers set: judged by the wall clock once, and never otherwise again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

from tegula.connectors.decode import DecodedBatch
from tegula.connectors.local_log import LocalLog
from tegula.connectors.source import LogReader, RawBatch
from tegula.engine.runtime.streams import StreamReader
from tegula.engine.steps.first_reading import FirstReading
from tegula.engine.steps.lanes import Place
from tegula.engine.steps.standing import Standing
from tegula.engine.steps.worker import ALONE, Worker
from tegula.schemas.time import MINUTE_US
from tegula.state.rows import Applied
from tests.support.ingesting import NOON_US, build_of, open_shards
from tests.unit.engine.test_streams import STREAM, NoArchive, World

AHEAD_US = STREAM.ahead_us
EDGE_US = NOON_US + AHEAD_US
"""The latest log timestamp that the clock, at noon, lets pass."""

BUILD = build_of()
OTHER = build_of(number=2)


class StampedByProducers:
    """A log whose producers set its timestamps, as with Kafka's CreateTime."""

    def __init__(self, log: LocalLog) -> None:
        self._log = log
        self.first_offset: dict[str, int] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    def bounds(self, partition: str) -> tuple[int, int]:
        return self.first_offset.get(partition, 0), self._log.bounds(partition)[1]

    def open(self, positions: Mapping[str, int]) -> _Reader:
        return _Reader(self._log.open(positions))


class _Reader:
    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    def poll(self, rows_max: int) -> RawBatch | None:
        batch = self._reader.poll(rows_max)
        if batch is None:
            return None
        # The embedded log's own timestamps never fall; these are what their producers say.
        stamps_us = [orjson.loads(payload or b"")["at"] for payload in batch.payloads]
        return replace(batch, log_us=np.array(stamps_us, np.int64), stamped_by_producer=True)

    def seek(self, partition: str, offset: int) -> None:
        self._reader.seek(partition, offset)

    def close(self) -> None:
        self._reader.close()


class Home(World):
    """A world over such a log, with one partition in use."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.embedded, self.log = self.log, StampedByProducers(self.log)  # type: ignore[assignment]

    def stamp(self, *times_us: int) -> None:
        """Append events whose event time and log timestamp are both as given."""
        self.append("0", times_us)

    def read(self, archived: Mapping[str, Place] | None = None) -> tuple[list[int], list[int]]:
        """Offsets of the good and of the bad records that a new reader gives, from its start."""
        return read_all(self.started(archived or {}, BUILD))

    def apply_all(self, partition: str, at: Applied, build: int = 1) -> None:
        for place in range(len(self.shards)):
            self.apply(place, build, partition, at)


def read_all(reader: StreamReader, *, live: bool = True) -> tuple[list[int], list[int]]:
    good: list[int] = []
    bad: list[int] = []
    while (taken := reader.poll()) is not None:
        if taken.work.live == live:
            good.extend(taken.work.batch.offsets.tolist())
            bad.extend(record.offset for record in taken.work.batch.bad)
    return good, bad


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.close()


def test_record_stamped_past_the_clock_by_more_than_ahead_is_future_and_its_neighbours_are_not(
    home,
):
    home.stamp(NOON_US, EDGE_US + 1, EDGE_US, NOON_US + 365 * 1_440 * MINUTE_US, NOON_US + 1)
    reader = home.started({}, BUILD)
    assert read_all(reader) == ([0, 2, 4], [1, 3])
    assert reader.lanes.live.places["0"].running_max_us == EDGE_US


def test_verdict_stands_when_the_clock_has_passed_the_record(home):
    """What was future when it was first read is so in every run: nothing was committed yet."""
    home.stamp(NOON_US, EDGE_US + 1, NOON_US + 2)
    first = home.read()
    home.now_us = NOON_US + 1_000 * AHEAD_US
    assert home.read() == first == ([0, 2], [1])


def test_record_that_is_applied_stands_when_the_clock_is_set_back(home):
    home.stamp(NOON_US, EDGE_US)
    assert home.read() == ([0, 1], [])
    home.apply(0, 1, "0", Applied(2, EDGE_US))  # by one shard; the other has it to come
    home.apply(1, 1, "0", Applied(0, NOON_US))
    home.now_us = NOON_US - MINUTE_US
    home.stamp(EDGE_US)
    assert home.read() == ([0, 1], [2])


def test_record_that_is_archived_stands_when_the_clock_is_set_back(home):
    home.stamp(NOON_US, EDGE_US)
    home.now_us = NOON_US - MINUTE_US
    assert home.read({"0": Place(2, EDGE_US)}) == ([0, 1], [])


def test_state_that_is_older_than_the_archive_has_the_archive_s_verdicts(home):
    """A copy that was restored does not know what was future when it was first read."""

    class Archive(NoArchive):
        def future(self, partition: str, from_offset: int) -> np.ndarray:
            known = np.array([1, 2], np.int64)
            return known[known >= from_offset]

    home.stamp(NOON_US, EDGE_US + 1, EDGE_US + 2, NOON_US, EDGE_US + 3)
    home.archive, home.now_us = Archive(), NOON_US + AHEAD_US
    home.apply_all("0", Applied(1, NOON_US))
    assert home.read({"0": Place(4, NOON_US)}) == ([3, 4], [1, 2])


def test_log_that_stamps_records_itself_is_not_judged_by_the_clock(home):
    """Its clock may have been set back since; what it has accepted counts."""
    home.log, home.now_us = home.embedded, NOON_US + 1_000 * AHEAD_US
    home.stamp(home.now_us)
    home.now_us = NOON_US
    assert home.read() == ([0], [])


def test_build_that_catches_up_from_the_log_is_given_the_verdicts_of_the_first_reading(home):
    home.stamp(NOON_US, EDGE_US + 1, EDGE_US)
    home.read()
    home.apply_all("0", Applied(3, EDGE_US))
    for now_us in (NOON_US - MINUTE_US, NOON_US + 1_000 * AHEAD_US):
        home.now_us = now_us
        reader = home.started({"0": Place(3, EDGE_US), "1": Place(0)}, BUILD)
        reader.add(OTHER)
        assert read_all(reader, live=False) == ([0, 2], [1])


def test_verdicts_are_in_every_shard_until_the_log_no_longer_has_their_records(home):
    home.stamp(EDGE_US + 1)
    home.read()
    home.stamp(NOON_US, EDGE_US + 2)
    home.read()
    kept = [shard.verdicts.offsets(0).tolist() for shard in home.shards]
    assert kept == [[0, 2], [0, 2]]
    home.log.first_offset = {"0": 1}
    assert home.read({"0": Place(1, NOON_US)}) == ([1], [2])
    kept = [shard.verdicts.offsets(0).tolist() for shard in home.shards]
    assert kept == [[2], [2]]


def test_shard_that_lacks_what_others_keep_is_given_it_when_a_partition_is_taken_up(tmp_path):
    """Who kept a verdict died between two shards; the next reader owns the other one alone."""
    first, second = open_shards(tmp_path, 2)
    first.verdicts.add(0, np.array([0, 1]))
    both = FirstReading(Standing([first, second], ALONE))
    both.begin(0, archived=0, future=np.array([], np.int64), kept_from=0)
    later = decoded([2, 3, 4], [NOON_US, EDGE_US + 1, NOON_US])
    assert both.judge(0, later, EDGE_US).tolist() == [False, True, False]
    alone = FirstReading(Standing([second], Worker(1, 2), {0: {}}))
    alone.begin(0, archived=0, future=np.array([], np.int64), kept_from=0)
    again = decoded([0, 1, 2, 3, 4], [NOON_US] * 5)
    assert alone.judge(0, again, EDGE_US).tolist() == [True, True, False, True, False]
    for shard in (first, second):
        assert shard.verdicts.offsets(0).tolist() == [0, 1, 3]
        shard.abandon()


def decoded(offsets: list[int], log_us: list[int]) -> DecodedBatch:
    """A batch of an event at each offset, stamped by its producer."""
    return DecodedBatch(
        "0",
        offsets[-1] + 1,
        np.array(offsets, np.int64),
        np.array(log_us, np.int64),
        np.array(log_us, np.int64),
        pl.DataFrame({"at": log_us}),
        (),
        len(offsets),
        stamped_by_producer=True,
    )
