"""How many events a second go all the way: log, decode, lift, commit, fold, mirror, archive.

    python -m benchmarks.ingest [--keys zipf|uniform] [--log local|kafka] [--state-only]

The log is filled beforehand; the clock runs from the opening of the engine to the moment when every
event is committed and readable. `--state-only` leaves out the mirror and the archive: what the
state alone takes. A round is a home of its own; the best round is the figure, since whatever else
the machine does only ever takes away. `shares` is the CPU time of each step in the best round.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks import payments
from benchmarks.report import Figure, show
from tegula.connectors.decode import JsonDecoder
from tegula.connectors.kafka_reader import KafkaReader
from tegula.connectors.local_reader import LocalReader
from tegula.engine.runtime import dataflow
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.engine import Engine
from tegula.engine.runtime.memory import collect_rarely, keep_freed_memory
from tegula.engine.settings import Settings
from tegula.engine.steps import commit, lift
from tegula.state import mirror, shard
from tegula.state.archive import Archive
from tegula.state.online.lmdb import LmdbWriter

BOUNDS = {
    "zipf": (500_000, 1_000_000),
    "uniform": (200_000, 500_000),
    "zipf.state_only": (None, 2_000_000),
    "uniform.state_only": (None, 900_000),
    "zipf.kafka": (250_000, None),
}
EVENTS_PER_SECOND = 500_000
"""How dense events lie in event time: as if they came live at this rate."""

SECONDS_MAX = 120


@dataclass(frozen=True, slots=True)
class Round:
    """One run: its rate, and the CPU time of the process and of each step, µs an event."""

    events_per_second: float
    cpu_us: float
    shares_us: dict[str, float]


class Shares:
    """CPU time of each step, by wrapping the functions that do it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._undo = ExitStack()
        self._inside = threading.local()

    def wrap(self, owner: Any, name: str, step: str) -> None:
        """Count the time of `owner.name` under `step`, less what is counted inside it."""
        original = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            outer = getattr(self._inside, "spent", 0.0)
            self._inside.spent = 0.0
            begin = time.thread_time()
            try:
                return original(*args, **kwargs)
            finally:
                took = time.thread_time() - begin
                self.seconds[step] += took - self._inside.spent
                self._inside.spent = outer + took

        setattr(owner, name, timed)
        self._undo.callback(lambda: setattr(owner, name, original))

    def undo(self) -> None:
        """Put the functions back."""
        self._undo.close()


@contextmanager
def counted() -> Iterator[Shares]:
    """Shares of the steps while the block runs."""
    shares = Shares()
    for reader in (LocalReader, KafkaReader):
        shares.wrap(reader, "poll", "read")
    shares.wrap(JsonDecoder, "decode", "decode")
    shares.wrap(lift.Lifter, "lift", "lift")
    shares.wrap(commit, "merge_numbered", "merge")
    shares.wrap(shard.Shard, "commit", "write")
    shares.wrap(commit, "fold", "fold")
    shares.wrap(mirror.Mirror, "take", "mirror")
    shares.wrap(mirror.Mirror, "catch_up", "mirror")
    shares.wrap(LmdbWriter, "heads", "mirror, LMDB")
    shares.wrap(LmdbWriter, "write", "mirror, LMDB")
    shares.wrap(Archive, "append", "archive")
    shares.wrap(Archive, "flush", "archive")
    try:
        yield shares
    finally:
        shares.undo()


def measure(settings: Settings, count: int, *, state_only: bool) -> Round:
    """Run an engine over a log that holds `count` events until all are in."""
    with counted() as shares:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        with Engine(settings) as engine:
            collect_rarely()
            if state_only:
                engine.archiving.offer = _ignore  # type: ignore[method-assign]
                engine.mirrors.offer = _ignore  # type: ignore[method-assign]
            watcher = threading.Thread(target=stop_when_done, args=(engine, count, state_only))
            watcher.start()
            dataflow.run(engine)
            watcher.join()
            wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        taken = _taken(engine)
    assert taken == count, f"only {taken} of {count} events within {SECONDS_MAX} s"
    in_steps = {step: seconds / count * 1e6 for step, seconds in shares.seconds.items()}
    return Round(count / wall_s, cpu_s / count * 1e6, in_steps)


def _ignore(*_: object) -> None:
    """Stands for a consumer that is not measured."""


def _taken(engine: Engine) -> int:
    lanes = [stream.lanes.live for stream in engine.streams.values()]
    return sum(place.next_offset for lane in lanes for place in lane.places.values())


def stop_when_done(engine: Engine, count: int, state_only: bool) -> None:
    """Stop the engine once so many events are committed and, unless `state_only`, readable."""
    deadline_s = time.monotonic() + SECONDS_MAX
    while not engine.stopping:
        time.sleep(0.01)
        done = _taken(engine) >= count and not engine.ingest.committer.has_pending
        if done and not state_only:
            committed = [one.commit_number for one in engine.shards]
            done = engine.mirrors.is_idle and engine.mirrors.commits() == committed
        if done or time.monotonic() > deadline_s:
            engine.stop()


def run(keys: str, log: str, count: int, seed: int, state_only: bool) -> Round:
    """Fill a log of its own and measure."""
    start_us = now_us() - 40_000_000
    batches = payments.events(keys, count, seed, start_us, EVENTS_PER_SECOND)
    with ExitStack() as stack:
        folder = stack.enter_context(payments.scratch())
        if log == "local":
            settings = payments.make_home(folder)
            payments.fill_local(settings, batches)
            return measure(settings, count, state_only=state_only)
        broker = stack.enter_context(payments.broker(folder))
        topic = broker.create_topic(payments.STREAM, partitions=payments.PARTITIONS)
        settings = payments.make_home(folder, topic=topic, kafka_bootstrap=broker.bootstrap)
        payments.fill_kafka(broker.bootstrap, topic, batches)
        return measure(settings, count, state_only=state_only)


def figures(options: argparse.Namespace, rounds: list[Round]) -> list[Figure]:
    """The best round, and the median rate beside it."""
    name = options.keys
    name += ".kafka" if options.log == "kafka" else ""
    name += ".state_only" if options.state_only else ""
    floor, goal = BOUNDS.get(name, (None, None))
    rates = sorted(one.events_per_second for one in rounds)
    median = rates[len(rates) // 2]
    least_cpu = min(one.cpu_us for one in rounds)
    found = [Figure(f"ingest.{name}", rates[-1], "events/s", floor, goal)]
    if len(rounds) > 1:
        found.append(Figure(f"ingest.{name}.median", median, "events/s"))
    found.append(Figure(f"ingest.{name}.cpu", least_cpu, "µs CPU/event", better="less"))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print the shares of the steps, a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keys", choices=("zipf", "uniform"), default="zipf")
    parser.add_argument("--log", choices=("local", "kafka"), default="local")
    parser.add_argument("--state-only", action="store_true", help="without mirror and archive")
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    rounds = [
        run(options.keys, options.log, options.events, options.seed + n, options.state_only)
        for n in range(options.rounds)
    ]
    if not options.json:
        best = max(rounds, key=lambda one: one.events_per_second)
        print(f"{'µs CPU an event, by step':<26}")
        for step, micros in sorted(best.shares_us.items(), key=lambda item: -item[1]):
            print(f"  {step:<18}{micros:>8.3f}")
        print(f"  {'the rest':<18}{best.cpu_us - sum(best.shares_us.values()):>8.3f}\n")
    show(figures(options, rounds), json_only=options.json)


if __name__ == "__main__":
    main()
