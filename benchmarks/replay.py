"""How many events a second come from the archive into a state that is made anew.

    python -m benchmarks.replay [--keys zipf|uniform] [--events N]

An engine takes in events from the embedded log and archives them. Then its state is deleted, and
another engine makes it again: from the archive, then from the log at the fence. The clock runs from
its first batch to the moment when every event is committed; `readable` is the rate up to when the
online rows, all written anew, follow. How long it takes to open is told apart, since it does not
grow with the history. `shares` is the CPU time of each step.
"""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from unittest.mock import patch

from benchmarks import payments
from benchmarks.ingest import EVENTS_PER_SECOND, Round, counted
from benchmarks.report import Figure, show
from tegula.connectors.archive import ArchiveReader
from tegula.connectors.decode import DecodedBatch
from tegula.engine.runtime import dataflow
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.engine import Engine
from tegula.engine.runtime.memory import collect_rarely, keep_freed_memory
from tegula.engine.settings import Settings

FLOOR = 1_000_000
SECONDS_MAX = 120


def running(settings: Settings, is_done: Callable[[Engine], bool]) -> float:
    """Run an engine until something holds; when it did (perf_counter, s)."""
    late, done_s = False, 0.0
    with Engine(settings) as engine:
        collect_rarely()

        def watch() -> None:
            nonlocal late, done_s
            deadline_s = time.monotonic() + SECONDS_MAX
            while not engine.stopping and not is_done(engine) and not late:
                time.sleep(0.01)
                late = time.monotonic() > deadline_s
            done_s = time.perf_counter()
            engine.stop()

        watcher = threading.Thread(target=watch)
        watcher.start()
        dataflow.run(engine)
        watcher.join()
    assert not late, f"not within {SECONDS_MAX} s"
    return done_s


def is_committed(engine: Engine, count: int) -> bool:
    """Whether every shard has applied `count` events to every build."""
    builds = {build.id for build in engine.deployed.builds}
    for shard in engine.shards:
        reached = dict.fromkeys(builds, 0)
        for (build, _), at in list(shard.applied.items()):
            if build in reached:
                reached[build] += at.next_offset
        if set(reached.values()) != {count}:
            return False
    return True


def is_readable(engine: Engine, count: int) -> bool:
    """Whether they are all in the online store too, and every build is named there."""
    if not is_committed(engine, count) or not engine.mirrors.is_idle:
        return False
    commits = [shard.commit_number for shard in engine.shards]
    named = all(-1 not in engine.mirrors.mirrored(build.id) for build in engine.deployed.builds)
    return named and engine.mirrors.commits() == commits


@dataclass(frozen=True, slots=True)
class Replay:
    """One run; how many events a second became readable, and how long opening the engine took."""

    round: Round
    readable: float
    opening_s: float


def run(options: argparse.Namespace, seed: int) -> Replay:
    """Fill an archive, and measure how it is read into a state."""
    count = options.events
    with payments.scratch() as folder:
        settings = payments.make_home(folder)
        start_us = now_us() - count * 1_000_000 // EVENTS_PER_SECOND
        events = payments.events(options.keys, count, seed, start_us, EVENTS_PER_SECOND)
        payments.fill_local(settings, events)
        running(settings, lambda engine: is_readable(engine, count))
        shutil.rmtree(settings.state_path)
        return measure(settings, count)


def measure(settings: Settings, count: int) -> Replay:
    """Run an engine until its builds have been made of the archive."""
    began: list[float] = []
    committed: list[float] = []
    begin_s = time.perf_counter()
    poll = ArchiveReader.poll

    def first(self: ArchiveReader, rows_max: int) -> DecodedBatch | None:
        began.extend((time.perf_counter(), time.process_time()) if not began else ())
        return poll(self, rows_max)

    def is_done(engine: Engine) -> bool:
        if not committed and is_committed(engine, count):
            committed.extend((time.perf_counter(), time.process_time()))
        return is_readable(engine, count)

    with patch.object(ArchiveReader, "poll", first), counted() as shares:
        shares.wrap(ArchiveReader, "poll", "read the archive")
        ended_s = running(settings, is_done)
    took_s, cpu_s = committed[0] - began[0], committed[1] - began[1]
    in_steps = {step: seconds / count * 1e6 for step, seconds in shares.seconds.items()}
    one = Round(count / took_s, cpu_s / count * 1e6, in_steps)
    return Replay(one, count / (ended_s - began[0]), began[0] - begin_s)


def main(arguments: list[str] | None = None) -> None:
    """Print the shares of the steps, a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keys", choices=("zipf", "uniform"), default="zipf")
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    made = [run(options, options.seed + number) for number in range(options.rounds)]
    rounds = [one.round for one in made]
    best = max(rounds, key=lambda one: one.events_per_second)
    if not options.json:
        print(f"{'µs CPU an event, by step':<26}")
        for step, micros in sorted(best.shares_us.items(), key=lambda item: -item[1]):
            print(f"  {step:<18}{micros:>8.3f}")
        print(f"  {'the rest':<18}{best.cpu_us - sum(best.shares_us.values()):>8.3f}\n")
    name = f"replay.{options.keys}"
    floor = FLOOR if options.keys == "zipf" else None
    found = [
        Figure(name, best.events_per_second, "events/s", floor),
        Figure(f"{name}.readable", max(one.readable for one in made), "events/s"),
        Figure(f"{name}.cpu", min(one.cpu_us for one in rounds), "µs CPU/event", better="less"),
        Figure(f"{name}.opening", min(one.opening_s for one in made), "s", better="less"),
    ]
    show(found, json_only=options.json)


if __name__ == "__main__":
    main()
