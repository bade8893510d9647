"""A load generator for one HTTP route: raw asyncio, keep-alive connections, loopback only.

It shares the machine with the server, so it does as little as can be: requests are bytes made
beforehand, each connection sends one, reads its answer, and sends the next. Every answer is held
against what is expected (status line, length, the body's beginning), and some are parsed whole.

    python -m benchmarks.load --port 6180 --seconds 5 --connections 32 BODIES_FILE
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import uvloop

HOST = "127.0.0.1"
CHECK_EVERY = 1_000
PATIENCE_S = 10
SECONDS_MAX = 60
CONNECTIONS_MAX = 512

Check = Callable[[bytes, bytes, int], None]
"""Takes a request's body, its answer's body, and when the answer came (µs since the epoch); raises
where the answer is wrong."""


@dataclass(frozen=True)
class Load:
    """What came of a run; `latencies_us` ascend."""

    seconds: float
    latencies_us: np.ndarray
    checked_count: int

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies_us) / self.seconds

    def quantile_ms(self, share: float) -> float:
        """The latency that this share of the answers did not exceed."""
        return float(np.quantile(self.latencies_us, share)) / 1e3


class Connection(asyncio.Protocol):
    """One keep-alive connection: a request at a time, until the deadline."""

    def __init__(self, requests: Sequence[bytes], first: int, deadline: float) -> None:
        self._requests = requests
        self._next = first
        self._deadline = deadline
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.latencies: list[float] = []
        self.sampled: list[tuple[bytes, bytes, int]] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class
        self._send()

    def _send(self) -> None:
        self._request = self._requests[self._next % len(self._requests)]
        self._next += 1
        self._sent_at = time.perf_counter()
        assert self._transport is not None
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self._buffer.find(b"content-length: ", 0, end) + 16
        size = end + 4 + int(self._buffer[at : self._buffer.find(b"\r\n", at)])
        if len(self._buffer) < size:
            return
        now = time.perf_counter()
        self.latencies.append(now - self._sent_at)
        answer, self._buffer = self._buffer[end + 4 : size], self._buffer[size:]
        try:
            self._hold(answer)
        except Exception as wrong:  # noqa: BLE001 - whatever is wrong ends the run with it
            self._finish(wrong)
            return
        if now < self._deadline:
            self._send()
        else:
            self._finish(None)

    def _hold(self, answer: bytes) -> None:
        assert answer.startswith(b'{"values":{'), answer[:300]
        if len(self.latencies) % CHECK_EVERY == 1:
            request = self._request.partition(b"\r\n\r\n")[2]
            self.sampled.append((request, answer, time.time_ns() // 1_000))

    def _finish(self, wrong: Exception | None) -> None:
        if not self.done.done():
            if wrong is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(wrong)
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(exc or ConnectionError("the server closed the connection"))


def request_of(body: bytes, path: str = "/v1/features") -> bytes:
    """The bytes of one request."""
    return (
        b"POST %s HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%s" % (path.encode(), HOST.encode(), len(body), body)
    )


async def drive(
    port: int, bodies: Sequence[bytes], seconds: float, connections: int, check: Check
) -> Load:
    """Load the server at `port` for some seconds; raises the first answer that is wrong."""
    assert 0 < seconds <= SECONDS_MAX, "bounded, whatever was asked for"
    assert 0 < connections <= CONNECTIONS_MAX, "bounded, whatever was asked for"
    requests = [request_of(body) for body in bodies]
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made = []
    for number in range(connections):
        first = number * len(requests) // connections
        _, connection = await loop.create_connection(
            lambda first=first: Connection(requests, first, began + seconds), HOST, port
        )
        made.append(connection)
    await asyncio.wait_for(
        asyncio.gather(*(connection.done for connection in made)), seconds + PATIENCE_S
    )
    took_s = time.perf_counter() - began
    latencies = np.sort(np.concatenate([connection.latencies for connection in made])) * 1e6
    # Afterwards: a check takes as long as a hundred answers, which would wait for it.
    sampled = [one for connection in made for one in connection.sampled]
    for one in sampled:
        check(*one)
    return Load(took_s, latencies, len(sampled))


def run(
    port: int,
    bodies: Sequence[bytes],
    *,
    seconds: float = 5.0,
    connections: int = 32,
    check: Check = lambda request, answer, at_us: None,
) -> Load:
    """`drive`, on a loop of its own."""
    return uvloop.run(drive(port, bodies, seconds, connections, check))


def main() -> None:
    """Load a server with the bodies in a file, one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bodies", type=Path)
    parser.add_argument("--port", type=int, default=6180)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    bodies = options.bodies.read_bytes().splitlines()
    load = run(options.port, bodies, seconds=options.seconds, connections=options.connections)
    figures = {f"p{share}": load.quantile_ms(share / 100) for share in (50, 90, 99)}
    print(json.dumps({"rate": round(load.rate), **figures}))


if __name__ == "__main__":
    main()
