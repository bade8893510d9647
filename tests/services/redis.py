"""A real Redis server for tests, started once a test run; and a cluster of three.

    def test_something(redis_server: Server):
        store = RedisStore(redis_server.url, {}, "one-test")

Needs `redis-server`; without it the tests that ask for one are skipped, and fail where `CI=true`.
Ports are free ones on 127.0.0.1, every process is stopped by its id, and its log stays in pytest's
folder of temporary files, named in the failure if the server does not come up.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.services.kafka import free_ports
from tests.services.started import Started

_START_TIMEOUT_S = 60.0
_SLOTS = 16_384
_PAUSE = threading.Event()


class Server(Started):
    """A server in `folder`: its data and its log; may be stopped and started. `more` are options.

    `persists`: it keeps what it holds through a graceful stop.
    """

    def __init__(
        self, folder: Path, port: int, more: Sequence[str] = (), *, persists: bool = False
    ) -> None:
        super().__init__(folder, "Redis")
        self.port = port
        self._options = [*("--save", "3600 1" if persists else ""), *more]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def client(self) -> Any:
        """A client for what a test wants done."""
        return redis.Redis(port=self.port, protocol=2)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self._folder), "--appendonly", "no", *self._options]
        self._run(command, self._answers, _START_TIMEOUT_S)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class Cluster:
    """Three servers in one cluster, without replicas; every one has a third of the slots."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.servers: list[Server] = []

    @property
    def url(self) -> str:
        """All nodes in one address."""
        hosts = [f"127.0.0.1:{server.port}" for server in self.servers]
        return f"redis://{','.join(hosts)}"

    def start(self) -> None:
        """Start the servers, make them one cluster, and wait until it takes keys."""
        for port, bus in _port_pairs(3):
            options = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]
            options += ["--cluster-port", str(bus)]
            self.servers.append(Server(self._folder / str(port), port, options))
            self.servers[-1].start()
        for number, server in enumerate(self.servers):
            first, after = number * _SLOTS // 3, (number + 1) * _SLOTS // 3
            client = server.client()
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, after - 1)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        meeting = self.servers[0].client()
        for server in self.servers[1:]:
            bus = int(server.client().config_get("cluster-port")["cluster-port"])
            meeting.execute_command("CLUSTER MEET", "127.0.0.1", server.port, bus)
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not all(self._is_ready(server) for server in self.servers):
            _PAUSE.wait(0.01)
            assert time.monotonic() < deadline_s, "the cluster does not come up"

    def _is_ready(self, server: Server) -> bool:
        client = server.client()
        info = client.execute_command("CLUSTER INFO")
        return (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", "3")

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


def _port_pairs(count: int) -> list[tuple[int, int]]:
    """Ports for clients, each with one for the cluster's bus."""
    ports = free_ports(2 * count)
    return list(zip(ports[:count], ports[count:], strict=True))


def require_programs() -> None:
    """Skip the test that asked if Redis is missing; fail it where `CI=true`."""
    if shutil.which("redis-server") is not None:
        return
    reason = "a Redis server needs redis-server: see .ci/services"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The run's server. Each test uses a prefix of its own; one that stops it has its own."""
    require_programs()
    server = Server(tmp_path_factory.mktemp("redis"), free_ports(1)[0])
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The run's cluster of three."""
    require_programs()
    cluster = Cluster(tmp_path_factory.mktemp("redis-cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    """A server for one test that stops it, wipes it or fills it; not started yet."""
    require_programs()
    server = Server(tmp_path / "redis", free_ports(1)[0])
    yield server
    server.stop()
