"""How long it takes from an event accepted to its value readable, while others keep coming.

    python -m benchmarks.freshness [--push http|kafka] [--rate EVENTS_A_SECOND] [--seconds S]

An engine and a server run, a process each; this one pushes events of zipf keys at a steady rate,
over HTTP or straight to a Kafka broker, and some times a second an event of a key that was never
seen. It polls these keys over HTTP: the time from the push's acknowledgement to the first answer
that counts the event is its freshness. All of it shares one machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import Producer

from benchmarks import payments
from benchmarks.report import Figure, show
from tegula.engine.runtime import process
from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import Settings
from tegula.serving.server import serve

HOST = "127.0.0.1"
TICK_S = 0.02
MARKERS_A_SECOND = 20
FIRST_MARKER = 10_000_000
"""Cards from this number on are markers: the other keys stay far below."""

POLL_S = 0.002
CONNECTIONS = 8
WARM_UP_S = 4.0
DRAIN_S = 10.0
P99_FLOOR_MS, P99_GOAL_MS = 500.0, 300.0


@dataclass
class Markers:
    """When each marker was accepted, and when its value could be read (perf_counter, s)."""

    accepted_s: dict[int, float] = field(default_factory=dict)
    readable_s: dict[int, float] = field(default_factory=dict)
    sent_count: int = 0
    pushed_count: int = 0

    def waiting(self) -> list[int]:
        """Markers that were sent and not read yet."""
        sent = range(FIRST_MARKER, FIRST_MARKER + self.sent_count)
        return [number for number in sent if number not in self.readable_s]

    def freshness_ms(self, after: int) -> np.ndarray:
        """From accepted to readable, ms, of the markers from number `after` on."""
        return np.array(
            [
                max(0.0, self.readable_s[number] - accepted_s) * 1e3
                for number, accepted_s in sorted(self.accepted_s.items())
                if number >= FIRST_MARKER + after and number in self.readable_s
            ]
        )


Push = Callable[[list[bytes], "int | None"], None]
"""Sends events, the first of which is the numbered marker if there is one; returns at once."""


class Connection:
    """One keep-alive connection: a request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection(HOST, port))

    async def post(self, path: str, body: bytes, content_type: str) -> dict[str, object]:
        """The JSON that the server answers; fails on any status but success."""
        head = f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: {content_type}\r\n"
        self._writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answered = await self._reader.readuntil(b"\r\n\r\n")
        lines = answered.lower().split(b"\r\n")
        (size,) = (int(line[16:]) for line in lines if line.startswith(b"content-length: "))
        content = await self._reader.readexactly(size)
        assert lines[0].split()[1].startswith(b"2"), content[:500]
        answer: dict[str, object] = json.loads(content)
        return answer

    def close(self) -> None:
        self._writer.close()


async def over_http(port: int, markers: Markers) -> tuple[Push, Callable[[], None]]:
    """Pushing over HTTP by a few connections; and what closes them."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    opened = [await Connection.open(port) for _ in range(CONNECTIONS)]
    for connection in opened:
        free.put_nowait(connection)
    running: set[asyncio.Task[None]] = set()

    async def send(events: list[bytes], marker: int | None) -> None:
        connection = await free.get()
        path = f"/v1/streams/{payments.STREAM}/events"
        answer = await connection.post(path, b"\n".join(events), "application/x-ndjson")
        if marker is not None:
            markers.accepted_s[marker] = time.perf_counter()
        assert answer["accepted"] == len(events), answer
        markers.pushed_count += len(events)
        free.put_nowait(connection)

    def push(events: list[bytes], marker: int | None) -> None:
        task = asyncio.get_running_loop().create_task(send(events, marker))
        running.add(task)
        task.add_done_callback(running.discard)

    def close() -> None:
        for connection in opened:
            connection.close()

    return push, close


def over_kafka(bootstrap: str, markers: Markers) -> tuple[Push, Callable[[], None]]:
    """Producing to the topic, acknowledged by the broker; and what ends it."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 2})
    turn = iter(range(1 << 62))

    def push(events: list[bytes], marker: int | None) -> None:
        partition = next(turn) % payments.PARTITIONS

        def acknowledged(error: object, _: object) -> None:
            assert error is None, error
            markers.pushed_count += 1
            if marker is not None:
                markers.accepted_s.setdefault(marker, time.perf_counter())

        for event in events:
            producer.produce(payments.STREAM, event, partition=partition, on_delivery=acknowledged)
        producer.poll(0)

    def close() -> None:
        producer.flush(10)

    return push, close


async def push_steadily(push: Push, markers: Markers, rate: int, seconds: float) -> None:
    """Push `rate` events a second in ticks, with a marker in every so many of them."""
    rng = np.random.default_rng(3)
    ticks_a_marker = max(1, round(1 / (MARKERS_A_SECOND * TICK_S)))
    count = round(rate * TICK_S)
    begin_s = time.perf_counter()
    for tick in range(round(seconds / TICK_S)):
        await asyncio.sleep(max(0.0, begin_s + tick * TICK_S - time.perf_counter()))
        ids = np.minimum(rng.zipf(1.2, count), payments.KEY_COUNT)
        marker = None
        if tick % ticks_a_marker == 0:
            marker = ids[0] = FIRST_MARKER + markers.sent_count
            markers.sent_count += 1
        at_us = now_us() - rng.integers(0, 1_000_000, count)
        push(payments.encode(ids, rng.integers(1, 10_000, count) / 100, at_us), marker)


async def read_markers(port: int, markers: Markers, until: asyncio.Event) -> None:
    """Poll the markers that wait, all in one request, until all were read after `until`."""
    connection = await Connection.open(port)
    try:
        while not until.is_set() or markers.waiting():
            waiting = markers.waiting()
            if waiting:
                keys = {"card_id": [f"c{number}" for number in waiting]}
                body = json.dumps({"features": ["spend:count_1h"], "keys": keys}).encode()
                answer = await connection.post("/v1/features", body, "application/json")
                at_s, values = time.perf_counter(), answer["values"]
                for number, value in zip(waiting, values["spend:count_1h"], strict=True):  # type: ignore[index]
                    if value:
                        markers.readable_s[number] = at_s
            await asyncio.sleep(POLL_S)
    finally:
        connection.close()


async def measure(settings: Settings, options: argparse.Namespace) -> Markers:
    """Push and poll; returns when every marker was read, or some time after the last push."""
    markers = Markers()
    if options.push == "http":
        push, close = await over_http(settings.port, markers)
    else:
        push, close = over_kafka(str(settings.kafka_bootstrap), markers)
    done = asyncio.Event()
    reading = asyncio.create_task(read_markers(settings.port, markers, done))
    try:
        await push_steadily(push, markers, options.rate, WARM_UP_S + options.seconds)
        done.set()
        await asyncio.wait_for(reading, DRAIN_S)
    finally:
        reading.cancel()
        close()
    return markers


@contextmanager
def running(settings: Settings) -> Iterator[None]:
    """An engine and a server as processes of their own, ready; gone with the block."""
    context = multiprocessing.get_context("spawn")
    started = [
        context.Process(target=process.run, args=(settings,), daemon=True),
        context.Process(target=serve, args=(settings, now_us), daemon=True),
    ]
    try:
        for one in started:
            one.start()
        deadline_s = time.monotonic() + 60
        while not _is_ready(settings):
            assert all(one.is_alive() for one in started), "a process ended"
            assert time.monotonic() < deadline_s, "not ready within a minute"
            time.sleep(0.1)
        yield
    finally:
        for one in reversed(started):
            one.terminate()
            one.join(20)
            if one.is_alive():
                one.kill()
                one.join()


def _is_ready(settings: Settings) -> bool:
    try:
        with urllib.request.urlopen(f"{settings.url}/health/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--push", choices=("http", "kafka"), default="http")
    parser.add_argument("--rate", type=int, default=20_000, help="events a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = stack.enter_context(payments.scratch())
        flags: dict[str, object] = {"port": _free_port()}
        topic = None
        if options.push == "kafka":
            broker = stack.enter_context(payments.broker(folder))
            topic = broker.create_topic(payments.STREAM, partitions=payments.PARTITIONS)
            flags["kafka_bootstrap"] = broker.bootstrap
        settings = payments.make_home(folder, topic=topic, **flags)
        stack.enter_context(running(settings))
        began_s = time.perf_counter()
        markers = asyncio.run(measure(settings, options))
        pushed_rate = markers.pushed_count / (time.perf_counter() - began_s)
    taken_ms = markers.freshness_ms(after=round(WARM_UP_S * MARKERS_A_SECOND))
    assert len(taken_ms), "no marker became readable"
    name = f"freshness.{options.push}.{options.rate // 1_000}k"
    p50, p99 = np.quantile(taken_ms, [0.5, 0.99]).tolist()
    found = [
        Figure(f"{name}.p50", p50, "ms", better="less"),
        Figure(f"{name}.p99", p99, "ms", P99_FLOOR_MS, P99_GOAL_MS, better="less"),
        Figure(f"{name}.greatest", float(taken_ms.max()), "ms", better="less"),
        Figure(f"{name}.pushed", pushed_rate, "events/s", 0.75 * options.rate),
    ]
    show(found, json_only=options.json)


if __name__ == "__main__":
    main()
