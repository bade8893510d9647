"""What a second worker process brings: a filled embedded log, everything on, one worker or two.

    python -m benchmarks.workers [--keys zipf|uniform] [--workers 2] [--rounds 3]

Each round fills a log, then lets one worker and several take it in turn, from a new home each. The
clock of a run goes from the moment when the first of its workers began to read to that when the
last had committed its shards and made them readable; starting a process is not counted. An engine
that is alone uses more than one core by itself (it decodes ahead, mirrors and archives in threads),
so `one core` says what it takes in where it is given one, and that is what several are held
against. `cpu_ratio` is what an event costs more with several: other load disturbs it least.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks import payments
from benchmarks.report import Figure, show
from tegula.cli.run import free_ports
from tegula.engine.runtime import dataflow
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.engine import Engine
from tegula.engine.runtime.memory import collect_rarely, keep_freed_memory
from tegula.engine.settings import Settings
from tegula.engine.steps.worker import Worker

EVENTS_PER_SECOND = 500_000
SECONDS_MAX = 120
SPEEDUP_FLOOR = 1.6


def work(folder: Path, worker: Worker, addresses: list[str]) -> None:
    """One worker, in a process of its own: run until all have everything; print when and how."""
    keep_freed_memory()
    settings = Settings(project=folder, in_file={})  # type: ignore[call-arg]
    done = folder / "done"
    done.mkdir(exist_ok=True)
    times: dict[str, float] = {}
    cpu_s = 0.0
    with Engine(settings, worker=worker) as engine:
        collect_rarely()

        def watch() -> None:
            nonlocal cpu_s
            while not hasattr(engine, "archiving") or not engine.streams:
                time.sleep(0.002)
            times["began_s"], begin_cpu_s = time.time(), time.process_time()
            deadline_s = time.monotonic() + SECONDS_MAX
            while time.monotonic() < deadline_s and not _is_done(engine):
                time.sleep(0.01)
            times["ended_s"], cpu_s = time.time(), time.process_time() - begin_cpu_s
            (done / str(worker.index)).touch()
            while time.monotonic() < deadline_s and len(list(done.iterdir())) < worker.count:
                time.sleep(0.01)
            engine.stop()

        watcher = threading.Thread(target=watch)
        watcher.start()
        dataflow.run(engine, addresses)
        watcher.join()
    print(json.dumps({**times, "cpu_s": cpu_s}))


def _is_done(engine: Engine) -> bool:
    """Whether this worker's shards have every event of the log, readable."""
    (reader,) = engine.streams.values()
    ends = {reader.ordinal(name): reader.log.bounds(name)[1] for name in reader.log.partitions()}
    for shard in engine.shards:
        at = {ordinal: one.next_offset for (_, ordinal), one in list(shard.applied.items())}
        if at != ends:
            return False
    commits = [shard.commit_number for shard in engine.shards]
    return engine.mirrors.is_idle and engine.mirrors.commits() == commits


def run(folder: Path, count: int, workers: int, cores: str | None = None) -> tuple[float, float]:
    """Let so many workers take in a home's log: events a second, and µs of CPU an event."""
    addresses = ",".join(f"127.0.0.1:{port}" for port in free_ports(workers))
    pinned = [] if cores is None else ["taskset", "-c", cores]
    program = (sys.executable, "-m", "benchmarks.workers", "--folder", str(folder))
    children = [
        subprocess.Popen(
            [*pinned, *program, "--worker", str(index), "--addresses", addresses],
            stdout=subprocess.PIPE,
            env=os.environ,
        )
        for index in range(workers)
    ]
    said = [child.communicate(timeout=SECONDS_MAX * 2)[0] for child in children]
    assert all(child.returncode == 0 for child in children), "a worker failed"
    found = [json.loads(one.splitlines()[-1]) for one in said]
    took_s = max(one["ended_s"] for one in found) - min(one["began_s"] for one in found)
    assert took_s < SECONDS_MAX, "not everything was taken in"
    return count / took_s, sum(one["cpu_s"] for one in found) / count * 1e6


def compare(options: argparse.Namespace, seed: int) -> dict[str, tuple[float, float]]:
    """One round: a worker alone, several, and one on one core, over equal logs."""
    found = {}
    kinds: list[tuple[str, int, str | None]] = [
        ("one", 1, None),
        ("several", options.workers, None),
        ("one_core", 1, "0"),
    ]
    for name, workers, cores in kinds:
        with payments.scratch() as folder:
            settings = payments.make_home(folder)
            start_us = now_us() - 40_000_000
            payments.fill_local(
                settings,
                payments.events(options.keys, options.events, seed, start_us, EVENTS_PER_SECOND),
            )
            found[name] = run(folder, options.events, workers, cores)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print a table and a JSON line a figure: rates of the best round, and their ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keys", choices=("zipf", "uniform"), default="zipf")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--addresses", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.folder is not None:
        listed = options.addresses.split(",")
        work(options.folder, Worker(options.worker, len(listed)), listed)
        return
    rounds = [compare(options, options.seed + number) for number in range(options.rounds)]
    best = {name: max(one[name][0] for one in rounds) for name in rounds[0]}
    least_cpu = {name: min(one[name][1] for one in rounds) for name in rounds[0]}
    name = f"workers.{options.keys}"
    found = [Figure(f"{name}.{kind}", rate, "events/s") for kind, rate in best.items()]
    found += [Figure(f"{name}.{kind}.cpu", us, "µs CPU/event", better="less")
              for kind, us in least_cpu.items()]  # fmt: skip
    found.append(Figure(f"{name}.ratio", best["several"] / best["one"], "times"))
    to_one_core = best["several"] / best["one_core"]
    found.append(Figure(f"{name}.ratio_to_one_core", to_one_core, "times", SPEEDUP_FLOOR))
    costs = least_cpu["several"] / least_cpu["one"]
    found.append(Figure(f"{name}.cpu_ratio", costs, "times", better="less"))
    show(found, json_only=options.json)


if __name__ == "__main__":
    main()
