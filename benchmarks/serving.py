"""How many requests a second one server process answers, and how long an answer takes.

    python -m benchmarks.serving [--seconds S] [--connections N] [--keys N] [--profile] [--json]

One key and ten windowed features a request (count, sum, mean, max over 1 h, 24 h and 30 d) from an
LMDB store of 20 000 keys as the engine leaves them: seconds in the head, minutes, hours and days in
the body. Server and load are a process each, so on two cores each has one; every thousandth answer
is compared with the number that columns give. Then the same with more keys a request, and what of a
request is reading, in this process without HTTP.
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import os
import pstats
import signal
import socket
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil
import pyarrow as pa

from benchmarks import load
from benchmarks.report import Figure, show
from tegula import (
    Entity,
    FeatureService,
    FeatureView,
    Float64,
    Stream,
    String,
    Timestamp,
    agg,
    sliding,
)
from tegula.engine.apply import apply_definitions
from tegula.engine.plan import Build
from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import Settings
from tegula.schemas.codec import collect
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tegula.serving.assembly import Serving
from tegula.serving.server import serve
from tegula.state.keys import encode_key, shard_of
from tegula.state.online.lmdb import LmdbWriter
from tegula.state.online.rows import Mark, RowWrites
from tegula.state.packing import ONLINE_BODY, ONLINE_HEAD, Stamps, pack
from tegula.state.registry import Registry
from tegula.windows.algebra import Column, Order, Runs
from tegula.windows.coarsen import coarsen
from tegula.windows.tiles import KeyedTiles, Tiles, group

RATE_FLOOR, RATE_GOAL = 9_000, 20_000
P99_FLOOR_MS, P99_GOAL_MS = 6.0, 3.0
KEYS = 20_000
EVENTS_A_KEY = 200
SERVICE = "fraud"


def definitions() -> tuple[Any, ...]:
    """Ten features of a card in one view, and the service that serves them."""
    card = Entity("card", keys={"card_id": String})
    payments = Stream(
        "payments",
        schema={"card_id": String, "amount": Float64, "at": Timestamp},
        event_time="at",
        disorder="30s",
    )
    features = {
        f"{name}_{window}": aggregate.over(sliding(window))
        for window in ("1h", "24h", "30d")
        for name, aggregate in (
            ("count", agg.count()),
            ("sum", agg.sum("amount")),
            ("mean", agg.mean("amount")),
        )
    }
    features["max_30d"] = agg.max("amount").over(sliding("30d"))
    spend = FeatureView("spend", entity=card, stream=payments, features=features)
    return card, payments, spend, FeatureService(SERVICE, version=1, features=[spend])


def make_home(folder: Path, port: int, key_count: int) -> Settings:
    """A project whose online store is filled as the engine would have left it."""
    settings = Settings(project=folder, port=port, shards=16)  # type: ignore[call-arg]
    registry = Registry(settings.registry_url_or_default)
    apply_definitions(settings, collect(definitions()), author="bench", message="", now_us=now_us())
    (row,) = registry.builds()
    registry.mark_live(row.id)
    registry.activate(row.view, row.id)
    registry.close()
    serving = Serving(settings, now_us)
    serving.catalogue.look()
    (build,) = serving.catalogue.current().builds()
    fill(settings, build, key_count)
    return settings


def fill(settings: Settings, build: Build, key_count: int) -> None:
    """Write heads and bodies of all keys: events thin out into the past, the horizon is 15 min."""
    rng = np.random.default_rng(7)
    at_us = now_us()
    horizon_us = (at_us - 15 * MINUTE_US) // SECOND_US * SECOND_US
    encoded = [encode_key((f"c{n}",), ("string",)) for n in range(key_count)]
    shards = np.array([shard_of(key, settings.shards) for key in encoded])
    for shard in range(settings.shards):
        members = np.flatnonzero(shards == shard)
        keys = [encoded[n] for n in members.tolist()]
        spans_us = [20 * MINUTE_US, 2 * HOUR_US, 2 * DAY_US, 30 * DAY_US]
        age_us = rng.random(len(keys) * EVENTS_A_KEY) * np.resize(
            spans_us, len(keys) * EVENTS_A_KEY
        )
        owner = np.repeat(np.arange(len(keys)), EVENTS_A_KEY)
        tiles = tiles_of_events(build, owner, at_us - 1 - age_us.astype(np.int64), rng)
        writer = LmdbWriter(settings.online_path, shard, 1)
        mark = Mark(1, 1, (build.id,))
        writer.write([_rows(build, keys, *tiles, horizon_us)], mark)
        writer.publish()
        writer.close()


def tiles_of_events(
    build: Build, owner: np.ndarray, event_us: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, Tiles, np.ndarray]:
    """Owner of each tile, one tile an event, and the newest event time of each owner."""
    order = np.lexsort((event_us, owner))
    owner, event_us = owner[order], event_us[order]
    count = len(owner)
    amounts = Column(np.round(rng.lognormal(3, 1, count), 2))
    runs, zeros = Runs(np.arange(count), count), np.zeros(count, np.int64)
    place = Order(event_us, zeros, np.arange(count))
    columns = [
        field
        for slot in build.shape.slots
        for field in slot.monoid.lift(None if slot.input is None else amounts, place, runs)
    ]
    newest_us = event_us[np.append(np.flatnonzero(np.diff(owner)), count - 1)]
    rung = np.full(count, build.shape.finest, np.uint8)
    rows = np.ones(count, np.int64)
    start_us = event_us - event_us % build.shape.finest_us
    return owner, Tiles(start_us, rung, rows, tuple(columns)), newest_us


def _rows(
    build: Build,
    keys: Sequence[bytes],
    owner: np.ndarray,
    tiles: Tiles,
    newest_us: np.ndarray,
    horizon_us: int,
) -> RowWrites:
    tiles, keep = coarsen(build.shape, tiles, np.full(len(tiles), horizon_us))
    owner, tiles = group(build.shape, owner[keep], tiles.take(np.flatnonzero(keep)))
    blocks = []
    for kind, chosen in (
        (ONLINE_HEAD, tiles.start_us >= horizon_us),
        (ONLINE_BODY, tiles.start_us < horizon_us),
    ):
        part = np.flatnonzero(chosen)
        bounds = np.searchsorted(owner[part], np.arange(len(keys) + 1))
        encoded = pa.array(keys, pa.large_binary())
        keyed = KeyedTiles(encoded, bounds, newest_us, tiles.take(part))
        ones = np.ones(len(keys), np.uint64)
        stamps = Stamps(ones, ones, ones, np.full(len(keys), horizon_us))
        blocks.append(list(zip(keys, pack(build.shape, keyed, kind, stamps), strict=True)))
    return RowWrites(build.id, blocks[0], blocks[1])


def bodies(key_count: int, keys_a_request: int, count: int = 4_000) -> list[bytes]:
    """Requests for random keys."""
    chosen = np.random.default_rng(11).integers(0, key_count, (count, keys_a_request))
    return [
        orjson.dumps({"service": SERVICE, "keys": {"card_id": [f"c{n}" for n in row]}})
        for row in chosen.tolist()
    ]


def checker(serving: Serving) -> load.Check:
    """Holds an answer against what columns give for the same key now.

    The windows move between asking and answering, by one grid step at most once a minute; a
    difference counts only if the answer fits neither the instant before nor the one after.
    """

    def check(request: bytes, answer: bytes, answered_us: int) -> None:
        got = orjson.loads(answer)["values"]
        asked = orjson.loads(request)
        candidates = []
        for at_us in (answered_us, answered_us - 2 * SECOND_US):
            body = orjson.dumps({**asked, "as_of": at_us, "include": ["bounds"]})
            ours = serving.answerer.answer(body, "0" * 32)
            assert ours is not None
            candidates.append(orjson.loads(ours.body)["values"])
        assert any(_close(got, one) for one in candidates), (request, got, candidates)

    return check


def _close(got: dict[str, list[float]], wanted: dict[str, list[float]]) -> bool:
    return all(
        np.allclose(np.array(got[name], float), np.array(wanted[name], float), rtol=1e-12)
        for name in wanted
    )


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((load.HOST, 0))
        return int(probe.getsockname()[1])


def started(settings: Settings) -> multiprocessing.Process:
    """A server process that listens."""
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(settings, now_us))
    process.start()
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"{settings.url}/health/live", timeout=1).read()
        except OSError:
            assert process.is_alive(), "the server ended"
            assert time.monotonic() < deadline, "the server does not listen"
        else:
            return process  # type: ignore[return-value]


def over_http(serving: Serving, options: argparse.Namespace) -> list[Figure]:
    """Figures with load from this process, which checks answers with its own `serving`."""
    settings = serving.settings
    server = started(settings)
    process = psutil.Process(server.pid)
    check = checker(serving)
    figures = []
    try:
        for keys in (1, 10, 100):
            asked = bodies(options.keys, keys)
            load.run(settings.port, asked, seconds=1.0, connections=options.connections)
            before_s = sum(process.cpu_times()[:2])
            done = load.run(
                settings.port,
                asked,
                seconds=options.seconds,
                connections=options.connections,
                check=check,
            )
            cpu_s = sum(process.cpu_times()[:2]) - before_s
            one = keys == 1
            name = f"serving.{keys}_key{'' if one else 's'}"
            figures += [
                Figure(
                    f"{name}.rate",
                    done.rate,
                    "requests/s",
                    RATE_FLOOR if one else None,
                    RATE_GOAL if one else None,
                ),
                Figure(
                    f"{name}.cpu",
                    cpu_s / len(done.latencies_us) * 1e6,
                    "µs CPU/request",
                    better="less",
                ),
                Figure(f"{name}.p50", done.quantile_ms(0.5), "ms", better="less"),
                Figure(
                    f"{name}.p99",
                    done.quantile_ms(0.99),
                    "ms",
                    P99_FLOOR_MS if one else None,
                    P99_GOAL_MS if one else None,
                    better="less",
                ),
            ]
    finally:
        os.kill(server.pid or 0, signal.SIGTERM)
        server.join()
    return figures


def in_process(serving: Serving, options: argparse.Namespace) -> list[Figure]:
    """What a request costs without HTTP."""
    asked = bodies(options.keys, 1)
    answer = serving.answerer.answer
    whole_us = _per_call_us(lambda body: answer(body, "0" * 32), asked)
    if options.profile:
        profile = cProfile.Profile()
        profile.enable()
        for body in asked:
            answer(body, "0" * 32)
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    return [Figure("serving.answer", whole_us, "µs", better="less")]


def _per_call_us(call: Callable[[bytes], object], bodies: Sequence[bytes]) -> float:
    best = np.inf
    for _ in range(5):
        began = time.perf_counter()
        for body in bodies:
            call(body)
        best = min(best, time.perf_counter() - began)
    return float(best) / len(bodies) * 1e6


def main() -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--profile", action="store_true", help="where the time of a request goes")
    parser.add_argument("--no-http", action="store_true", help="reading alone")
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tegula-bench-") as folder:
        settings = make_home(Path(folder), free_port(), options.keys)
        serving = Serving(settings, now_us)
        serving.catalogue.look()
        figures = in_process(serving, options)
        if not options.no_http:
            figures += over_http(serving, options)
    show(figures, json_only=options.json)


if __name__ == "__main__":
    main()
