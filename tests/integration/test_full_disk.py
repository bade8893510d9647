"""A disk that fills up under a whole engine, for real: a small one is mounted, filled and freed.

First the guard: it holds before anything fails, says so everywhere, and lets go by itself. Then
without it: commits, archive and online store meet the end of the disk wherever they happen to be,
again and again, and every event still counts once, in every store. The log lies on another disk
then, so what is accepted is known.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import polars as pl
import pytest

import tegula as tg
from tegula import agg
from tegula.cli.push import push as push_lines
from tegula.cli.status import gather
from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import Settings
from tegula.schemas import types
from tegula.schemas.errors import LogFull
from tegula.state.archive_files import ArchiveFiles
from tests.support.disks import SmallDisk, small_disk
from tests.support.engines import BY_NAME, EVENTS, Project
from tests.support.process import EngineProcess, is_caught_up
from tests.support.server import free_port
from tests.support.server import running as serving

MIB = 1 << 20
LEAST = 24 * MIB
NDJSON = {"content-type": "application/x-ndjson"}
SUMS = tg.FeatureView(
    "sums",
    entity=BY_NAME,
    stream=EVENTS,
    features={
        "n": agg.count().over(tg.lifetime()),
        "sum": agg.sum("x").over(tg.lifetime()),
        "day": agg.count().over(tg.sliding("1d")),
        "newest": agg.last("x").over(tg.lifetime()),
    },
)


class Sent:
    """The events that were accepted, and what they come to, added up by themselves."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.at_us = now_us() - 3_600_000_000
        self.of: dict[str, list[float]] = defaultdict(list)

    def events(self, count: int) -> list[dict[str, Any]]:
        """New events, each later than all before; accepted only once `accept` is told."""
        made = []
        for _ in range(count):
            self.at_us += 7
            key = f"k{int(self.chance.paretovariate(0.3)) % 4_999}"
            made.append({"k": key, "x": float(self.chance.randrange(1_000)), "at": self.at_us})
        return made

    def accept(self, events: list[dict[str, Any]]) -> None:
        for one in events:
            self.of[one["k"]].append(one["x"])

    def compare(self, settings: Settings) -> None:
        """Every value of every key, as a server gives it."""
        keys = sorted(self.of)
        asked = [f"sums:{name}" for name in SUMS.features]
        with serving(settings, now_us) as server:
            body = {"features": asked, "keys": {"k": [*keys, "never"]}}
            values = httpx.post(f"{server.url}/v1/features", json=body, timeout=60).json()["values"]
        rows = [self.of[key] for key in keys]
        assert values["sums:n"] == [*map(len, rows), 0]
        assert values["sums:sum"] == [*map(sum, rows), 0.0]
        assert values["sums:day"] == [*map(len, rows), 0]
        assert values["sums:newest"] == [*(row[-1] for row in rows), None]


def make(folder: Path, home: Path, **more: Any) -> tuple[Project, EngineProcess]:
    """A project whose home is `home`, and an engine over it that is not started yet."""
    root = folder / "project"
    root.mkdir()
    (root / ".tegula").symlink_to(home)
    given = {
        "shards": 4,
        "port": free_port(),
        "archive_interval_s": 0.2,
        "state_memory_bytes": 8 * MIB,
        **more,
    }
    rows = [f"{name} = {orjson.dumps(value).decode()}" for name, value in given.items()]
    (root / "tegula.toml").write_text("\n".join(rows))
    project = Project(Settings(project=root, in_file=given))  # type: ignore[call-arg]
    project.apply(SUMS)
    return project, EngineProcess(root)


def ready(project: Project) -> httpx.Response:
    return httpx.get(f"{project.settings.url}/health/ready", timeout=60)


def assert_it_is_said(project: Project, where: str) -> None:
    """That the engine holds, and where, stands in every place where one would look."""
    assert (project.report() or {})["disk"]["fault"]["code"] == "TG-508"
    assert gather(project.settings)["engine"]["disk_fault"]["code"] == "TG-508"
    (reason,) = [r for r in ready(project).json()["reasons"] if "takes in no new events" in r]
    assert where in reason
    metrics = httpx.get(f"{project.settings.url}/metrics", timeout=60).text
    assert "tegula_engine_holding 1.0" in metrics


@contextmanager
def stopped(engine: EngineProcess) -> Iterator[None]:
    """The engine is stopped with the block, and ends well."""
    try:
        yield
    finally:
        code = engine.stop()
    assert code == 0, engine.log


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 96 * MIB) as mounted:
        yield mounted


def test_engine_holds_before_the_disk_is_full_and_goes_on_by_itself(
    disk, tmp_path, seed, eventually
):
    sent = Sent(seed)
    project, engine = make(tmp_path, disk.path, disk_free_min_bytes=LEAST)

    def push(events: list[dict[str, Any]]) -> httpx.Response:
        url = f"{project.settings.url}/v1/streams/events/events"
        lines = b"\n".join(map(orjson.dumps, events))
        answer = httpx.post(url, content=lines, headers=NDJSON, timeout=60)
        if answer.status_code == 200:
            assert answer.json()["accepted"] == len(events)
            sent.accept(events)
            project.sent += len(events)
        return answer

    def report() -> dict[str, Any]:
        return project.report() or {}

    def all_is_in() -> bool:
        folded = project.outcomes().get("folded") == project.sent
        return folded and report()["mirrored"] == report()["commits"]

    engine.start()
    with stopped(engine), serving(project.settings, now_us) as server:
        assert push(sent.events(500)).status_code == 200
        eventually(all_is_in)
        eventually(lambda: ready(project).status_code == 200)

        disk.fill(LEAST // 2)
        eventually(lambda: push(sent.events(1)).status_code == 507)
        refused = push(sent.events(10)).json()["error"]
        assert (refused["code"], refused["retryable"]) == ("TG-306", True)
        assert refused["where"] == f"{project.settings.home} (of home, log, state, lake, online)"
        assert refused["got"].endswith("MiB free")
        assert refused["expected"] == "at least 24.0 MiB"
        (tmp_path / "lines").write_bytes(b"\n".join(map(orjson.dumps, sent.events(10))))
        with pytest.raises(LogFull, match="TG-306"):
            push_lines(None, server.url, "events", str(tmp_path / "lines"), as_json=False)

        # What a program that does not ask the guard still gets into the log has to wait there.
        eventually(lambda: report()["disk"]["fault"] is not None)
        eventually(all_is_in)
        before, waiting = report()["at_us"], sent.events(300)
        project.send(waiting)
        sent.accept(waiting)
        eventually(lambda: report()["at_us"] > before + 1_000_000)
        lag = [one["lag"] for one in report()["streams"]["events"]["partitions"].values()]
        assert sum(lag) == 300
        assert_it_is_said(project, refused["where"])

        disk.free()
        eventually(lambda: push(sent.events(10)).status_code == 200)
        eventually(all_is_in)
        eventually(lambda: ready(project).status_code == 200)
        eventually(lambda: "there is room again" in engine.log)
        assert engine.log.count("takes in no new events") == 1
        assert "goes on when there is room" not in engine.log
    sent.compare(project.settings)


def test_events_count_once_wherever_the_full_disk_met_them(disk, tmp_path, seed, eventually):
    sent, chance = Sent(seed), random.Random(seed)
    home = disk.path / "home"
    home.mkdir()
    (tmp_path / "log").mkdir()
    (home / "log").symlink_to(tmp_path / "log")
    # The bound is a page: the guard sees when there is room again, and never holds in time.
    project, engine = make(tmp_path, home, disk_free_min_bytes=4096)

    def send(count: int) -> None:
        events = sent.events(count)
        project.send(events)
        sent.accept(events)

    def waits() -> int:
        """How often the engine has begun to wait for room."""
        return engine.log.count("goes on when there is room")

    def met(known: int) -> bool:
        """Whether something has met the end of the disk, or would have but for the guard."""
        report = engine.report()
        if waits() > known or report is None:
            return waits() > known
        faults = [one["fault"] for one in report["archive"].values()]
        return any((*faults, report["disk"]["fault"], report["mirror_fault"]))

    engine.start()
    with stopped(engine):
        send(5_000)
        eventually(is_caught_up(engine, project.sent))
        # First while it runs; then a machine comes up with a disk that is full, or nearly.
        for start, leave_bytes in ((False, MIB // 2), (True, chance.choice((1, MIB // 4)))):
            known = waits()
            if start:
                engine.kill()
            disk.fill(chance.randrange(leave_bytes))
            if start:
                engine.start()
            while not met(known):
                send(3_000)
                wanted = is_caught_up(engine, project.sent)
                eventually(lambda k=known, w=wanted: met(k) or w())
            disk.free()
            eventually(is_caught_up(engine, project.sent))
    sent.compare(project.settings)
    assert archived(project.settings) == project.sent


def archived(settings: Settings) -> int:
    """The rows of the archive; each partition has every offset from 0 on, once."""
    schema = {"k": types.String, "x": types.Float64, "at": types.Timestamp.of("us")}
    files = ArchiveFiles(settings.lake_path, "events", schema)
    files.refresh()
    count = 0
    for partition in files.partitions():
        spans = files.spans(partition, 0)
        offsets = pl.concat(rows for span in spans for rows in span.rows(["_offset"], 0, 100_000))
        assert offsets["_offset"].to_list() == list(range(len(offsets)))
        count += len(offsets)
    return count
