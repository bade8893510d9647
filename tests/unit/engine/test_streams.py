"""Where a stream is read on: truth is in the state, and nobody is given less than he lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from tegula.connectors.local_log import LocalLog
from tegula.engine.plan import StreamPlan
from tegula.engine.runtime.streams import StreamReader
from tegula.engine.steps.lanes import Place
from tegula.engine.steps.standing import Standing
from tegula.schemas.errors import LogRecreated, LogShrunk, LogTruncated
from tegula.schemas.time import MINUTE_US, SECOND_US
from tegula.state.registry import Registry
from tegula.state.rows import Applied
from tegula.state.shard import Shard
from tegula.windows.tiles import NEVER_US
from tests.support.ingesting import NOON_US, SCHEMA, build_of, event, open_shards

STREAM = StreamPlan(
    name="events",
    schema=SCHEMA,
    event_time="at",
    disorder_us=30 * SECOND_US,
    ahead_us=10 * MINUTE_US,
    idle_timeout_us=MINUTE_US,
    partition_by=None,
    source=None,
)
BUILD = build_of()
OTHER = build_of(number=2)


class NoArchive:
    """An archive that has nothing yet."""

    def partitions(self) -> tuple[str, ...]:
        return ()

    def bounds(self, partition: str) -> tuple[int, int]:
        return 0, 0

    def future(self, partition: str, from_offset: int) -> np.ndarray:
        return np.empty(0, np.int64)

    def copies(self, partition: str, from_offset: int) -> np.ndarray:
        return np.empty(0, np.int64)


class World:
    """A log with events, a registry, shards, and readers of the stream."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now_us = NOON_US
        self.log = LocalLog(root / "log.db", "events", partitions=2)
        self.registry = Registry(f"sqlite:///{root / 'registry.db'}")
        self.registry.create(2)
        self.shards: list[Shard] = open_shards(root / "state", 2)
        self.readers: list[StreamReader] = []
        self.archive = NoArchive()

    def append(self, partition: str, times_us: Sequence[int]) -> None:
        payloads = [orjson.dumps(event("k", at_us)) for at_us in times_us]
        self.log.append(payloads, partition=partition, now_us=lambda: self.now_us)

    def reader(self, stream: StreamPlan = STREAM) -> StreamReader:
        made = StreamReader(
            stream,
            self.log,
            self.archive,  # type: ignore[arg-type]
            self.registry,
            threaded=False,
            now_us=lambda: self.now_us,
            record_bytes_max=1 << 20,
        )
        self.readers.append(made)
        return made

    def started(self, archived: Mapping[str, Place], *builds: object) -> StreamReader:
        reader = self.reader()
        reader.start(Standing(self.shards), builds, archived)  # type: ignore[arg-type]
        return reader

    def apply(self, place: int, build: int, partition: str, at: Applied) -> None:
        """Let one shard have applied a build up to a position."""
        ordinal = self.registry.partition_ordinal("events", partition)
        self.shards[place].commit({}, {(build, ordinal): at})

    def close(self) -> None:
        for reader in self.readers:
            reader.close()
        self.log.close()
        self.registry.close()
        for shard in self.shards:
            shard.abandon()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def offsets(reader: StreamReader) -> dict[str, list[int]]:
    """All that the reader gives now, by partition."""
    given: dict[str, list[int]] = {"0": [], "1": []}
    while (taken := reader.poll()) is not None:
        given[taken.work.batch.partition].extend(taken.work.batch.offsets.tolist())
    return given


def test_partitions_are_numbered_in_the_log_s_order_whichever_has_the_first_event(world):
    world.append("1", [NOON_US])
    offsets(world.started({}))
    numbers = world.registry.partitions("events")
    assert numbers["0"] < numbers["1"]


UP_TO_3 = Applied(3, NOON_US + 2)
EVERYTHING = {"0": Place(5, NOON_US + 4), "1": Place(0)}


def test_stream_resumes_after_the_least_position_of_all_shards(world):
    world.append("0", [NOON_US + n for n in range(5)])
    world.apply(0, BUILD.id, "0", Applied(5, NOON_US + 4))
    world.apply(1, BUILD.id, "0", UP_TO_3)
    reader = world.started(EVERYTHING, BUILD)
    place = reader.lanes.live.places["0"]
    assert (place.next_offset, place.running_max_us) == (3, NOON_US + 2)
    assert offsets(reader) == {"0": [3, 4], "1": []}


def test_stream_resumes_after_the_least_position_of_all_live_builds(world):
    world.append("0", [NOON_US + n for n in range(5)])
    for place in (0, 1):
        world.apply(place, BUILD.id, "0", Applied(5, NOON_US + 4))
        world.apply(place, OTHER.id, "0", UP_TO_3)
    assert offsets(world.started(EVERYTHING, BUILD, OTHER))["0"] == [3, 4]


def test_stream_is_read_again_from_where_its_archive_ends(world):
    world.append("0", [NOON_US + n for n in range(5)])
    for place in (0, 1):
        world.apply(place, BUILD.id, "0", Applied(5, NOON_US + 4))
    reader = world.started({"0": Place(2, NOON_US + 1)}, BUILD)
    assert reader.lanes.live.places["0"].running_max_us == NOON_US + 1
    assert offsets(reader)["0"] == [2, 3, 4]


def test_stream_is_read_from_its_beginning_where_one_shard_or_the_archive_has_nothing(world):
    world.append("0", [NOON_US + n for n in range(5)])
    world.apply(0, BUILD.id, "0", UP_TO_3)
    assert Standing(world.shards).place(BUILD.id, 0) is None
    assert offsets(world.started(EVERYTHING, BUILD))["0"] == [0, 1, 2, 3, 4]
    world.apply(1, BUILD.id, "0", UP_TO_3)
    assert offsets(world.started({}, BUILD))["0"] == [0, 1, 2, 3, 4]


def test_stream_gives_a_new_build_everything_and_the_live_ones_what_they_lack(world):
    world.append("0", [NOON_US + n for n in range(5)])
    for place in (0, 1):
        world.apply(place, BUILD.id, "0", UP_TO_3)
    reader = world.started(EVERYTHING, BUILD)
    reader.add(OTHER)
    given: dict[int, list[int]] = {BUILD.id: [], OTHER.id: []}
    while (taken := reader.poll()) is not None:
        for build in taken.work.builds:
            given[build].extend(taken.work.batch.offsets.tolist())
    assert given == {BUILD.id: [3, 4], OTHER.id: [0, 1, 2, 3, 4]}
    assert set(reader.lanes.live.builds) == {BUILD.id, OTHER.id}


class ArchiveFrom3(NoArchive):
    """An archive whose first record is that at offset 3: before it there was none."""

    def partitions(self) -> tuple[str, ...]:
        return ("0",)

    def bounds(self, partition: str) -> tuple[int, int]:
        return (3, 5) if partition == "0" else (0, 0)

    def open(self, positions: Mapping[str, int]) -> object:
        raise LogTruncated(
            stream="events", partition="0", first_offset=3, wanted_offset=positions["0"]
        )


def test_build_that_stands_before_the_archives_first_record_reads_the_log_that_has_it_all(world):
    """Markers of transactions are offsets without records: a build may stand among them."""
    world.append("0", [NOON_US + n for n in range(5)])
    for place in (0, 1):
        world.apply(place, BUILD.id, "0", Applied(5, NOON_US + 4))
        world.apply(place, OTHER.id, "0", Applied(1, NOON_US))
    reader = world.started(EVERYTHING, BUILD)
    reader._archive = ArchiveFrom3()
    reader.add(OTHER)
    assert offsets(reader)["0"] == [1, 2, 3, 4]


def test_stream_carries_the_running_maximum_from_batch_to_batch(world):
    world.append("0", [NOON_US - 5, NOON_US - 9])
    reader = world.started({}, BUILD)
    first = reader.poll()
    assert first is not None
    assert first.watermark_before_us == NEVER_US
    assert first.work.watermark_us == NOON_US - 5 - STREAM.disorder_us
    world.append("0", [NOON_US - 7])
    second = reader.poll()
    assert second is not None
    assert second.work.batch.watermark_us.tolist() == [NOON_US - 5 - STREAM.disorder_us]
    assert second.watermark_before_us == NOON_US - 5 - STREAM.disorder_us


def test_watermark_of_the_stream_waits_for_a_quiet_partition_until_it_is_idle(world):
    world.append("1", [NOON_US - MINUTE_US])
    reader = world.started({}, BUILD)
    assert reader.poll() is not None
    world.append("0", [NOON_US])
    taken = reader.poll()
    assert taken is not None
    assert taken.work.watermark_us == NOON_US - MINUTE_US - STREAM.disorder_us
    world.now_us += STREAM.idle_timeout_us + 1
    world.append("0", [NOON_US + 1])
    taken = reader.poll()
    assert taken is not None
    assert taken.work.watermark_us == NOON_US + 1 - STREAM.disorder_us


def test_partitions_get_ordinals_once_in_the_logs_own_order(world):
    world.append("1", [NOON_US])
    reader = world.started({}, BUILD)
    assert [reader.ordinal(partition) for partition in ("0", "1")] == [0, 1]
    other = world.reader(replace(STREAM, name="others"))
    assert other.ordinal("0") == 2
    assert world.registry.partitions("events") == {"0": 0, "1": 1}


def test_stream_refuses_another_log_under_the_same_name(world, tmp_path):
    world.reader()
    world.log.close()
    world.log = LocalLog(tmp_path / "anew.db", "events", partitions=2)
    with pytest.raises(LogRecreated, match="events"):
        world.reader()


def test_stream_refuses_a_log_that_ends_before_what_was_applied(world):
    for place in (0, 1):
        world.apply(place, BUILD.id, "0", UP_TO_3)
    with pytest.raises(LogShrunk, match="offset"):
        world.started({"0": Place(3, NOON_US), "1": Place(0)}, BUILD)
