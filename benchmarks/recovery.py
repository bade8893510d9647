"""How long an engine that was killed under load takes to its first new commit, with a million keys.

    python -m benchmarks.recovery [--keys N] [--rate EVENTS_A_SECOND] [--kills N]

An engine, a process of its own, takes in an event of every key; then events of random keys come at
a steady rate, and go on coming. It is killed (SIGKILL) in the middle of them, and another one is
started at once. The clock runs from that start, Python's included, to the first commit that holds
an event which no commit held before; `opening` is the part of it in which the engine is opened,
`readable` goes on to the moment when the online store has followed. What the process has spent by
the first commit is `first_commit.cpu`: on a busy machine that is the figure to compare.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks import payments
from benchmarks.checkpoint import events
from benchmarks.report import Figure, show
from tegula.connectors.local_log import LocalLog
from tegula.engine.runtime import dataflow
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.engine import Engine
from tegula.engine.runtime.memory import collect_rarely, keep_freed_memory
from tegula.engine.settings import Settings
from tegula.state.shard import Shard

FLOOR_S = 5.0
TICK_S = 0.05
LOAD_S = 5.0
"""How long an engine is under load before it is killed."""

SECONDS_MAX = 200.0


def work(folder: Path) -> None:
    """One engine, in a process of its own, until it is killed; tells by lines what it has done."""
    keep_freed_memory()
    began_s = time.time()
    settings = Settings(project=folder, in_file={})  # type: ignore[call-arg]
    with Engine(settings) as engine:
        collect_rarely()
        opened_s, before = time.time(), applied(engine.shards)

        def watch() -> None:
            while applied(engine.shards) <= before:
                time.sleep(0.002)
            committed_s, cpu_s = time.time(), time.process_time()
            commits = [one.commit_number for one in engine.shards]
            while any(map(int.__lt__, engine.mirrors.commits(), commits)):
                time.sleep(0.002)
            tell(
                began=began_s,
                opened=opened_s,
                committed=committed_s,
                readable=time.time(),
                cpu=cpu_s,
            )
            while True:
                tell(applied=applied(engine.shards), readable=engine.mirrors.is_idle)
                time.sleep(0.1)

        def watch_while_read() -> None:
            try:
                watch()
            except BrokenPipeError:  # nobody reads any more: who started it is gone
                engine.stop()

        threading.Thread(target=watch_while_read, daemon=True).start()
        dataflow.run(engine)


def tell(**facts: object) -> None:
    """Print a line for the process that started this one."""
    print(json.dumps(facts), flush=True)


def applied(shards: list[Shard]) -> int:
    """Events that every shard has applied."""
    return min(sum(at.next_offset for at in list(one.applied.values())) for one in shards)


@contextmanager
def feeding(settings: Settings, keys: int, rate: int) -> Iterator[None]:
    """Events of random keys at a steady rate while the block runs."""
    log = LocalLog(settings.log_path(payments.STREAM), payments.STREAM, payments.PARTITIONS)
    ended, count = threading.Event(), round(rate * TICK_S)

    def feed() -> None:
        rng = np.random.default_rng(7)
        while not ended.wait(TICK_S):
            for batch in events(rng.integers(0, keys, count), int(rng.integers(1 << 30))):
                log.append(batch, now_us=now_us)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield
    finally:
        ended.set()
        feeder.join()
        log.close()


class Running:
    """An engine as a process; `began_s` is when it was started."""

    def __init__(self, folder: Path) -> None:
        program = (sys.executable, "-m", "benchmarks.recovery", "--folder", str(folder))
        self.began_s = time.time()
        self._process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        self._late = threading.Timer(SECONDS_MAX, self._process.kill)
        self._late.start()

    def said(self) -> dict[str, float]:
        """The next line that it prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"it ended, or took longer than {SECONDS_MAX} s"
        told: dict[str, float] = json.loads(line)
        return told

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self._late.cancel()
        self._process.kill()
        self._process.wait()


def run(options: argparse.Namespace) -> list[Figure]:
    """Fill a state, then kill and start engines under load."""
    found: list[dict[str, float]] = []
    with payments.scratch() as folder:
        settings = payments.make_home(folder)
        rng = np.random.default_rng(options.seed)
        payments.fill_local(settings, events(rng.permutation(options.keys), options.seed))
        engine = Running(folder)
        engine.said()
        while not ((now := engine.said())["applied"] >= options.keys and now["readable"]):
            pass
        with feeding(settings, options.keys, options.rate):
            for _ in range(options.kills):
                loaded_s = time.time() + LOAD_S
                while time.time() < loaded_s:
                    engine.said()
                engine.kill()
                engine = Running(folder)
                told = engine.said()
                cpu_s = told.pop("cpu")
                found.append({name: at_s - engine.began_s for name, at_s in told.items()})
                found[-1]["cpu"] = cpu_s
        engine.kill()
    names = ("began", "opened", "committed", "readable", "cpu")
    began, opened, committed, readable, cpu_s = (
        float(np.median([one[name] for one in found])) for name in names
    )
    return [
        Figure("recovery.first_commit", committed, "s", FLOOR_S, better="less"),
        Figure("recovery.starting", began, "s", better="less"),
        Figure("recovery.opening", opened - began, "s", better="less"),
        Figure("recovery.readable", readable, "s", better="less"),
        Figure("recovery.first_commit.cpu", cpu_s, "CPU s", better="less"),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and a JSON line a figure: medians of all kills."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=10_000, help="events a second")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.folder is not None:
        work(options.folder)
        return
    show(run(options), json_only=options.json)


if __name__ == "__main__":
    main()
