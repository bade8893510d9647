"""How long a checkpoint of a million keys takes, first and again, and what it costs live ingest.

    python -m benchmarks.checkpoint [--keys N] [--backlog N]

An engine takes an event of every key, and is asked for a checkpoint: the first, of everything.
After events of one key in twenty it is asked again: the incremental one. Then another engine reads
a backlog as fast as it can, in windows of as many events: in every other one checkpoints are made,
one after the other. The place is a folder on the same disk, which is the hardest case for ingest.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from benchmarks import payments
from benchmarks.report import Figure, show
from tegula.engine.runtime import dataflow
from tegula.engine.runtime.checkpoint_requests import Request, ask, read_answer
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.engine import Engine
from tegula.engine.runtime.memory import collect_rarely, keep_freed_memory
from tegula.engine.settings import Settings

SECONDS_MAX = 120.0


def events(ids: np.ndarray, seed: int) -> Iterator[list[bytes]]:
    """An event of each of `ids`, dated now."""
    rng = np.random.default_rng(seed)
    for first in range(0, len(ids), payments.CHUNK_ROWS):
        some = ids[first : first + payments.CHUNK_ROWS]
        amounts = rng.integers(1, 100_000, len(some)) / 100
        at_us = now_us() - rng.integers(0, 2_000_000, len(some))
        yield payments.encode(some, amounts, at_us)


def taken(engine: Engine) -> int:
    """Events that the engine has read."""
    lanes = [stream.lanes.live for stream in engine.streams.values()]
    return sum(place.next_offset for lane in lanes for place in lane.places.values())


def wait_for(what: Callable[[], Any]) -> Any:
    """The first true thing that `what` gives."""
    deadline_s = time.monotonic() + SECONDS_MAX
    while not (found := what()):
        assert time.monotonic() < deadline_s, f"not within {SECONDS_MAX} s"
        time.sleep(0.02)
    return found


def checkpoint(settings: Settings, place: Path) -> dict[str, Any]:
    """Ask the running engine for a checkpoint; what it says of it."""
    request = Request(uuid4().hex, str(place))
    ask(settings.checkpoint_path, request)
    said = wait_for(lambda: read_answer(settings.checkpoint_path, request.token))
    assert said["error"] is None, said
    made: dict[str, Any] = said["made"]
    return made


def running(settings: Settings, work: Callable[[Engine], None]) -> None:
    """Run an engine, and `work` beside it, which ends it."""
    with Engine(settings) as engine:
        collect_rarely()
        faults: list[BaseException] = []

        def run() -> None:
            try:
                work(engine)
            except BaseException as fault:  # noqa: BLE001 - raised below
                faults.append(fault)
            finally:
                engine.stop()

        thread = threading.Thread(target=run)
        thread.start()
        dataflow.run(engine)
        thread.join()
        if faults:
            raise faults[0]


def settled(engine: Engine, count: int) -> bool:
    """Whether `count` events are committed and readable."""
    done = taken(engine) >= count and not engine.ingest.committer.has_pending
    committed = [shard.commit_number for shard in engine.shards]
    return done and engine.mirrors.is_idle and engine.mirrors.commits() == committed


def measure_calm(settings: Settings, place: Path, keys: int, seed: int) -> list[Figure]:
    """The first checkpoint, and one after some keys had an event."""
    made: list[dict[str, Any]] = []
    some = np.arange(0, keys, 20)

    def work(engine: Engine) -> None:
        wait_for(lambda: settled(engine, keys))
        made.append(checkpoint(settings, place))
        payments.fill_local(settings, events(some, seed + 1))
        wait_for(lambda: settled(engine, keys + len(some)))
        made.append(checkpoint(settings, place))

    running(settings, work)
    first, again = made
    return [
        Figure("checkpoint.first", first["seconds"], "s", 20, better="less"),
        Figure("checkpoint.first.size", first["size_bytes"] / 2**20, "MiB"),
        Figure("checkpoint.incremental", again["seconds"], "s", 5, better="less"),
        Figure("checkpoint.incremental.copied", again["new_bytes"] / 2**20, "MiB"),
    ]


@dataclass
class Spent:
    """What windows of one kind took: events, seconds, and the process' CPU seconds."""

    events: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0

    @contextmanager
    def counted(self, engine: Engine) -> Iterator[None]:
        """Count what happens in the block."""
        before, began_s, cpu_s = taken(engine), time.perf_counter(), time.process_time()
        yield
        self.events += taken(engine) - before
        self.seconds += time.perf_counter() - began_s
        self.cpu_s += time.process_time() - cpu_s


def measure_busy(settings: Settings, place: Path, count: int, window: int) -> list[Figure]:
    """Ingest of a backlog up to `count` events: windows with checkpoints in turn with others."""
    with_, without = Spent(), Spent()
    made: list[dict[str, Any]] = []

    def work(engine: Engine) -> None:
        start = taken(engine)
        wait_for(lambda: taken(engine) >= start + window)  # it has warmed up
        while taken(engine) + 3 * window < count:
            end = taken(engine) + window
            with without.counted(engine):
                wait_for(lambda end=end: taken(engine) >= end)
            with with_.counted(engine):
                while taken(engine) < end + window:
                    made.append(checkpoint(settings, place))
        wait_for(lambda: settled(engine, count))

    running(settings, work)
    rates = [one.events / one.seconds for one in (without, with_)]
    cpu_us = [one.cpu_s / one.events * 1e6 for one in (without, with_)]
    slowed = max(0.0, 100 * (1 - rates[1] / rates[0]))
    linked_ms = sorted(one["linked_ms"] for one in made)
    busy_s = sorted(one["seconds"] for one in made)
    return [
        Figure("checkpoint.ingest.without", rates[0], "events/s"),
        Figure("checkpoint.ingest.with", rates[1], "events/s"),
        Figure("checkpoint.slowed", slowed, "%", 20, better="less"),
        Figure("checkpoint.ingest.without.cpu", cpu_us[0], "µs CPU/event", better="less"),
        Figure("checkpoint.ingest.with.cpu", cpu_us[1], "µs CPU/event", better="less"),
        Figure("checkpoint.busy", busy_s[len(busy_s) // 2], "s", better="less"),
        Figure("checkpoint.commits_wait", linked_ms[len(linked_ms) // 2], "ms", better="less"),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--backlog", type=int, default=4_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    rng = np.random.default_rng(options.seed)
    with payments.scratch() as folder:
        settings, place = payments.make_home(folder), folder / "place"
        payments.fill_local(settings, events(rng.permutation(options.keys), options.seed))
        figures = measure_calm(settings, place, options.keys, options.seed)
        ids = rng.integers(0, options.keys, options.backlog)
        payments.fill_local(settings, events(ids, options.seed + 2))
        count = options.keys + len(np.arange(0, options.keys, 20)) + options.backlog
        figures += measure_busy(settings, place, count, options.backlog // 12)
    show(figures, json_only=options.json)


if __name__ == "__main__":
    main()
