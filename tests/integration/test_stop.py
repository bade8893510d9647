"""An engine that is asked to stop ends within five seconds, whatever it is at, and has committed.

Real processes and SIGTERM: in the middle of a backlog, with an online store that takes half a
second a write, and with one that never answers. Then another engine goes on, and every event counts
once.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl

from tegula.connectors.local_log import LocalLog
from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import Settings
from tests.support.engines import Project
from tests.support.process import EngineProcess, is_caught_up

WITHIN_S = 5.0
BACKLOG, KEYS = 600_000, 100_000
_SLOW = """
import sys, threading
from pathlib import Path
from tegula.engine.settings import load_settings
from tegula.engine.runtime.process import run
from tegula.state.online.lmdb import LmdbWriter
write = LmdbWriter.write
def slow(*given):
    threading.Event().wait({seconds})
    write(*given)
LmdbWriter.write = slow
run(load_settings(Path(sys.argv[1])))
"""


class SlowEngine(EngineProcess):
    """An engine whose online store takes so many seconds for a write."""

    def __init__(self, project: Path, seconds: float) -> None:
        super().__init__(project)
        self._command[2] = _SLOW.format(seconds=seconds)


def backlog(project: Project, seed: int, count: int) -> None:
    """Append so many events of zipf keys to the embedded log; all good, nearly in order."""
    chance = np.random.default_rng(seed)
    columns = pl.DataFrame(
        {
            "k": np.minimum(chance.zipf(1.2, count), KEYS).astype(str),
            "x": chance.integers(0, 100, count),
            "at": now_us() - 60_000_000 + np.arange(count) * 2,
        }
    )
    text = pl.struct("k", "x", "at").struct.json_encode()
    events = columns.select(text.cast(pl.Binary)).to_series().to_list()
    log = LocalLog(project.settings.log_path("events"), "events")
    for begin in range(0, count, 20_000):
        log.append(events[begin : begin + 20_000], now_us=now_us)
    log.close()
    project.sent += count


def project_in(root: Path, rows: Sequence[str] = (), **settings: Any) -> Project:
    (root / "tegula.toml").write_text("\n".join(rows))
    return Project.make(root, **{"shards": Settings.model_fields["shards"].default, **settings})


def taken(report: dict[str, Any] | None) -> int:
    """How many events an engine has taken from its log."""
    if report is None:
        return 0
    return sum(at["next_offset"] for at in report["streams"]["events"]["partitions"].values())


def seconds_to_stop(engine: EngineProcess) -> float:
    began_s = perf_counter()
    code = engine.stop()
    took_s = perf_counter() - began_s
    assert code == 0, engine.log
    return took_s


def test_stop_amid_a_backlog_commits_what_was_taken(tmp_path, seed, eventually):
    project = project_in(tmp_path)
    backlog(project, seed, BACKLOG)
    engine = EngineProcess(tmp_path)
    engine.start()
    eventually(lambda: taken(engine.report()) > 50_000)
    known = taken(engine.report())
    took_s = seconds_to_stop(engine)
    assert took_s < WITHIN_S
    engine.start()
    eventually(lambda: engine.report() is not None)
    assert taken(engine.report()) >= known, "what was taken had not been committed"
    eventually(is_caught_up(engine, BACKLOG))
    engine.stop()


def test_stop_does_not_wait_for_an_online_store_that_is_slow(tmp_path, seed, eventually):
    project = project_in(tmp_path)
    backlog(project, seed, 20_000)
    engine = SlowEngine(tmp_path, 0.5)
    engine.start()
    eventually(lambda: taken(engine.report()) == project.sent)
    assert seconds_to_stop(engine) < WITHIN_S
    again = EngineProcess(tmp_path)
    again.start()
    eventually(is_caught_up(again, project.sent))
    again.stop()


def test_stop_does_not_wait_for_a_redis_that_does_not_answer(tmp_path, seed, eventually, own_redis):
    own_redis.start()
    project = project_in(tmp_path, [f'online_url = "{own_redis.url}"'], online_url=own_redis.url)
    engine = EngineProcess(tmp_path)
    engine.start()
    eventually(is_caught_up(engine, 0))
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        backlog(project, seed, 20_000)
        eventually(lambda: taken(engine.report()) == project.sent)
        assert seconds_to_stop(engine) < WITHIN_S
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)
