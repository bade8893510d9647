"""Parity as metrics, from the reports that checks leave in the home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric

from ..engine.parity import last_reports
from .metrics import gauge


def parity_metrics(folder: Path, objective: float) -> Iterator[Metric]:
    """Families for what the last check of each service found."""
    yield gauge(
        "tegula_parity_objective",
        "The share of served values that history is to confirm.",
        objective,
    )
    share = GaugeMetricFamily(
        "tegula_parity_share",
        "Of the served values that were recomputed, the share that history confirms.",
        labels=["service"],
    )
    compared = GaugeMetricFamily(
        "tegula_parity_compared", "Served values that the last check compared.", labels=["service"]
    )
    different = GaugeMetricFamily(
        "tegula_parity_different",
        "Served values that the last check found to be others, by cause; `unexplained` is a fault.",
        labels=["service", "cause"],
    )
    checked = GaugeMetricFamily(
        "tegula_parity_check_seconds", "When the last check was.", labels=["service"]
    )
    for service, report in last_reports(folder).items():
        if report.get("share_equal") is not None:
            share.add_metric([service], report["share_equal"])
        compared.add_metric([service], report.get("compared", 0))
        for cause, count in report.get("causes", {}).items():
            different.add_metric([service, cause], count)
        checked.add_metric([service], report.get("at_us", 0) / 1e6)
    yield from (share, compared, different, checked)
