"""Lanes: a build that is behind is given every record once, and joins at the fence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.connectors.decode import DecodedBatch
from tegula.engine.steps.lanes import (
    Lane,
    Lanes,
    Place,
    from_offset,
    positions_of,
    up_to_offset,
)
from tegula.windows.tiles import NEVER_US
from tests.support.ingesting import NOON_US, decoded, event

PARTITIONS = ("0", "1")


class ListFeed:
    """A feed over a log in memory: partition → events; `rows_max` a batch, partitions in turn."""

    def __init__(
        self, log: Mapping[str, Sequence[object]], positions: Mapping[str, int], rows_max: int = 3
    ) -> None:
        self._log = log
        self._positions = dict(positions)
        self._rows_max = rows_max
        self.closed = False

    def poll(self) -> DecodedBatch | None:
        for partition in list(self._positions):
            begin = self._positions.pop(partition)
            end = min(begin + self._rows_max, len(self._log[partition]))
            self._positions[partition] = end  # to the end of the turns
            if end > begin:
                events = self._log[partition][begin:end]
                return decoded(events, first_offset=begin, partition=partition)  # type: ignore[arg-type]
        return None

    def seek(self, partition: str, offset: int) -> None:
        self._positions[partition] = offset

    def close(self) -> None:
        self.closed = True


def log_of(*counts: int) -> dict[str, list[object]]:
    return {
        partition: [event(partition, NOON_US + n) for n in range(count)]
        for partition, count in zip(PARTITIONS, counts, strict=True)
    }


def lane_of(
    log: Mapping[str, Sequence[object]], builds: tuple[int, ...], *offsets: int, rows_max: int = 3
) -> Lane:
    positions = dict(zip(PARTITIONS, offsets, strict=True))
    places = {partition: Place(offset) for partition, offset in positions.items()}
    return Lane(builds, places, ListFeed(log, positions, rows_max))


def drain(lanes: Lanes, polls_max: int = 1000) -> dict[int, dict[str, list[int]]]:
    """Poll until nothing comes; the offsets that each build was given, by partition."""
    given: dict[int, dict[str, list[int]]] = {}
    for _ in range(polls_max):
        taken = lanes.poll()
        if taken is None:
            return given
        for build in taken.lane.builds:
            of_build = given.setdefault(build, {partition: [] for partition in PARTITIONS})
            of_build[taken.batch.partition].extend(taken.batch.offsets.tolist())
        lanes.moved(taken, NOON_US, NOON_US)
    assert polls_max < 1000, "the lanes never come to rest"
    return given


def test_lane_gives_batches_of_all_partitions_from_their_places():
    lanes = Lanes(lane_of(log_of(5, 4), (1,), 2, 0))
    assert drain(lanes) == {1: {"0": [2, 3, 4], "1": [0, 1, 2, 3]}}
    assert positions_of(lanes.live) == {"0": 5, "1": 4}


def test_lane_gives_nothing_that_lies_before_its_place():
    """A feed that reads ahead may hand out what it was given before a seek."""
    lane = lane_of(log_of(5, 0), (1,), 0, 0)
    lane.places["0"].next_offset = 2
    batch = lane.poll()
    assert batch is not None
    assert (batch.offsets.tolist(), batch.next_offset, batch.read_count) == ([2], 3, 1)


def test_build_that_is_behind_joins_at_the_fence_and_both_lanes_miss_nothing():
    log = log_of(9, 4)
    lanes = Lanes(lane_of(log, (1,), 0, 0))
    for _ in range(3):
        taken = lanes.poll()
        assert taken is not None
        lanes.moved(taken, NOON_US, NOON_US)
    late = lane_of(log, (2,), 0, 0)
    lanes.add(late)
    given = drain(lanes)
    assert given[2] == {"0": list(range(9)), "1": list(range(4))}
    assert lanes.live.builds == (1, 2)
    assert lanes.joined == [2]
    assert late.log.closed  # type: ignore[attr-defined]


def test_build_that_is_at_the_fence_already_joins_at_once():
    log = log_of(0, 0)
    lanes = Lanes(lane_of(log, (1,), 0, 0))
    lanes.add(lane_of(log, (2,), 0, 0))
    assert (lanes.live.builds, lanes.behind, lanes.joined) == ((1, 2), [], [2])


@given(
    counts=st.tuples(st.integers(0, 25), st.integers(0, 25)),
    late_rows=st.integers(1, 9),
    live_rows=st.integers(1, 9),
    join_rows=st.integers(0, 12),
    before=st.integers(0, 6),
    between=st.integers(0, 6),
)
def test_law_builds_that_catch_up_are_given_each_record_once(
    counts, late_rows, live_rows, join_rows, before, between
):
    """However far behind, whatever the batches: also where one partition is at the fence already
    while another has far to go, and where one build waits for another to join."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tegula.engine.steps.lanes.JOIN_ROWS", join_rows)
        log = log_of(*counts)
        lanes = Lanes(lane_of(log, (1,), 0, 0, rows_max=live_rows))
        given = drain(lanes, before)
        for build, polls in ((2, between), (3, 1000)):
            lanes.add(lane_of(log, (build,), 0, 0, rows_max=late_rows))
            for earlier, more in drain(lanes, polls).items():
                known = given.setdefault(earlier, {partition: [] for partition in PARTITIONS})
                for partition, offsets in more.items():
                    known[partition] += offsets
    everything = {p: list(range(count)) for p, count in zip(PARTITIONS, counts, strict=True)}
    nothing: dict[str, list[int]] = {"0": [], "1": []}
    assert [given.get(build, nothing) for build in (1, 2, 3)] == [everything] * 3
    assert set(lanes.live.builds) == {1, 2, 3}


def test_lanes_give_what_a_lane_lacks_though_other_partitions_are_at_the_fence():
    """None means that there is nothing: who settles an engine stops asking at the first one."""
    log = log_of(9, 9)
    live, late = lane_of(log, (1,), 2, 5), lane_of(log, (2,), 2, 4)
    lanes = Lanes(live)
    lanes.add(late)
    taken = lanes.poll()
    assert taken is not None
    assert (taken.lane, taken.batch.partition) == (late, "1")
    assert taken.batch.offsets.tolist() == [4]


def test_lane_reads_on_past_what_the_archive_has_of_a_partition_that_the_log_goes_on_with():
    log = log_of(6, 3)
    lane = lane_of(log, (1,), 0, 0)
    lane.archive = ListFeed(log, {"0": 0, "1": 0})
    lane.archived = {"0": 3, "1": 3}
    lane.moved(decoded(log["0"][:3], partition="0"), NOON_US, NOON_US)
    lane.archive.seek("0", 3)
    batch = lane.poll()
    assert batch is not None
    assert (batch.partition, batch.offsets.tolist()) == ("1", [0, 1, 2])


class GrowingFeed(ListFeed):
    """A feed whose log becomes longer while it is read, and has gaps between its offsets."""

    def __init__(
        self,
        offsets: Mapping[str, Sequence[int]],
        ends: dict[str, int],
        positions: Mapping[str, int],
        rows_max: int,
    ) -> None:
        super().__init__({}, positions, rows_max)
        self._offsets, self._ends = offsets, ends

    def poll(self) -> DecodedBatch | None:
        for partition in list(self._positions):
            begin = self._positions.pop(partition)
            self._positions[partition] = begin
            end = self._ends[partition]
            rows = [at for at in self._offsets[partition] if begin <= at < end][: self._rows_max]
            whole = len(rows) < self._rows_max
            next_offset = end if whole else rows[-1] + 1
            if next_offset > begin:
                self._positions[partition] = next_offset
                return gappy(partition, rows, next_offset)
        return None


def gappy(partition: str, offsets: Sequence[int], next_offset: int) -> DecodedBatch:
    batch = decoded([event("k", NOON_US)] * len(offsets), partition=partition)
    return replace(batch, offsets=np.array(offsets, np.int64), next_offset=next_offset)


class Following:
    """What a build has been given, as its state would take it: nothing twice, nothing skipped."""

    def __init__(self, starts: Mapping[str, int]) -> None:
        self.applied = dict(starts)
        self.taken: dict[str, list[int]] = {partition: [] for partition in starts}

    def take(self, batch: DecodedBatch) -> None:
        at = self.applied[batch.partition]
        self.taken[batch.partition] += [n for n in batch.offsets.tolist() if n >= at]
        self.applied[batch.partition] = max(at, batch.next_offset)


ends_of_two = st.tuples(st.integers(0, 30), st.integers(0, 30))


@given(
    gaps=st.tuples(st.sets(st.integers(0, 29)), st.sets(st.integers(0, 29))),
    ends=ends_of_two,
    live_at=ends_of_two,
    late_at=ends_of_two,
    archived=ends_of_two,
    grown=ends_of_two,
    rows_max=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    join_rows=st.integers(0, 12),
    grows_after=st.integers(0, 12),
)
def test_law_build_skips_nothing_wherever_the_lanes_and_the_archive_begin(
    gaps, ends, live_at, late_at, archived, grown, rows_max, join_rows, grows_after
):
    """After a restart the live lane may stand before the archive's end and before the build's
    place; log and archive grow while the build catches up; offsets have gaps."""

    def named(*values: int) -> dict[str, int]:
        return dict(zip(PARTITIONS, values, strict=True))

    offsets = {
        p: [n for n in range(30) if n not in gap] for p, gap in zip(PARTITIONS, gaps, strict=True)
    }
    log_ends, archive_ends = named(*ends), named(*(map(min, archived, ends)))
    live_starts, late_starts = named(*map(min, live_at, ends)), named(*map(min, late_at, ends))
    live = Lane(
        (1,),
        {p: Place(at) for p, at in live_starts.items()},
        GrowingFeed(offsets, log_ends, live_starts, rows_max[0]),
    )
    late = Lane(
        (2,),
        {p: Place(at) for p, at in late_starts.items()},
        GrowingFeed(offsets, log_ends, late_starts, rows_max[1]),
    )
    late.archived = {p: end for p, end in archive_ends.items() if late_starts[p] < end}
    if late.archived:
        late.archive = GrowingFeed(
            offsets, archive_ends, {p: late_starts[p] for p in late.archived}, rows_max[2]
        )
    builds = {1: Following(live_starts), 2: Following(late_starts)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tegula.engine.steps.lanes.JOIN_ROWS", join_rows)
        lanes = Lanes(live)
        lanes.add(late)
        resting = False
        for turn in range(2_000):
            if turn == grows_after:
                log_ends.update(named(*map(max, grown, ends)))
                archive_ends.update({p: log_ends[p] for p in PARTITIONS})
            taken = lanes.poll()
            resting = taken is None and turn > grows_after
            if taken is not None:
                for build in taken.lane.builds:
                    builds[build].take(taken.batch)
                lanes.moved(taken, NOON_US, NOON_US)
            if resting:
                break
    assert resting, "the lanes never come to rest"
    assert lanes.live.builds == (1, 2)
    for build, starts in ((1, live_starts), (2, late_starts)):
        wanted = {p: [n for n in offsets[p] if starts[p] <= n < log_ends[p]] for p in PARTITIONS}
        assert builds[build].taken == wanted


def test_lane_reads_the_archive_first_and_goes_on_with_the_log_where_it_ended():
    log = log_of(9, 7)
    archived = {"0": log["0"][:5], "1": log["1"][:2]}
    lanes = Lanes(lane_of(log, (1,), 9, 7))
    lane = lane_of(log, (2,), 0, 0)
    lane.archive = ListFeed(archived, {"0": 0, "1": 0})
    lane.archived = {"0": 5, "1": 2}
    archive = lane.archive
    lanes.add(lane)
    assert drain(lanes)[2] == {"0": list(range(9)), "1": list(range(7))}
    assert archive.closed
    assert lanes.live.builds == (1, 2)


def test_dropped_build_is_given_nothing_more():
    log = log_of(9, 0)
    lanes = Lanes(lane_of(log, (1,), 9, 0))
    late = lane_of(log, (2,), 0, 0)
    lanes.add(late)
    lanes.drop_build(2)
    lanes.drop_build(1)
    assert (lanes.live.builds, lanes.behind) == ((), [])
    assert late.log.closed  # type: ignore[attr-defined]


def test_new_partition_is_read_in_every_lane():
    log = {**log_of(3, 0), "2": [event("n", NOON_US)] * 2}
    lanes = Lanes(lane_of(log, (1,), 3, 0))
    lanes.add(lane_of(log, (2,), 0, 0))
    lanes.add_partition("2", 0)
    assert set(lanes.live.places) == set(lanes.behind[0].places) == {"0", "1", "2"}


def watermark(lane: Lane, *maxima_us: int, data_us: Sequence[int] = (0, 0)) -> int:
    for place, at_us, seen_us in zip(lane.places.values(), maxima_us, data_us, strict=True):
        place.running_max_us, place.last_data_us = at_us, seen_us
    return lane.watermark_us(10, idle_before_us=100)


def test_watermark_of_a_lane_is_the_least_of_its_partitions_less_disorder():
    assert watermark(lane_of(log_of(0, 0), (1,), 0, 0), 500, 300, data_us=(200, 200)) == 290


def test_watermark_does_not_wait_for_a_partition_that_never_had_data_or_is_idle():
    lane = lane_of(log_of(0, 0), (1,), 0, 0)
    assert watermark(lane, 500, NEVER_US, data_us=(200, 0)) == 490
    assert watermark(lane, 500, 300, data_us=(200, 99)) == 490
    assert watermark(lane, 500, 300, data_us=(99, 99)) == 290
    assert watermark(lane, NEVER_US, NEVER_US) == NEVER_US


BAD = b"nonsense"


def test_cuts_take_good_and_bad_records_apart_at_the_offset():
    batch = decoded([event("a", 1), BAD, event("b", 2), BAD, event("c", 3)], first_offset=10)
    later, earlier = from_offset(batch, 12), up_to_offset(batch, 12)
    assert later.offsets.tolist() == [12, 14]
    assert [record.offset for record in later.bad] == [13]
    assert (later.read_count, later.next_offset) == (3, 15)
    assert earlier.offsets.tolist() == [10]
    assert [record.offset for record in earlier.bad] == [11]
    assert (earlier.read_count, earlier.next_offset) == (2, 12)
    assert earlier.frame["k"].to_list() == ["a"]
    assert from_offset(batch, 10) is batch
    assert up_to_offset(batch, 15) is batch


def test_cuts_keep_where_to_read_on_past_a_gap():
    batch = decoded([event("a", 1), event("b", 2)], first_offset=3, next_offset=9)
    assert from_offset(batch, 7).next_offset == 9
    assert from_offset(batch, 7).offsets.tolist() == []
    cut = up_to_offset(batch, 7)
    assert (cut.next_offset, cut.offsets.tolist()) == (7, [3, 4])
    assert np.array_equal(cut.event_us, batch.event_us)


@pytest.mark.parametrize("rows_max", [1, 3, 4, 100])
@pytest.mark.parametrize("floor", [0, 1, 4, 9, 10])
def test_lane_takes_up_the_maximum_of_its_floor_at_the_floor(rows_max, floor):
    """What was applied knows more than what the log still holds; nothing is lost of the rest."""
    log = log_of(10, 10)
    lane = lane_of(log, (1,), 0, 0, rows_max=rows_max)
    lane.floors = {"0": Place(floor, running_max_us=77)}
    lanes = Lanes(lane)
    given: dict[str, list[int]] = {"0": [], "1": []}
    while (taken := lanes.poll()) is not None:
        offsets = taken.batch.offsets.tolist()
        given[taken.batch.partition] += offsets
        if taken.batch.partition == "0":
            assert all(offset < floor for offset in offsets) or offsets[0] >= floor
            assert taken.place.running_max_us == (77 if offsets[0] >= floor else NEVER_US)
        lanes.moved(taken, taken.place.running_max_us, 0)
    assert given == {"0": [*range(10)], "1": [*range(10)]}
    assert lane.places["1"].running_max_us == NEVER_US
