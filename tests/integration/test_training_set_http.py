"""Training sets over HTTP: begun, done beside the server, and asked for by name."""

from __future__ import annotations

import asyncio
import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

import tegula as tg
from tegula import agg, lifetime
from tegula.cli.inside import application
from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import Settings
from tegula.state.served import ServedTable
from tests.support.server import TRACE, TRACEPARENT, running, settings_of

START_US = 1_714_564_800_000_000
card = tg.Entity("card", keys={"card_id": tg.String})
payments = tg.Stream(
    "payments", schema={"card_id": tg.String, "at": tg.Timestamp.of("us")}, event_time="at"
)
spend = tg.FeatureView(
    "spend", entity=card, stream=payments, features={"n": agg.count().over(lifetime())}
)
WANTED: dict[str, Any] = {
    "name": "first",
    "features": ["spend"],
    "spine": {"card_id": ["a", "b"], "at": [START_US + 60_000_000, START_US + 60_000_000]},
    "include": ["status"],
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    with tg.TestDriver(spend, at=START_US, home=tmp_path) as driver:
        driver.send("payments", {"card_id": "a", "at": START_US - 5})
        driver.settle()
    (tmp_path / "tegula.toml").write_text("datasets_max = 1\nshards = 4\n")
    return tmp_path


class Client:
    """The project's application, called as a server would call it."""

    def __init__(self, runner: asyncio.Runner, inner: httpx.AsyncClient) -> None:
        self._runner = runner
        self._inner = inner

    def post(self, path: str, json: Any) -> httpx.Response:
        return self._runner.run(self._inner.post(path, json=json))

    def get(self, path: str) -> httpx.Response:
        return self._runner.run(self._inner.get(path))


@contextmanager
def client_of(project: Path, **settings: Any) -> Iterator[Client]:
    given: dict[str, Any] = {"datasets_max": 1, "shards": 4, **settings}
    with asyncio.Runner() as runner, application(runner, Settings(project=project, **given)) as one:
        yield Client(runner, one)


def ended(client: Client | httpx.Client, name: str) -> dict[str, Any]:
    pause = threading.Event()
    for _ in range(600):
        told: dict[str, Any] = client.get(f"/v1/datasets/{name}").json()
        if told["status"] != "running":
            return told
        pause.wait(0.2)
    raise AssertionError(told)


def test_a_set_is_made_beside_the_server(project):
    with client_of(project) as client:
        begun = client.post("/v1/datasets", json=WANTED)
        assert (begun.status_code, begun.json()["id"]) == (200, "first")
        done = ended(client, "first")
        assert done["status"] == "done", done
        assert done["manifest"]["rows"] == 2
        again = client.post("/v1/datasets", json=WANTED)
        assert (again.status_code, again.json()["error"]["code"]) == (409, "TG-422")
        wrong = {**WANTED, "name": "second", "features": ["nothing"]}
        client.post("/v1/datasets", json=wrong)
        assert ended(client, "second")["error"]["code"] == "TG-402"


def test_a_set_of_what_the_server_answered_has_these_answers(tmp_path):
    """Over real sockets: features are asked for, the log is written, the set is made of it."""
    service = tg.FeatureService("counts", version=1, features=[spend])
    with tg.TestDriver(service, at=START_US, home=tmp_path) as driver:
        driver.send("payments", [{"card_id": "a", "at": START_US - n} for n in (5, 6)])
        driver.settle()
    (tmp_path / "tegula.toml").write_text("shards = 4\n")
    settings = settings_of(tmp_path, datasets_max=1, served_share=1.0, served_interval_s=0.2)
    asked = {"service": "counts", "keys": {"card_id": ["a", "b"]}}
    with running(settings, now_us) as server, httpx.Client(base_url=server.url) as client:
        before_us = now_us()
        answer = client.post("/v1/features", json=asked, headers={"traceparent": TRACEPARENT})
        assert answer.json()["values"] == {"spend:n": [2, 0]}
        after_us = now_us()
        pause = threading.Event()
        log = ServedTable(settings.lake_path, "counts")
        while not log.count():
            pause.wait(0.05)
            log.refresh()
        spine = {
            "card_id": ["a", "a", "b", "c"],
            "at": [before_us, *[after_us] * 3],
            "request": [TRACE] * 4,
        }
        wanted = {
            **WANTED,
            "spine": spine,
            "clock": "served",
            "served_by": "counts@1",
            "max_age": "1h",
            "trace": "request",
            "include": ["status", "trace"],
        }
        begun = client.post("/v1/datasets", json=wanted)
        assert begun.status_code == 200, begun.json()
        done = ended(client, "first")
    assert done["status"] == "done", done
    assert done["manifest"]["served"]["by"] == "counts@1"
    made = pl.read_delta(done["path"])
    assert made["spend:n"].to_list() == [None, 2, 0, None]
    assert made["spend:n|status"].to_list() == [
        "NOT_SERVED",
        "PRESENT",
        "NOT_FOUND",
        "NOT_SERVED",
    ]
    assert made["spend:n|trace_id"].to_list() == [None, TRACE, TRACE, None]


def test_no_more_are_made_at_a_time_than_are_allowed(project):
    with client_of(project) as client:
        job = project / ".tegula" / "datasets-jobs" / "other"
        job.mkdir(parents=True)
        with (job / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            refused = client.post("/v1/datasets", json=WANTED)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "TG-425")


def test_none_is_made_where_the_settings_say_so(project):
    with client_of(project, datasets_max=0) as client:
        refused = client.post("/v1/datasets", json=WANTED)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "TG-424")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../etc"},
        {"name": None},
        {"spine": "labels.parquet"},
        {"spine": {"at": [[1], "x"]}},
        {"features": "spend"},
        {"features": ["--help"]},
        {"labels": {"y": 7}},
        {"clock": 7},
        {"max_age": 7},
        {"more": 1},
    ],
)
def test_requests_of_another_shape_are_refused(project, change):
    with client_of(project) as client:
        refused = client.post("/v1/datasets", json={**WANTED, **change})
        assert refused.status_code == 400, refused.json()
        assert client.get("/v1/datasets/first").json()["error"]["code"] == "TG-423"
