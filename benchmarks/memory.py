"""How much memory an engine takes while it reads a backlog of ten million events.

    python -m benchmarks.memory [--keys zipf|uniform|hot] [--stuck-mirror] [--events N]

The engine runs in a process of its own, as fast as it can, which is when it holds most; anonymous
memory (RssAnon: what the process allocated, without mapped files such as the online store) is
sampled from outside until every event is committed and readable. `hot`: all events are of one key.
`--stuck-mirror`: the online store never answers, so what it should take piles up, and every event
is only committed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import threading
import time
from typing import Any

from benchmarks import ingest, payments
from benchmarks.report import Figure, show
from tegula.engine.runtime import dataflow
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.engine import Engine
from tegula.engine.runtime.memory import collect_rarely, keep_freed_memory
from tegula.engine.settings import Settings
from tegula.state.online.lmdb import LmdbWriter

FLOOR_BYTES = 1.5 * 2**30


def sample(
    settings: Settings, count: int, every_s: float, *, stuck: bool = False
) -> tuple[list[int], float]:
    """Run an engine in another process; its memory from start to end, and its events a second."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(settings, count, stuck, sender), daemon=True)
    process.start()
    samples: list[int] = []
    try:
        while process.is_alive():
            samples.append(payments.anonymous_bytes(process.pid or 0))
            time.sleep(every_s)
    finally:
        if process.is_alive():
            process.terminate()
        process.join()
    assert process.exitcode == 0, f"the engine ended with {process.exitcode}"
    return samples, receiver.recv()


def _run(settings: Settings, count: int, stuck: bool, sender: object) -> None:
    keep_freed_memory()
    rate = _stuck(settings, count) if stuck else _rate(settings, count)
    sender.send(rate)  # type: ignore[attr-defined]


def _rate(settings: Settings, count: int) -> float:
    return ingest.measure(settings, count, state_only=False).events_per_second


def _stuck(settings: Settings, count: int) -> float:
    """Events a second, committed only: the online store takes its first write and no other."""
    never, opening = threading.Event(), LmdbWriter.write
    began_s = time.perf_counter()
    with Engine(settings, stop=threading.Event()) as engine:

        def write(*given: Any) -> None:
            never.wait(ingest.SECONDS_MAX)
            opening(*given)

        LmdbWriter.write = write  # type: ignore[method-assign]
        collect_rarely()
        watcher = threading.Thread(target=ingest.stop_when_done, args=(engine, count, True))
        watcher.start()
        dataflow.run(engine)
        watcher.join()
        return count / (time.perf_counter() - began_s)


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keys", choices=("zipf", "uniform", "hot"), default="uniform")
    parser.add_argument("--stuck-mirror", action="store_true")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--every-ms", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args(arguments)
    with payments.scratch() as folder:
        settings = payments.make_home(folder)
        batches = payments.events(
            options.keys,
            options.events,
            options.seed,
            now_us() - 60_000_000,
            ingest.EVENTS_PER_SECOND,
        )
        payments.fill_local(settings, batches)
        samples, rate = sample(
            settings, options.events, options.every_ms / 1_000, stuck=options.stuck_mirror
        )
    samples.sort()
    name = f"memory.{options.keys}{'.stuck_mirror' if options.stuck_mirror else ''}"
    found = [
        Figure(f"{name}.peak", samples[-1] / 2**20, "MiB", FLOOR_BYTES / 2**20, better="less"),
        Figure(f"{name}.median", samples[len(samples) // 2] / 2**20, "MiB", better="less"),
        Figure(f"{name}.rate", rate, "events/s"),
    ]
    show(found, json_only=options.json)


if __name__ == "__main__":
    main()
