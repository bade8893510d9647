"""Which files are merged: neighbours, up to a healthy size, and nothing that is healthy."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tegula.state.merges import HEALTHY_MIN_BYTES, plan

MIB = 1 << 20
TARGET = 128 * MIB


def files(
    *sizes_mib: float, date: str = "2024-05-01", partition: str = "0", first: int = 0
) -> list[dict[str, Any]]:
    return [
        {
            "path": f"{date}/{partition}/{number}",
            "size_bytes": int(size * MIB),
            "num_records": 10,
            "modification_time": number,
            "min._offset": number * 10,
            "max._offset": number * 10 + 9,
            "partition._date": date,
            "partition._partition": partition,
        }
        for number, size in enumerate(sizes_mib, first)
    ]


def merged(found: list[dict[str, Any]]) -> list[list[int]]:
    """The first offsets of the files of each merge, divided by ten."""
    runs = plan(found, "_offset", TARGET)
    return [[file["min._offset"] // 10 for file in run.files] for run in runs]


def test_small_neighbours_become_one_file() -> None:
    assert merged(files(1, 1, 1)) == [[0, 1, 2]]
    (run,) = plan(files(1, 1, 1)[::-1], "_offset", TARGET)
    assert (run.size_bytes, run.row_count) == (3 * MIB, 30)
    assert run.values == {"_date": "2024-05-01", "_partition": "0"}


def test_one_file_and_healthy_files_are_left_alone() -> None:
    assert merged(files(1)) == merged([]) == merged(files(40, 40, 40)) == merged(files(40, 1)) == []


def test_what_is_small_between_healthy_ones_goes_with_the_next() -> None:
    assert merged(files(40, 1, 1, 40, 50)) == [[1, 2, 3]]


def test_what_is_small_at_the_end_waits_for_more_while_the_folder_grows() -> None:
    assert merged(files(40, 1, 1)) == [[1, 2]]
    older = files(40, 1, 1)
    assert merged([*older, *files(1, date="2024-05-02", first=3)]) == [[0, 1, 2]]
    assert merged([*older, *files(1, date="2024-05-02", partition="1")]) == [[1, 2]]


def test_runs_are_about_as_large_as_wanted() -> None:
    assert merged(files(*[10] * 30)) == [
        list(range(12)),
        list(range(12, 24)),
        list(range(24, 30)),
    ]


def test_files_of_a_day_that_another_day_lies_between_are_no_neighbours() -> None:
    """A clock was set back over midnight, and a day went on after the next had begun."""
    first, second = "2024-05-01", "2024-05-02"
    found = [*files(1, 1, date=second), *files(1, 1, date=first, first=2)]
    assert merged([*found, *files(1, date=second, first=4)]) == [[2, 3], [0, 1]]


@given(st.lists(st.tuples(st.sampled_from("123"), st.sampled_from("ab"), st.floats(0.1, 20))))
def test_law_no_offset_lies_in_two_files_after_merging_whatever_the_clock_did(
    written: list[tuple[str, str, float]],
) -> None:
    found = [
        file
        for number, (day, partition, size) in enumerate(written)
        for file in files(size, date=f"2024-05-0{day}", partition=partition, first=number)
    ]
    runs = plan(found, "_offset", TARGET)
    gone = {file["path"] for run in runs for file in run.files}
    spans = [
        (
            run.values["_partition"],
            run.files[0]["min._offset"],
            max(file["max._offset"] for file in run.files),
        )
        for run in runs
    ]
    spans += [
        (file["partition._partition"], file["min._offset"], file["max._offset"])
        for file in found
        if file["path"] not in gone
    ]
    for before, after in pairwise(sorted(spans)):
        assert before[0] != after[0] or before[2] < after[1]


@given(
    sizes=st.lists(st.floats(0.01, 200), min_size=1, max_size=40),
    closed=st.booleans(),
    target=st.sampled_from([8, 32, 128]),
)
def test_law_merging_leaves_healthy_files_in_order_and_nothing_to_merge(
    sizes: list[float], closed: bool, target: int
) -> None:
    found = files(*sizes)
    later = files(1, date="2024-05-02", first=len(sizes)) if closed else []
    runs = plan([*found, *later], "_offset", target * MIB)
    gone = {file["path"] for run in runs for file in run.files}
    assert sum(len(run.files) for run in runs) == len(gone)
    left = [file for file in found if file["path"] not in gone]
    for run in runs:
        offsets = [file["min._offset"] for file in run.files]
        assert offsets == list(range(offsets[0], offsets[-1] + 10, 10)), "neighbours, in order"
        left.append({**run.files[0], "size_bytes": run.size_bytes, "path": f"m{offsets[0]}"})
    assert sum(file["size_bytes"] for file in left) == sum(file["size_bytes"] for file in found)
    left.sort(key=lambda file: file["min._offset"])
    small = [file for file in left if file["size_bytes"] < HEALTHY_MIN_BYTES]
    assert small in ([], [left[-1]])
    assert not small or not closed or len(left) == 1
    assert plan([*left, *later], "_offset", target * MIB) == ()
