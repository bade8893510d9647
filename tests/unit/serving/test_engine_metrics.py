"""The engine's report as metrics."""

from __future__ import annotations

from pathlib import Path

import orjson

from tegula.serving.engine_metrics import engine_metrics

REPORT = {
    "at_us": 5_000_000,
    "events_per_second": 7.5,
    "streams": {
        "payments": {
            "partitions": {
                "0": {"lag": 3, "running_max_us": 2_000_000},
                "1": {"lag": None, "running_max_us": -(2**63)},
            }
        }
    },
    "builds": {
        "4": {
            "view": "spend",
            "outcomes": {"folded": 9, "late": 1},
            "not_finite": {'col("x") / col("n")': 2},
        }
    },
    "commits": [5, 8],
    "mirrored": [5, 6],
    "maintenance": {"last_us": 7_500_000, "fault": None},
    "checkpoints": {"newest_us": 4_500_000, "fault": {"code": "TG-704"}},
    "disk": {
        "fault": {"code": "TG-508"},
        "file_systems": [{"folders": ["home", "log"], "free_bytes": 12}],
    },
    "mirror_lag": {"le_s": [0.005, 60.0], "rows": [2, 3, 4], "sum_s": 100.5},
}


def samples(path: Path) -> dict[str, float]:
    return {
        one.name + "".join(f",{value}" for value in one.labels.values()): one.value
        for family in engine_metrics(path)
        for one in family.samples
    }


def test_report_becomes_gauges_and_counters(tmp_path):
    path = tmp_path / "engine.json"
    path.write_bytes(orjson.dumps(REPORT))
    assert samples(path) == {
        "tegula_engine_report_seconds": 5.0,
        "tegula_engine_events_per_second": 7.5,
        "tegula_records_total,spend,4,folded": 9,
        "tegula_records_total,spend,4,late": 1,
        'tegula_not_finite_total,spend,4,col("x") / col("n")': 2,
        "tegula_lag_events,payments,0": 3,
        "tegula_newest_event_seconds,payments,0": 2.0,
        "tegula_mirror_behind_commits,0": 0,
        "tegula_mirror_behind_commits,1": 2,
        "tegula_mirror_lag_seconds_bucket,0.005": 2,
        "tegula_mirror_lag_seconds_bucket,60.0": 3,
        "tegula_mirror_lag_seconds_bucket,+Inf": 4,
        "tegula_mirror_lag_seconds_count": 4,
        "tegula_mirror_lag_seconds_sum": 100.5,
        "tegula_engine_holding": 1.0,
        "tegula_disk_free_bytes,home": 12,
        "tegula_disk_free_bytes,log": 12,
        "tegula_checkpoint_newest_seconds": 4.5,
        "tegula_checkpoint_failing": 1.0,
        "tegula_maintenance_last_seconds": 7.5,
        "tegula_maintenance_failing": 0.0,
    }


def test_without_a_report_there_are_no_figures(tmp_path):
    assert samples(tmp_path / "engine.json") == {}


def test_report_of_another_release_gives_what_it_has(tmp_path):
    path = tmp_path / "engine.json"
    path.write_bytes(b'{"version": 9}')
    assert samples(path)["tegula_engine_events_per_second"] == 0.0
