"""Whether the mirror to Redis keeps up with events that come live, and what it could take.

    python -m benchmarks.mirror_redis [--rate EVENTS_A_SECOND] [--seconds S] [--keys zipf|uniform]
    python -m benchmarks.mirror_redis --store lmdb      the embedded store, to compare with

A process of its own appends events to the embedded log at a steady rate; the engine, with
everything on, mirrors to a Redis server that is started for it. `behind` is the time from the last
event appended to the moment when all are readable in Redis; `lag` is that time for each event, as
the engine measures it after some seconds (99 of 100 events are within it). Then an engine over a
log that was filled beforehand says how much more there is room for. All of it shares one machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import payments
from benchmarks.report import Figure, show
from tegula.connectors.local_log import LocalLog
from tegula.engine.runtime import dataflow
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.engine import Engine
from tegula.engine.runtime.memory import collect_rarely, keep_freed_memory
from tegula.engine.settings import Settings
from tests.services.kafka import free_ports
from tests.services.redis import Server

TICK_S = 0.02
SECONDS_MAX = 120
WARM_UP_S = 4.0
RATE = 100_000
BACKLOG_EVENTS = 2_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """What one engine did: seconds after the last event, p99 of lag, rate, CPU an event."""

    behind_s: float
    lag_p99_s: float
    events_per_second: float
    cpu_us: float


def feed(settings: Settings, keys: str, rate: int, seconds: float, go: Any, ended: Any) -> None:
    """Append events at a steady rate once `go` is set; `ended` gets the last's wall clock, µs."""
    per_tick = round(rate * TICK_S)
    log = LocalLog(settings.log_path(payments.STREAM), payments.STREAM, payments.PARTITIONS)
    batches = payments.events(keys, round(rate * seconds), 7, now_us(), rate, per_tick)
    made = list(batches)
    go.wait()
    began_s = time.perf_counter()
    for number, batch in enumerate(made):
        time.sleep(max(0.0, began_s + number * TICK_S - time.perf_counter()))
        log.append(batch, now_us=now_us)
    log.close()
    ended.value = now_us()


@contextmanager
def redis(folder: Path) -> Iterator[Server]:
    """A Redis server of one's own, gone with the block."""
    assert shutil.which("redis-server"), "a Redis server needs redis-server"
    one = Server(folder / "redis", free_ports(1)[0])
    try:
        one.start()
        yield one
    finally:
        one.stop()


def live(settings: Settings, keys: str, rate: int, seconds: float) -> Run:
    """Feed an engine that runs, and wait until all is readable."""
    context = multiprocessing.get_context("spawn")
    go, ended = context.Event(), context.Value("q", 0)
    feeder = context.Process(target=feed, args=(settings, keys, rate, seconds, go, ended))
    feeder.start()
    try:
        return measure(settings, round(rate * seconds), go.set, ended)
    finally:
        feeder.join()


def measure(settings: Settings, count: int, go: Callable[[], None], ended: Any = None) -> Run:
    """Run an engine until `count` events are readable; `go` is called once it runs."""
    seen: list[Any] = []
    with Engine(settings) as engine:
        collect_rarely()
        go()
        began_s, cpu_s = time.perf_counter(), time.process_time()
        watcher = threading.Thread(target=_stop_when_readable, args=(engine, count, seen))
        watcher.start()
        dataflow.run(engine)
        watcher.join()
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        early, readable_us = seen
        lag, taken = engine.mirrors.lag.report(), _taken(engine)
    assert taken == count, f"only {taken} of {count} events within {SECONDS_MAX} s"
    behind_s = 0.0 if ended is None else max(0.0, (readable_us - ended.value) / 1e6)
    return Run(behind_s, _p99_s(early, lag), count / took_s, cpu_s / count * 1e6)


def _stop_when_readable(engine: Engine, count: int, seen: list[Any]) -> None:
    """Stop the engine; `seen` gets the lag as it was after a while, and when all was readable."""
    began_s, early = time.perf_counter(), engine.mirrors.lag.report()
    while not engine.stopping:
        time.sleep(0.005)
        if time.perf_counter() - began_s < WARM_UP_S:
            early = engine.mirrors.lag.report()
        done = _taken(engine) >= count and not engine.ingest.committer.has_pending
        done = done and engine.mirrors.is_idle
        done = done and engine.mirrors.commits() == [one.commit_number for one in engine.shards]
        if done or time.perf_counter() - began_s > SECONDS_MAX:
            seen += early, now_us()
            engine.stop()


def _taken(engine: Engine) -> int:
    lanes = [stream.lanes.live for stream in engine.streams.values()]
    return sum(place.next_offset for lane in lanes for place in lane.places.values())


def _p99_s(early: dict[str, Any], late: dict[str, Any]) -> float:
    """The edge that 99 of 100 events are within of those that came between two reports."""
    rows = [b - a for a, b in zip(early["rows"], late["rows"], strict=True)]
    within = [e for e, n in zip(late["le_s"], rows, strict=False) if n >= 0.99 * rows[-1]]
    return float(within[0]) if within else float("inf")


@contextmanager
def home(store: str) -> Iterator[Settings]:
    """A project, with a Redis server of its own if that is its store."""
    with ExitStack() as opened:
        folder = opened.enter_context(payments.scratch())
        more = {}
        if store == "redis":
            more["online_url"] = opened.enter_context(redis(folder)).url
        yield payments.make_home(folder, **more)


def run(options: argparse.Namespace) -> list[Figure]:
    """Both runs, each over a home and a server of its own."""
    with home(options.store) as settings:
        one = live(settings, options.keys, options.rate, options.seconds)
    with home(options.store) as settings:
        start_us = now_us() - 1_000_000 * BACKLOG_EVENTS // options.rate
        events = payments.events(options.keys, BACKLOG_EVENTS, 7, start_us, options.rate)
        payments.fill_local(settings, events)
        backlog = measure(settings, BACKLOG_EVENTS, lambda: None)
    name = f"mirror_{options.store}.{options.keys}"
    return [
        Figure(f"{name}.behind", one.behind_s, "s", 2.0, 0.5, better="less"),
        Figure(f"{name}.lag_p99", one.lag_p99_s * 1e3, "ms", 2_000.0, 500.0, better="less"),
        Figure(f"{name}.cpu", one.cpu_us, "µs CPU/event", better="less"),
        Figure(f"{name}.backlog", backlog.events_per_second, "events/s", RATE, 2 * RATE),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keys", choices=("zipf", "uniform"), default="zipf")
    parser.add_argument("--store", choices=("redis", "lmdb"), default="redis")
    parser.add_argument("--rate", type=int, default=RATE, help="events a second")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    show(run(options), json_only=options.json)


if __name__ == "__main__":
    main()
