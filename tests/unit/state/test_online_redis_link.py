"""Connections to Redis: which node is asked, by which settings, and if it does not answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tegula.engine.online import online_reader, online_writers
from tegula.engine.settings import Settings
from tegula.schemas.errors import (
    OnlineStoreEvicts,
    OnlineStoreUnreachable,
    SettingsError,
    SinkError,
)
from tegula.state.online.redis_link import Link
from tegula.state.online.redis_reader import open_reader
from tegula.state.online.rows import Ask, Mark, RowWrites
from tests.services.redis import Cluster, Server
from tests.support.redis_store import Store

MARK = Mark(1, 5, (1,), {0: 10})
PLACE = Path()


@pytest.fixture
def held(redis_server: Server) -> Iterator[Store]:
    made = Store(redis_server.url)
    made.writer.mark()
    yield made
    made.close()


# Nodes.


def test_cluster_is_asked_once_a_node_for_all_shards(redis_cluster: Cluster, monkeypatch):
    held = Store(redis_cluster.url)
    for shard in range(16):
        writer = held.store.open_writer(PLACE, shard, 1)
        writer.mark()
        writer.write([RowWrites(1, [(b"k%d" % shard, b"H%d" % shard)])], MARK)
    with_rows = [sum(1 for _ in one.client().scan_iter(match=f"{held.prefix}*"))
                 for one in redis_cluster.servers]  # fmt: skip
    assert all(with_rows)
    assert sum(with_rows) == 32
    asks = [Ask(shard, 1, [b"k%d" % shard]) for shard in range(16)]
    held.reader.ahead(asks)
    connections = held.reader._link._connections.values()
    sent = [_counted(one, monkeypatch) for one in connections]
    found = held.reader.ahead(asks)
    assert [len(one) for one in sent] == [1, 1, 1]
    for shard in range(16):
        assert found.read(shard, 1, [b"k%d" % shard]) == (MARK, [(b"H%d" % shard, None)])
    assert [len(one) for one in sent] == [1, 1, 1]
    assert held.reader.marks(range(16)) == [MARK] * 16
    held.close()


def test_sweep_goes_over_all_nodes_of_a_cluster(redis_cluster: Cluster):
    held = Store(redis_cluster.url)
    for shard in range(16):
        writer = held.store.open_writer(PLACE, shard, 1)
        writer.mark()
        writer.write([RowWrites(build, [(b"k", b"H")]) for build in (1, 2)], MARK)
        writer.keep_builds({1})

    def row_count() -> int:
        return sum(len(held.keys(one.client())) for one in redis_cluster.servers)

    assert row_count() == 32
    while not held.store.sweep.is_done:
        held.store.sweep.step()
    assert row_count() == 16
    for shard in range(16):
        assert held.reader.read(shard, 1, [b"k"]) == (MARK, [(b"H", None)])
    held.close()


def _counted(connection: Any, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    sent: list[object] = []
    made = connection.send_packed_command

    def send(command: object, **how: object) -> Any:
        sent.append(command)
        return made(command, **how)

    monkeypatch.setattr(connection, "send_packed_command", send)
    return sent


def test_shard_that_moved_to_another_node_is_found_again(redis_cluster: Cluster):
    held = Store(redis_cluster.url)
    held.writer.mark()
    held.writer.write([RowWrites(1, [(b"a", b"H")])], MARK)
    for link in (held.reader._link, held.store.link):
        link.nodes()
        nodes = [node for _, _, node in link._slots]
        link._slots = [
            (first, last, nodes[number - 1]) for number, (first, last, _) in enumerate(link._slots)
        ]
    assert held.reader.read(0, 1, [b"a"]) == (MARK, [(b"H", None)])
    with pytest.raises(OnlineStoreUnreachable):
        held.writer.write([], Mark(1, 6, (1,)))  # refused, and it finds out where to go
    held.writer.write([], Mark(1, 6, (1,)))
    assert held.reader.mark(0) == Mark(1, 6, (1,))
    held.close()


# Settings, and servers that do not do what is wanted.


def settings_of(folder: Path, url: str, **more: Any) -> Settings:
    return Settings(project=folder, in_file={}, online_url=url, **more)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://127.0.0.1:6379", {}),
        ("127.0.0.1:6379", {}),
        ("redis://127.0.0.1:port", {}),
        ("redis://:s3cr/et@127.0.0.1:6379", {}),
        ("redis://:s3cr#et@127.0.0.1:6379", {}),
        ("redis://127.0.0.1:6379", {"socket_timeout": "soon"}),
        ("redis://127.0.0.1:6379", {"colour": "green"}),
    ],
)
def test_address_or_option_that_is_none_is_named(tmp_path, url, options):
    settings = settings_of(tmp_path, url, online_options=options)
    for opened in (lambda: online_writers(settings), lambda: online_reader(settings, lambda: 0)):
        with pytest.raises(SettingsError) as fault:
            opened()
        assert "online_url" in fault.value.where
        assert "s3cr" not in str(fault.value)


def test_password_opens_the_store_and_is_never_shown(own_redis, tmp_path):
    own_redis.start()
    own_redis.client().config_set("requirepass", "s3cret")
    url = f"redis://:s3cret@127.0.0.1:{own_redis.port}"
    settings = settings_of(tmp_path, url, online_options={"password": "s3cret"})
    assert "s3cret" not in repr(settings)
    for place in ((url, {}), (own_redis.url, {"password": "s3cret"})):
        held = Store(*place)
        assert held.writer.mark() is None
        held.close()
    for wrong in (url.replace("s3cret", "wr0ng"), own_redis.url):
        with pytest.raises(SinkError) as fault:
            open_reader(wrong, {}, "p").mark(0)
        assert "s3cret" not in str(fault.value)
        assert "wr0ng" not in str(fault.value)


def test_store_that_may_drop_rows_is_not_read_either(own_redis):
    own_redis.start()
    own_redis.client().config_set("maxmemory-policy", "volatile-ttl")
    held = Store(own_redis.url)
    for attempt in (held.store.check, lambda: held.reader.mark(0), held.writer.mark):
        with pytest.raises(OnlineStoreEvicts):
            attempt()
    own_redis.client().config_set("maxmemory-policy", "noeviction")
    assert held.reader.mark(0) is None
    held.close()


def test_reads_of_a_store_that_does_not_answer_fail_at_once_for_a_while(own_redis, monkeypatch):
    monkeypatch.setattr("tegula.state.online.redis_reader.REST_S", 3600.0)
    own_redis.start()
    held = Store(own_redis.url)
    assert held.reader.mark(0) is None
    own_redis.stop()
    with pytest.raises(OnlineStoreUnreachable) as fault:
        held.reader.mark(0)
    assert f"127.0.0.1:{own_redis.port}" in fault.value.where
    asked: list[object] = []
    monkeypatch.setattr(Link, "ask", lambda *given, **_: asked.append(given))
    with pytest.raises(OnlineStoreUnreachable):
        held.reader.mark(0)
    assert asked == []
    held.close()


def test_connection_that_was_closed_meanwhile_costs_a_reader_nothing(held, redis_server):
    held.writer.write([RowWrites(1, [(b"a", b"H")])], MARK)
    assert held.reader.mark(0) == MARK
    redis_server.client().client_kill_filter(_type="normal", skipme=True)
    assert held.reader.read(0, 1, [b"a"]) == (MARK, [(b"H", None)])


def test_server_that_hangs_holds_a_reader_no_longer_than_its_time(own_redis, monkeypatch):
    monkeypatch.setattr("tegula.state.online.redis_reader.TIMEOUT_S", 0.2)
    own_redis.start()
    held = Store(own_redis.url)
    assert held.reader.mark(0) is None
    own_redis.client().client_pause(60_000)
    began_s = time.perf_counter()
    with pytest.raises(OnlineStoreUnreachable):
        held.reader.mark(0)
    assert time.perf_counter() - began_s < 10
    held.close()
