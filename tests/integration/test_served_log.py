"""The served log of real server processes: stopped and killed in the middle of load."""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path

import orjson
import polars as pl
import pytest

from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import Settings
from tegula.state.served import served_path
from tests.integration.test_serving_process import DEFINITIONS, served
from tests.support.server import HOST, apply_live, settings_of

BODY = orjson.dumps({"service": "fraud", "keys": {"card_id": ["c1", "c2"]}})
PARTS = 3


class Load:
    """Connections that ask again and again, until the server is gone."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self._port = settings.port
        self._traces = random.Random(seed)
        self.sent: list[str] = []
        self.answered: list[str] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(PARTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait(self, answers: int) -> None:
        """Wait until so many requests were answered."""
        waiting = threading.Event()
        while len(self.answered) < answers:
            assert any(thread.is_alive() for thread in self._threads)
            waiting.wait(0.01)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=30)
        try:
            while True:
                trace = f"{self._traces.getrandbits(128):032x}"
                self.sent.append(trace)
                headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
                connection.request("POST", "/v1/features", BODY, headers)
                answer = connection.getresponse()
                content = orjson.loads(answer.read())
                if answer.status != 200:
                    return
                assert content["trace_id"] == trace
                self.answered.append(trace)
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()


def in_log(settings: Settings) -> Counter[str]:
    """How many rows there are of each trace."""
    path = settings.lake_path / served_path("fraud")
    if not Path(path).exists():
        return Counter()
    return Counter(pl.read_delta(str(path))["_trace_id"].to_list())


@pytest.mark.slow
@pytest.mark.parametrize(("how", "processes"), [("stop", 1), ("stop", 2), ("kill", 1)])
def test_every_answer_is_in_the_log_once_when_servers_stop_and_few_are_lost_when_killed(
    tmp_path, seed, how, processes
):
    settings = settings_of(
        tmp_path, served_share=1.0, served_interval_s=0.2, server_processes=processes
    )
    apply_live(settings, DEFINITIONS, now_us())
    load = Load(settings, seed)
    with served(settings) as process:
        load.start()
        load.wait(300)
        if how == "kill":
            waiting = threading.Event()
            while not in_log(settings):
                waiting.wait(0.05)
        os.kill(process.pid or 0, signal.SIGTERM if how == "stop" else signal.SIGKILL)
        process.join(60)
        assert process.exitcode == (0 if how == "stop" else -signal.SIGKILL)
    load.join()
    rows = in_log(settings)
    assert set(rows.values()) == {2}, "a request of two keys is two rows"
    assert rows.keys() <= set(load.sent)
    lost = set(load.answered) - rows.keys()
    if how == "stop":
        assert not lost
    else:
        assert len(lost) < len(load.answered)
