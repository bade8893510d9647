"""Connections to a Redis server, or to every node of a Redis Cluster, and what is asked over them.

`Link.ask` sends commands for many shards at once: one pipeline a node, all sent before the first
answer is read. Which node has a shard is asked of the cluster, and again whenever a node says that
it has not. Every connection sees first that the server would never evict a row.

Redis' own client makes the connections (TLS, passwords, parsing); its pools and pipelines would
cost more than the commands.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import redis
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.connection import URL_QUERY_ARGUMENT_PARSERS
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry

from ...schemas.errors import (
    OnlineStoreEvicts,
    OnlineStoreFull,
    OnlineStoreUnreachable,
    SettingsError,
    SinkError,
)
from .redis_address import Address, Node

Command = tuple[bytes | str | int, ...]

PAGE_KEYS: Final = 1_000
"""Keys that a server looks at for a page of a scan: about a millisecond of its time."""

_ELSEWHERE: Final = (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    TryAgainError,
)
"""Refusals that another node, or the same one later, may not give."""


class Link:
    """Connections to one store, made when they are first needed. Safe to share between threads.

    `options` are those of Redis' client, such as `password` or `ssl_ca_certs`. `scripts` are loaded
    on every connection. Nothing is answered later than `timeout_s`.
    """

    def __init__(
        self,
        address: Address,
        options: Mapping[str, str],
        timeout_s: float,
        scripts: Sequence[str] = (),
    ) -> None:
        self.address = address
        self._scripts = scripts
        self._lock = threading.Lock()
        self._connections: dict[Node, Any] = {}
        self._slots: list[tuple[int, int, Node]] = []
        try:
            self._options: dict[str, Any] = {
                **{name: _typed(name, value) for name, value in options.items()},
                "protocol": 2,
                "socket_timeout": timeout_s,
                "socket_connect_timeout": timeout_s,
                "retry": Retry(NoBackoff(), 0),
                "decode_responses": False,
            }
            for url in address.urls:
                redis.ConnectionPool.from_url(url, **self._options).make_connection()
        except (TypeError, ValueError) as fault:
            raise SettingsError(
                "these options are not of Redis' client",
                where="`online_url`, `online_options`",
                got=str(fault),
            ) from None

    def ask(
        self, asked: Sequence[tuple[int, Sequence[Command]]], *, again: bool = False
    ) -> list[list[Any]]:
        """Send (shard, commands) to where each shard lies; the answers in the same order.

        With `again` everything is sent a second time where a connection had broken or a shard had
        moved, but not where time ran out: for commands that change nothing.

        Raises `OnlineStoreUnreachable`, `OnlineStoreEvicts`, `OnlineStoreFull`, or `SinkError` for
        what else the server refuses.
        """
        with self._lock:
            try:
                return self._ask(asked)
            except OnlineStoreUnreachable as fault:
                if not again or isinstance(fault.__cause__, redis.TimeoutError):
                    raise
                return self._ask(asked)

    def ask_node(self, node: Node, commands: Sequence[Command]) -> list[Any]:
        """Send commands to one node; the answers."""
        with self._lock, _Named(self):
            self._find_slots()
            return self._exchange({node: list(commands)})[node]

    def scan(self, shard: int, pattern: bytes) -> Iterator[list[bytes]]:
        """The keys of a shard that match, a page at a time; one may come twice."""
        cursor = b"0"
        while True:
            command = ("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE_KEYS)
            (((cursor, keys),),) = self.ask([(shard, [command])])
            if keys:
                yield keys
            if cursor == b"0":
                return

    def nodes(self) -> list[Node]:
        """The nodes that hold shards."""
        with self._lock, _Named(self):
            self._find_slots()
            return list(dict.fromkeys(node for _, _, node in self._slots))

    def close(self) -> None:
        """Let all connections go; they are made anew when something is asked again."""
        with self._lock:
            self.drop()

    def drop(self) -> None:
        """Forget connections and where shards lie. For whoever holds the lock."""
        for connection in self._connections.values():
            connection.disconnect()
        self._connections, self._slots = {}, []

    def _ask(self, asked: Sequence[tuple[int, Sequence[Command]]]) -> list[list[Any]]:
        with _Named(self):
            self._find_slots()
            commands: dict[Node, list[Command]] = {}
            places: list[tuple[Node, int, int]] = []
            for shard, mine in asked:
                node = self._node_of(shard)
                there = commands.setdefault(node, [])
                places.append((node, len(there), len(there) + len(mine)))
                there.extend(mine)
            answers = self._exchange(commands)
            return [answers[node][begin:end] for node, begin, end in places]

    def _exchange(self, commands: Mapping[Node, Sequence[Command]]) -> dict[Node, list[Any]]:
        """Send every node its commands, then read all answers; raises the first refusal."""
        for node, mine in commands.items():
            self._connection(node).send_packed_command([_packed(mine)])
        answers: dict[Node, list[Any]] = {}
        refused: ResponseError | None = None
        for node, mine in commands.items():
            connection, found = self._connection(node), answers.setdefault(node, [])
            for _ in mine:
                try:
                    found.append(connection.read_response())
                except ResponseError as fault:  # the answers behind it are still to be read
                    refused = refused or fault
        if refused is not None:
            raise refused
        return answers

    def _node_of(self, shard: int) -> Node:
        slot = key_slot(str(shard).encode())
        for first, last, node in self._slots:
            if first <= slot <= last:
                return node
        raise ClusterDownError(f"no node holds slot {slot}, that of shard {shard}")

    def _find_slots(self) -> None:
        """Learn where the slots lie, if that is not known."""
        if self._slots:
            return
        fault: RedisError | OSError | None = None
        for url in self.address.urls:
            try:
                pool = redis.ConnectionPool.from_url(url, **self._options)
                seed = self._opened(pool.make_connection())
                node = getattr(seed, "host", ""), getattr(seed, "port", 0)
                ranges = _cluster_slots(seed, node)
            except (RedisError, OSError) as error:
                fault = error
                continue
            if ranges is None:
                ranges, self._connections = [(0, REDIS_CLUSTER_HASH_SLOTS - 1, node)], {node: seed}
            else:
                seed.disconnect()
            self._slots = ranges
            return
        assert fault is not None
        raise fault

    def _connection(self, node: Node) -> Any:
        found = self._connections.get(node)
        if found is None:
            pool = redis.ConnectionPool.from_url(self.address.of(node), **self._options)
            found = self._connections[node] = self._opened(pool.make_connection())
        return found

    def _opened(self, connection: Any) -> Any:
        """The connection, open, with the scripts loaded, to a server that keeps every row."""
        commands: list[Command] = [("INFO", "memory")]
        commands += [("SCRIPT", "LOAD", script) for script in self._scripts]
        try:
            connection.connect()
            connection.send_packed_command([_packed(commands)])
            memory, *_ = [connection.read_response() for _ in commands]
            policy = _field(memory, "maxmemory_policy")
            if policy not in ("noeviction", ""):
                raise OnlineStoreEvicts(where=self.address.shown, policy=policy)
        except BaseException:
            connection.disconnect()
            raise
        return connection


class _Named:
    """Gives Redis' errors our names, and drops connections that may be out of step."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, fault: BaseException | None, _: object) -> None:
        if fault is None:
            return
        shown, said = self._link.address.shown, str(fault)
        if isinstance(fault, OutOfMemoryError):
            raise OnlineStoreFull(where=shown, detail=said) from fault
        if isinstance(fault, ResponseError) and not isinstance(fault, _ELSEWHERE):
            raise SinkError("Redis refused a command", where=shown, got=said) from fault
        self._link.drop()  # whatever it was: answers may be left on the line
        if isinstance(fault, RedisError | OSError):
            detail = said or type(fault).__name__
            raise OnlineStoreUnreachable(where=shown, detail=detail) from fault


def _typed(name: str, value: str) -> object:
    """An option as the client wants it: `online_options` are text, as in a URL's query.

    >>> _typed("ssl_check_hostname", "false"), _typed("password", "false")
    (False, 'false')
    """
    parse: Any = URL_QUERY_ARGUMENT_PARSERS.get(name, str)
    return parse(value)


def _packed(commands: Sequence[Command]) -> bytes:
    """The commands as they go over the line."""
    pack: Any = pack_command  # typed as if commands had one word
    return b"".join(map(pack, commands))


def _cluster_slots(connection: Any, own: Node) -> list[tuple[int, int, Node]] | None:
    """Which slots each primary holds; None where the server is no cluster."""
    connection.send_packed_command([_packed([("INFO", "cluster")])])
    if _field(connection.read_response(), "cluster_enabled") != "1":
        return None
    connection.send_packed_command([_packed([("CLUSTER", "SLOTS")])])
    ranges = []
    for first, last, primary, *_ in connection.read_response():
        host = (primary[0] or b"").decode() or own[0]
        ranges.append((int(first), int(last), (host, int(primary[1]))))
    if not ranges:
        raise ClusterDownError("the cluster has given out no slots yet")
    return ranges


def _field(info: bytes, name: str) -> str:
    """A field of what `INFO` says; empty where there is none.

    >>> _field(b"# Memory\\r\\nmaxmemory_policy:noeviction\\r\\n", "maxmemory_policy")
    'noeviction'
    """
    for line in info.decode().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value
    return ""
