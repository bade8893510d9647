"""The engine's figures as metrics, from the report that it leaves in the home each second."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from ..engine.report import read_report
from .metrics import gauge


def engine_metrics(report_path: Path) -> Iterator[Metric]:
    """Families for what an engine that runs in this home says of itself; none if none runs."""
    report = read_report(report_path)
    if report is None:
        return
    yield gauge("tegula_engine_report_seconds", "When the engine reported.", _at(report) / 1e6)
    yield gauge(
        "tegula_engine_events_per_second",
        "Events read a second, smoothed over a few seconds.",
        float(report.get("events_per_second") or 0.0),
    )
    yield _outcomes(report)
    yield _not_finite(report)
    yield from _positions(report)
    yield _mirror(report)
    yield _mirror_lag(report)
    yield from _disk(report.get("disk") or {})
    yield from _checkpoints(report.get("checkpoints") or {})
    yield from _maintenance(report.get("maintenance") or {})


def _at(report: Mapping[str, Any]) -> int:
    return int(report.get("at_us", 0))


def _outcomes(report: Mapping[str, Any]) -> Metric:
    family = CounterMetricFamily(
        "tegula_records",
        "Records by what became of them in each build; `read` is the sum of all but `late`.",
        labels=["view", "build", "outcome"],
    )
    for number, build in report.get("builds", {}).items():
        for outcome, count in build.get("outcomes", {}).items():
            family.add_metric([str(build.get("view")), number, outcome], count)
    return family


def _not_finite(report: Mapping[str, Any]) -> Metric:
    family = CounterMetricFamily(
        "tegula_not_finite",
        "Values of a build's input that were NaN or infinite and so counted as null, "
        "since the engine's start.",
        labels=["view", "build", "input"],
    )
    for number, build in report.get("builds", {}).items():
        for name, count in build.get("not_finite", {}).items():
            family.add_metric([str(build.get("view")), number, name], count)
    return family


def _positions(report: Mapping[str, Any]) -> Iterator[Metric]:
    labels = ["stream", "partition"]
    lag = GaugeMetricFamily("tegula_lag_events", "Events in the log, not yet read.", labels=labels)
    time = GaugeMetricFamily(
        "tegula_newest_event_seconds", "The newest event time that counted.", labels=labels
    )
    for stream, of_stream in report.get("streams", {}).items():
        for partition, at in of_stream.get("partitions", {}).items():
            if at.get("lag") is not None:
                lag.add_metric([stream, partition], at["lag"])
            newest_us = at.get("running_max_us")
            if newest_us is not None and newest_us > -(2**62):
                time.add_metric([stream, partition], newest_us / 1e6)
    yield lag
    yield time


def _mirror(report: Mapping[str, Any]) -> Metric:
    family = GaugeMetricFamily(
        "tegula_mirror_behind_commits", "Commits that are not readable yet.", labels=["shard"]
    )
    commits, mirrored = report.get("commits", ()), report.get("mirrored", ())
    for shard, (made, readable) in enumerate(zip(commits, mirrored, strict=False)):
        family.add_metric([str(shard)], max(0, made - readable))
    return family


def _mirror_lag(report: Mapping[str, Any]) -> Metric:
    family = HistogramMetricFamily(
        "tegula_mirror_lag_seconds",
        "From an event's log timestamp to its being readable, since the engine's start; "
        "of a build that catches up nothing is counted.",
    )
    lag = report.get("mirror_lag")
    if lag:
        edges = [*map(str, lag["le_s"]), "+Inf"]
        family.add_metric([], list(zip(edges, lag["rows"], strict=True)), lag["sum_s"])
    return family


def _disk(report: Mapping[str, Any]) -> Iterator[Metric]:
    yield gauge(
        "tegula_engine_holding",
        "Whether the engine takes in no events, for want of space on a disk.",
        float(report.get("fault") is not None),
    )
    free = GaugeMetricFamily(
        "tegula_disk_free_bytes",
        "Bytes free on the file system where a folder of the home lies.",
        labels=["folder"],
    )
    for one in report.get("file_systems", ()):
        for folder in one["folders"]:
            free.add_metric([folder], one["free_bytes"])
    yield free


def _checkpoints(report: Mapping[str, Any]) -> Iterator[Metric]:
    yield gauge(
        "tegula_checkpoint_newest_seconds",
        "Of when the newest checkpoint at `checkpoint_to` is; 0 if there is none.",
        (report.get("newest_us") or 0) / 1e6,
    )
    yield gauge(
        "tegula_checkpoint_failing",
        "Whether the last checkpoint that was tried failed.",
        float(report.get("fault") is not None),
    )


def _maintenance(report: Mapping[str, Any]) -> Iterator[Metric]:
    yield gauge(
        "tegula_maintenance_last_seconds",
        "Of when the lake was last maintained; 0 if it never was.",
        (report.get("last_us") or 0) / 1e6,
    )
    yield gauge(
        "tegula_maintenance_failing",
        "Whether the last maintenance of the lake met a fault.",
        float(report.get("fault") is not None),
    )
