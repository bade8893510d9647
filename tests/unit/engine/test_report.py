"""Reports of several workers read as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tegula.engine.report import read_report, report_path
from tegula.engine.steps.worker import Worker

FAULT = {"code": "TG-502", "message": "x"}


def report(index: int, workers: int, **more: Any) -> dict[str, Any]:
    """What worker `index` says: its partitions are named after it, counts are 10 and its index."""
    at = {"ordinal": index, "next_offset": 10, "lag": index}
    build = {
        "view": "v",
        "status": "live",
        "outcomes": {"read": 10 + index, "folded": index},
        "not_finite": {"x": 1},
        "keys": {"sampled": 1 + index, "mean_bytes": 100, "greatest_bytes": 100 + index},
    }
    return {
        "pid": 1000 + index,
        "parent": 999,
        "workers": workers,
        "here": [*range(workers)],
        "started_us": 5 + index,
        "at_us": 50 + index,
        "events_per_second": 1.5,
        "streams": {"s": {"partitions": {f"p{index}": at}, "catching_up": {"2": 3}, "fault": None}},
        "builds": {"1": build},
        "commits": [index, 10 + index],
        "mirrored": [index, 10 + index],
        "mirror_rewrites": [index],
        "mirror_lag": {"le_s": [1.0], "rows": [index, 4], "sum_s": 0.5},
        "mirror_fault": None,
        "registry_fault": None,
        "disk": {"fault": None, "file_systems": []},
        "archive": {"s": {"buffered_rows": 2, "fault": None}},
        "checkpoints": {"to": index},
        **more,
    }


def write(path: Path, *reports: dict[str, Any]) -> None:
    for index, content in enumerate(reports):
        report_path(path, Worker(index, len(reports))).write_bytes(orjson.dumps(content))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.json"


def test_an_engine_that_is_alone_is_read_as_it_reports(path):
    write(path, report(0, 1))
    assert read_report(path) == report(0, 1)


def test_counts_of_workers_are_added_and_their_parts_put_together(path):
    write(path, report(0, 2), report(1, 2, mirror_fault=FAULT))
    found = read_report(path)
    assert found is not None
    assert found["pids"] == [1000, 1001]
    assert found["at_us"] == 50
    assert found["events_per_second"] == 3.0
    assert list(found["streams"]["s"]["partitions"]) == ["p0", "p1"]
    assert found["streams"]["s"]["catching_up"] == {"2": 6}
    assert found["builds"]["1"]["outcomes"] == {"read": 21, "folded": 1}
    assert found["builds"]["1"]["not_finite"] == {"x": 2}
    assert found["builds"]["1"]["keys"] == {
        "sampled": 3,
        "mean_bytes": 100,
        "greatest_bytes": 101,
    }
    assert found["commits"] == [0, 1, 10, 11], "by the shard's number"
    assert found["mirror_rewrites"] == [0, 1]
    assert found["mirror_lag"] == {"le_s": [1.0], "rows": [1, 8], "sum_s": 1.0}
    assert found["mirror_fault"] == FAULT
    assert found["archive"] == {"s": {"buffered_rows": 4, "fault": None}}
    assert found["checkpoints"] == {"to": 0}


def test_workers_of_other_machines_are_not_waited_for(path):
    other = report(0, 2, at_us=40)  # of a former run, when both shared this home
    report_path(path, Worker(0, 2)).write_bytes(orjson.dumps(other))
    mine = report(1, 2, here=[1])
    report_path(path, Worker(1, 2)).write_bytes(orjson.dumps(mine))
    found = read_report(path)
    assert found is not None
    assert (found["pids"], found["workers"], found["here"]) == ([1001], 2, [1])
    assert found["commits"] == [1, 11]
    assert list(found["streams"]["s"]["partitions"]) == ["p1"]


def test_a_worker_that_has_not_reported_leaves_no_report(path):
    write(path, report(0, 2), report(1, 2))
    report_path(path, Worker(1, 2)).unlink()
    assert read_report(path) is None
    path.write_text("{")
    assert read_report(path) is None


def test_the_newest_is_read_where_an_engine_was_killed_and_another_number_of_workers_runs(path):
    write(path, report(0, 1, at_us=49))
    write(path, report(0, 2), report(1, 2))
    found = read_report(path)
    assert found is not None
    assert "pids" in found
    write(path, report(0, 1, at_us=60))
    assert "pids" not in (read_report(path) or {})
