"""What keeping the answers costs: one server without the served log, one that keeps all of them.

    python -m benchmarks.served [--seconds S] [--rounds N] [--connections N] [--keys N] [--no-http]
        [--json]

The requests are those of `benchmarks.serving`: one key, ten features. Both servers stand on the
same online store, and take turns under the same load, so that what else goes on counts for both.
Then, without HTTP: what noting an answer adds to answering, and what making rows of noted answers
and writing them takes, on the thread that does it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import psutil

from benchmarks import load
from benchmarks.report import Figure, show
from benchmarks.serving import KEYS, SERVICE, bodies, free_port, make_home, started
from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import Settings
from tegula.serving.assembly import Serving
from tegula.serving.served.columns import rows_of
from tegula.serving.served.notes import Notes
from tegula.serving.served.recorder import Recorder
from tegula.serving.served.writer import ServedWriter
from tegula.state.served import ServedTable, served_path

RATIO_GOAL = 1.05


def over_http(settings: Settings, options: argparse.Namespace) -> list[Figure]:
    """CPU and latency a request of both servers, in turns."""
    asked = bodies(options.keys, 1)
    cpu: dict[float, list[float]] = {0.0: [], 1.0: []}
    p99: dict[float, list[float]] = {0.0: [], 1.0: []}
    p50: dict[float, list[float]] = {0.0: [], 1.0: []}
    servers = {}
    for share in cpu:
        given = {"served_share": share, "port": free_port(), "served_interval_s": 1.0}
        own = settings.model_copy(update=given)
        servers[share] = own.port, started(own)
    answered = 0
    try:
        for number in range(options.rounds + 1):
            for share, (port, server) in servers.items():
                process = psutil.Process(server.pid)
                before_s = sum(process.cpu_times()[:2])
                seconds, connections = options.seconds, options.connections
                done = load.run(port, asked, seconds=seconds, connections=connections)
                count = len(done.latencies_us)
                answered += count * int(share)
                if number:  # the first is for warming up
                    took_s = sum(process.cpu_times()[:2]) - before_s
                    cpu[share].append(took_s / count * 1e6)
                    p99[share].append(done.quantile_ms(0.99))
                    p50[share].append(done.quantile_ms(0.5))
    finally:
        for _, server in servers.values():
            os.kill(server.pid or 0, signal.SIGTERM)
            server.join()
    kept = pl.scan_delta(str(settings.lake_path / served_path(SERVICE))).select(pl.len()).collect()
    assert kept.item() == answered, f"{kept.item()} of {answered} answers are in the log"
    return [
        *(
            Figure(f"served.{name}.{what}", float(np.median(of[share])), unit, better="less")
            for name, share in (("off", 0.0), ("on", 1.0))
            for what, of, unit in (
                ("cpu", cpu, "µs CPU/request"),
                ("p50", p50, "ms"),
                ("p99", p99, "ms"),
            )
        ),
        Figure("served.p50_ratio", _ratio(p50), "", None, RATIO_GOAL, better="less"),
        Figure("served.p99_ratio", _ratio(p99), "", None, RATIO_GOAL, better="less"),
        Figure("served.cpu_ratio", _ratio(cpu), "", better="less"),
    ]


def _ratio(of: dict[float, list[float]]) -> float:
    """The median over rounds of what is with the log to what is without."""
    return float(np.median(np.array(of[1.0]) / np.array(of[0.0])))


def in_process(settings: Settings, options: argparse.Namespace) -> list[Figure]:
    """What noting costs the event loop, and writing the thread behind it."""
    asked = bodies(options.keys, 1)

    offered = asyncio.run(_offered(settings, asked))
    notes = _noted(settings, asked)
    began_s, began = time.process_time(), time.perf_counter()
    frame = rows_of(notes, writer="bench", first_sequence=0)
    rows_s, rows_wall_s = time.process_time() - began_s, time.perf_counter() - began
    began_s = time.process_time()
    with tempfile.TemporaryDirectory(prefix="tegula-bench-") as folder:
        ServedTable(Path(folder), SERVICE, writer="bench").append([frame], len(notes))
    write_s = time.process_time() - began_s
    count = len(notes)
    return [
        Figure("served.note", offered, "µs CPU/answer", better="less"),
        Figure("served.rows", rows_s / count * 1e6, "µs CPU/answer", better="less"),
        Figure("served.rows_wall", rows_wall_s / count * 1e6, "µs/answer", better="less"),
        Figure("served.write", write_s / count * 1e6, "µs CPU/answer", better="less"),
    ]


async def _offered(settings: Settings, asked: list[bytes]) -> float:
    """What offering an answer to the log takes, in µs: the same ones, again and again."""
    serving = Serving(settings.model_copy(update={"served_share": 1.0}), now_us)
    offers: list[tuple[Any, ...]] = []
    serving.catalogue.look()
    with mock.patch.object(Recorder, "offer", lambda _, *offer: offers.append(offer)):
        for body in asked:
            serving.answerer.answer(body, "0" * 32)
    serving.start()
    best = np.inf
    for _ in range(5):
        began_s = time.thread_time()
        for offer in offers:
            serving.recorder.offer(*offer)
        best = min(best, time.thread_time() - began_s)
    with mock.patch.object(ServedWriter, "put"):
        await serving.close()
    return float(best) / len(asked) * 1e6


def _noted(settings: Settings, asked: list[bytes]) -> Notes:
    """All answers, noted."""
    given: list[Notes] = []

    async def note() -> None:
        serving = Serving(settings.model_copy(update={"served_share": 1.0}), now_us)
        serving.start()
        for body in asked:
            serving.answerer.answer(body, "0" * 32)
        with mock.patch.object(ServedWriter, "put", lambda _, notes: given.extend(notes)):
            await serving.close()

    asyncio.run(note())
    return given[0]


def main() -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--no-http", action="store_true", help="without servers")
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tegula-bench-") as folder:
        settings = make_home(Path(folder), free_port(), options.keys)
        figures = in_process(settings, options)
        if not options.no_http:
            figures += over_http(settings, options)
    show(figures, json_only=options.json)


if __name__ == "__main__":
    main()
