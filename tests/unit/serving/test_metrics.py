"""Counting, and what Prometheus is given."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from tegula.schemas.outcomes import Status
from tegula.serving.metrics import ROUTES, Counters, ServerCollector, gauge

FEATURES = ROUTES.index("features")


def page(counters: Counters) -> dict[str, float]:
    """Every sample by its name and labels."""
    registry = CollectorRegistry()
    registry.register(ServerCollector(counters, (lambda: [gauge("extra", "More.", 7)],)))
    lines = generate_latest(registry).decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def test_requests_are_counted_by_route_and_class_with_their_time():
    counters = Counters()
    for status, took_ns in ((200, 40_000), (200, 60_000), (404, 10**11), (503, 0)):
        counters.request(FEATURES, status, took_ns)
    found = page(counters)
    assert found['tegula_requests_total{route="features",status="2xx"}'] == 2
    assert found['tegula_requests_total{route="features",status="4xx"}'] == 1
    assert found['tegula_requests_total{route="features",status="5xx"}'] == 1
    assert found['tegula_request_seconds_bucket{le="5e-05",route="features"}'] == 2
    assert found['tegula_request_seconds_bucket{le="10.0",route="features"}'] == 3
    assert found['tegula_request_seconds_bucket{le="+Inf",route="features"}'] == 4
    assert found['tegula_request_seconds_count{route="features"}'] == 4
    assert found['tegula_request_seconds_sum{route="features"}'] == 100.0001
    assert found["extra"] == 7


def test_values_are_counted_by_status():
    counters = Counters()
    counters.values(2, 3, [[Status.PRESENT, Status.EMPTY], [Status.ERROR, Status.ERROR]])
    counters.values(1, 3, [])
    found = page(counters)
    assert found['tegula_values_total{status="PRESENT"}'] == 6
    assert found['tegula_values_total{status="EMPTY"}'] == 1
    assert found['tegula_values_total{status="ERROR"}'] == 2
    assert found["tegula_keys_total"] == 3


def test_pushed_events_are_counted_with_the_codes_of_those_refused():
    counters = Counters()
    counters.events(5, ["TG-202", "TG-209", "TG-202"])
    counters.events(0, ["TG-701"])
    found = page(counters)
    assert found["tegula_push_accepted_total"] == 5
    assert found['tegula_push_rejected_total{code="TG-202"}'] == 2
    assert found['tegula_push_rejected_total{code="TG-209"}'] == 1
    assert found['tegula_push_rejected_total{code="other"}'] == 1


def test_processes_share_a_file_and_any_of_them_tells_the_sum(tmp_path: Path):
    path = tmp_path / "metrics" / "server.counts"
    first, second = Counters(path, 0, 2), Counters(path, 1, 2)
    first.request(FEATURES, 200, 1_000)
    second.request(FEATURES, 200, 1_000)
    assert page(first) == page(second)
    assert page(first)['tegula_requests_total{route="features",status="2xx"}'] == 2
    again = Counters(path, 0, 2)  # a process that was started again begins at zero
    assert page(again)['tegula_requests_total{route="features",status="2xx"}'] == 1
    first.close()
    second.close()
    again.close()
