"""A whole engine and a server over Redis, which is wiped, stopped, started, and left behind.

Whatever happens to the store, an answer is right as of some moment, or it is none: a value that is
too small, or 0, is never served.
"""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tegula.engine.runtime.clock import now_us
from tegula.schemas.errors import OnlineStoreEvicts
from tegula.serving.client import Client
from tests.services.redis import Cluster, Server
from tests.support import server
from tests.support.engines import Project, running

pytestmark = pytest.mark.slow

KEYS = [f"k{n}" for n in range(20)]
Eventually = Callable[[Callable[[], bool]], None]


class Home:
    """A project over a Redis of its own, an engine beside it, and what a client gets to see."""

    def __init__(self, root: Path, redis: Server | Cluster, **settings: Any) -> None:
        self.project = Project.make(
            root, shards=4, port=server.free_port(), online_url=redis.url, **settings
        )

    def send(self, *keys: str) -> None:
        """One event now for each key."""
        self.project.send([{"k": key, "x": 1.0, "at": now_us()} for key in keys])

    def counts(self, *keys: str) -> list[int | None]:
        """How many events each key has had in a day; None where there is no answer."""
        with Client(self.project.settings.url) as client:
            answer = client.features({"k": list(keys)}, features=["totals:events"])
        statuses = answer.get("status", {}).get("totals:events", ["PRESENT"] * len(keys))
        found = answer["values"]["totals:events"]
        return [
            None if status == "ERROR" else value
            for value, status in zip(found, statuses, strict=True)
        ]

    def reasons(self) -> str:
        """Why the server is not ready; empty if it is."""
        with Client(self.project.settings.url) as client:
            found = client._http.get("/health/ready").json()
        return "; ".join(found["reasons"])

    def commits(self) -> int:
        """How many commits the engine has made."""
        report = self.project.report()
        return 0 if report is None else sum(report["commits"])


@pytest.fixture
def redis(own_redis: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr("tegula.engine.runtime.mirroring.RETRY_S", 0.05)
    monkeypatch.setattr("tegula.engine.runtime.mirroring.LOOK_S", 0.05)
    monkeypatch.setattr("tegula.state.online.redis_reader.REST_S", 0.05)
    own_redis.start()
    return own_redis


def test_store_that_is_wiped_or_stopped_comes_back_by_itself_and_never_lies(
    tmp_path: Path, redis: Server, eventually: Eventually
) -> None:
    home = Home(tmp_path, redis)
    with running(home.project) as engine, server.running(home.project.settings, now_us):
        home.send(*KEYS)
        eventually(lambda: home.counts(*KEYS, "nobody") == [1] * 20 + [0])
        eventually(lambda: home.reasons() == "")

        def settled(wanted: int) -> bool:
            found = home.counts(*KEYS)
            assert set(found) <= {wanted, None}
            return found == [wanted] * 20

        redis.client().flushall()
        eventually(lambda: settled(1))
        assert home.counts("nobody") == [0]

        redis.stop()
        eventually(lambda: "does not answer" in home.reasons())
        assert home.counts(*KEYS) == [None] * 20
        before = home.commits()
        home.send(*KEYS)
        eventually(lambda: home.commits() > before and home.project.outcomes()["folded"] == 40)
        report = home.project.report()
        assert report is not None
        assert report["mirror_fault"]["code"] == "TG-706"
        redis.start()
        eventually(lambda: settled(2))
        eventually(lambda: home.reasons() == "")
        assert engine.is_running


def test_store_that_is_wiped_again_and_again_under_load_ends_up_exact(
    tmp_path: Path, redis: Server, eventually: Eventually, seed: int
) -> None:
    home, drawn = Home(tmp_path, redis, commit_interval_ms=5), np.random.default_rng(seed)
    expected: Counter[str] = Counter()
    with running(home.project), server.running(home.project.settings, now_us):
        for turn in range(60):
            keys = [f"k{n}" for n in drawn.zipf(1.3, 200) % 50]
            expected.update(keys)
            home.send(*keys)
            if turn % 7 == 3:
                redis.client().flushall()
            eventually(lambda: home.project.outcomes().get("folded", 0) >= 0.8 * expected.total())
        eventually(lambda: home.reasons() == "")
        names = sorted(expected)
        eventually(lambda: home.counts(*names) == [expected[name] for name in names])


def test_home_that_was_put_back_leaves_nothing_newer_readable(
    tmp_path: Path, redis: Server, eventually: Eventually
) -> None:
    home = Home(tmp_path, redis)
    place, copy = home.project.settings.home, tmp_path / "copy"
    with server.running(home.project.settings, now_us):
        with running(home.project):
            home.send(*KEYS)
            eventually(lambda: home.counts(*KEYS) == [1] * 20)
        shutil.copytree(place, copy)
        with running(home.project):
            home.send(*KEYS, "lost")
            eventually(lambda: home.counts(*KEYS, "lost") == [2] * 20 + [1])
        shutil.rmtree(place / "state")
        shutil.rmtree(place / "log")
        for name in ("state", "log"):
            shutil.copytree(copy / name, place / name)
        with running(home.project):
            eventually(lambda: home.counts(*KEYS, "lost") == [1] * 20 + [0])
            home.send(*KEYS, "new")
            eventually(lambda: home.counts(*KEYS, "lost", "new") == [2] * 20 + [0, 1])


def test_store_that_may_drop_rows_is_refused_at_the_start(tmp_path: Path, redis: Server) -> None:
    redis.client().config_set("maxmemory-policy", "allkeys-lru")
    home = Home(tmp_path, redis)
    with running(home.project) as engine:
        engine.thread.join(60)
    assert isinstance(engine.fault, OnlineStoreEvicts)
    assert "allkeys-lru" in str(engine.fault)


def test_engine_starts_without_its_store_and_a_server_too(
    tmp_path: Path, redis: Server, eventually: Eventually
) -> None:
    redis.stop()
    home = Home(tmp_path, redis)
    with running(home.project) as engine, server.running(home.project.settings, now_us):
        home.send(*KEYS)
        eventually(lambda: home.project.outcomes().get("folded") == 20)
        assert home.counts(*KEYS) == [None] * 20
        redis.start()
        eventually(lambda: home.counts(*KEYS) == [1] * 20)
        assert engine.is_running


def test_cluster_holds_the_shards_of_a_home_on_all_of_its_nodes(
    tmp_path: Path, redis_cluster: Cluster, eventually: Eventually
) -> None:
    prefix = f"t-{uuid.uuid4().hex}"
    home = Home(tmp_path, redis_cluster, online_prefix=prefix)
    with running(home.project), server.running(home.project.settings, now_us):
        home.send(*KEYS)
        eventually(lambda: home.counts(*KEYS, "nobody") == [1] * 20 + [0])
        eventually(lambda: home.reasons() == "")
        clients = [one.client() for one in redis_cluster.servers]
        keys = [list(client.scan_iter(match=f"{prefix}*")) for client in clients]
        assert all(keys)
        for client in clients:
            client.flushall()
        eventually(lambda: home.counts(*KEYS, "nobody") == [1] * 20 + [0])
