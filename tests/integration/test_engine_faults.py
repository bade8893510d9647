"""The whole engine when something around it does not play along: it says so, and loses nothing."""

from __future__ import annotations

import httpx
import polars as pl

import tegula as tg
from tegula import agg
from tegula.cli.status import gather
from tegula.engine.runtime import pacing
from tegula.engine.runtime.clock import now_us
from tegula.schemas.errors import OnlineStoreFull
from tegula.serving.engine_metrics import engine_metrics
from tegula.state import outbox
from tegula.state.online.lmdb import LmdbWriter
from tests.support.engines import BY_NAME, EVENTS, TOTALS, Project, running
from tests.support.server import free_port
from tests.support.server import running as serving

OTHERS = tg.FeatureView(
    "others", entity=BY_NAME, stream=EVENTS, features={"n": agg.count().over(tg.lifetime())}
)


def events(count: int, width: int = 8) -> list[dict[str, object]]:
    at_us = now_us() - 60_000_000
    return [{"k": f"{i % 50:0{width}}", "x": 1.0, "at": at_us} for i in range(count)]


def test_engine_commits_and_stops_while_the_archive_cannot_be_written(tmp_path, eventually):
    project = Project.make(tmp_path, archive_buffer_bytes=1 << 20, archive_interval_s=0.05)
    lake = project.settings.lake_path
    lake.parent.mkdir(exist_ok=True)
    lake.write_bytes(b"a file where the archive wants a folder")
    with running(project) as engine:
        project.send(events(2_000))
        eventually(lambda: project.outcomes().get("folded") == 2_000)
        for _ in range(6):
            project.send(events(2_000, width=400))
        eventually(lambda: project.outcomes().get("folded", 0) > 2_000)
        report = project.report()
        assert report is not None
        assert report["archive"]["events"]["fault"]["code"].startswith("TG-7")
        engine.stop()
        assert engine.fault is None
    lake.unlink()
    with running(project):
        eventually(lambda: project.outcomes().get("folded") == project.sent)


def test_engine_goes_on_without_its_registry_and_takes_it_up_again(tmp_path, eventually):
    project = Project.make(tmp_path)
    registry = project.settings.home / "registry.db"
    with running(project) as engine:
        project.send(events(10))
        eventually(lambda: project.outcomes().get("folded") == 10)
        registry.rename(registry.with_suffix(".away"))
        eventually(lambda: (project.report() or {}).get("registry_fault") is not None)
        project.send(events(10))
        eventually(lambda: project.outcomes().get("folded") == 20)
        registry.with_suffix(".away").rename(registry)
        eventually(lambda: (project.report() or {}).get("registry_fault", 0) is None)
        project.apply(TOTALS, OTHERS)
        eventually(lambda: project.outcomes(2).get("folded") == 20)
        assert engine.is_running


def test_engine_starts_while_the_online_store_refuses_and_serves_once_it_does_not(
    tmp_path, eventually, monkeypatch
):
    monkeypatch.setattr("tegula.engine.runtime.mirroring.RETRY_S", 0.05)
    project = Project.make(tmp_path)
    with monkeypatch.context() as full:

        def refuse(*_: object) -> None:
            raise OnlineStoreFull(where="online", detail="no space")

        full.setattr(LmdbWriter, "write", refuse)
        with running(project) as engine:
            project.send(events(10))
            eventually(lambda: project.outcomes().get("folded") == 10)
            report = project.report()
            assert report is not None
            assert report["mirror_fault"]["code"] == "TG-703"
            full.undo()
            eventually(lambda: (project.report() or {}).get("mirror_fault", 0) is None)
            eventually(lambda: (project.report() or {})["builds"]["1"]["status"] == "live")
            assert engine.is_running


def test_clock_that_is_set_back_holds_up_no_commit(tmp_path, eventually):
    project, back_us = Project.make(tmp_path), [0]
    with running(project, clock=lambda: now_us() - back_us[0]) as engine:
        project.send(events(10))
        eventually(lambda: project.outcomes().get("folded") == 10)
        back_us[0] = 3_600_000_000
        project.send(events(10))
        eventually(lambda: project.outcomes().get("folded") == 20)
        assert engine.is_running


def test_commit_comes_early_where_states_are_large(tmp_path, eventually, monkeypatch):
    monkeypatch.setattr(pacing, "COMMIT_BYTES_MAX", 1)
    project = Project.make(tmp_path, commit_interval_ms=60_000)
    with running(project):
        project.send(events(10))
        eventually(lambda: project.outcomes().get("folded") == 10, 30)


QUOTIENTS = tg.FeatureView(
    "quotients",
    entity=BY_NAME,
    stream=EVENTS,
    features={
        "mean": agg.mean(1 / pl.col("x")).over(tg.lifetime()),
        "sum": agg.sum(1 / pl.col("x")).over(tg.lifetime()),
        "x": agg.sum("x").over(tg.lifetime()),
    },
)


def test_values_that_are_not_finite_are_counted_by_input_and_shown(tmp_path, eventually):
    """They come by expressions alone: a number past the doubles is no record of the stream."""
    project, at_us = Project.make(tmp_path, QUOTIENTS), now_us() - 60_000_000
    rows = [{"k": "a", "x": x, "at": at_us} for x in (0.0, 2.0, -0.0, None, 4.0)]
    with running(project):
        project.send_raw([b'{"k":"a","x":1e400,"at":%d}' % at_us] * 200)
        project.send(rows)
        eventually(lambda: project.outcomes().get("folded") == 5)
        assert project.outcomes()["dead_lettered"] == 200
        report = project.report()
        assert report is not None
        (counts,) = gather(project.settings)["not_finite"].values()
        assert report["builds"]["1"]["not_finite"] == counts
        assert list(counts.values()) == [2]
        path = project.settings.engine_status_path
        found = {one.name: one for family in engine_metrics(path) for one in family.samples}
        counted = found["tegula_not_finite_total"]
        (name,) = counts
        assert counted.labels == {"view": "quotients", "build": "1", "input": name}
        assert counted.value == 2


def test_mirror_lag_is_measured_from_the_log_to_the_store(tmp_path, eventually):
    """Each event once; not again for a build that catches up, nor after a restart."""

    def measured(rows: int) -> bool:
        lag = (project.report() or {}).get("mirror_lag", {"rows": [0]})
        return bool(lag["rows"][-1] == rows)

    project = Project.make(tmp_path)
    with running(project):
        project.send(events(300))
        eventually(lambda: measured(300))
        report = project.report()
        assert report is not None
        assert 0 < report["mirror_lag"]["sum_s"] < 300 * 60
        assert gather(project.settings)["engine"]["mirror_lag_s"]["p50"] is not None
        path = project.settings.engine_status_path
        found = {one.name: one for family in engine_metrics(path) for one in family.samples}
        assert found["tegula_mirror_lag_seconds_count"].value == 300
        project.apply(TOTALS, OTHERS)
        eventually(lambda: project.outcomes(2).get("folded") == 300)
        project.send(events(7))
        eventually(lambda: measured(307))
    with running(project):
        project.send(events(5))
        eventually(lambda: project.outcomes(2).get("folded") == 312)
        eventually(lambda: measured(5))


def test_store_that_refuses_for_long_is_written_anew_and_says_what_the_state_says(
    tmp_path, eventually, monkeypatch
):
    """What waits for it does not grow without bound, and nobody reads a zero meanwhile."""
    monkeypatch.setattr("tegula.engine.runtime.mirroring.RETRY_S", 0.05)
    monkeypatch.setattr("tegula.engine.runtime.mirroring.WAITING_BYTES_MAX", 1_000)
    monkeypatch.setattr(outbox, "KEYS_MAX", 30)
    project, rounds = Project.make(tmp_path, TOTALS, OTHERS, port=free_port()), 6

    def refuse(*_: object) -> None:
        raise OnlineStoreFull(where="online", detail="no space")

    def report(name: str) -> object:
        return (project.report() or {}).get(name)

    with running(project) as engine:
        project.send(events(50))
        eventually(lambda: report("mirrored") == report("commits") and report("mirror_lag") != [])
        eventually(lambda: project.outcomes(2).get("folded") == 50)
        with monkeypatch.context() as full:
            full.setattr(LmdbWriter, "write", refuse)
            for number in range(1, rounds):
                project.send(events(50))
                eventually(lambda n=number: project.outcomes(2).get("folded") == 50 * (n + 1))
            eventually(lambda: report("mirror_rewrites") == [0, 1])
            assert gather(project.settings)["engine"]["mirror_rewrites"] == [0, 1]
        eventually(lambda: report("mirror_rewrites") == [] and report("mirror_fault") is None)
        eventually(lambda: report("mirrored") == report("commits"))
        assert engine.is_running
    with serving(project.settings, now_us) as server:
        keys = [f"{i:08}" for i in range(50)]
        asked = {"features": ["totals:events", "others:n", "totals:sum_x"], "keys": {"k": keys}}
        answer = httpx.post(f"{server.url}/v1/features", json=asked).json()
        assert answer["values"]["totals:events"] == [rounds] * 50
        assert answer["values"]["others:n"] == [rounds] * 50
        assert answer["values"]["totals:sum_x"] == [float(rounds)] * 50
