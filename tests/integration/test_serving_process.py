"""The server as a process: listening, draining, several of them, ports that are taken."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
import pytest

from tegula.connectors.rfc3339 import format_instant
from tegula.engine.apply import apply_definitions
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.engine import Engine
from tegula.engine.settings import Settings
from tegula.schemas import agg
from tegula.schemas.codec import collect
from tegula.schemas.definitions import FeatureService, FeatureView
from tegula.schemas.errors import PortInUse, SettingsError, TegulaError
from tegula.schemas.windows import sliding
from tegula.serving.client import Client
from tegula.serving.server import serve
from tests.support.server import HOST, read_answers, settings_of
from tests.support.serving import CARD, PAYMENTS

VIEW = FeatureView(
    "spend",
    entity=CARD,
    stream=PAYMENTS,
    features={"n": agg.count().over(sliding("1h")), "total": agg.sum("amount").over(sliding("1h"))},
)
DEFINITIONS = collect(FeatureService("fraud", version=1, features=[VIEW]))


@contextmanager
def served(settings: Settings) -> Iterator[BaseProcess]:
    """A server process that listens; it is stopped with the block."""
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=serve, args=(settings, now_us, started.set))
    process.start()
    try:
        assert started.wait(120), "the server did not start"
        yield process
    finally:
        if process.is_alive():
            process.terminate()
        process.join(60)
        assert process.exitcode is not None, "the server did not end"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path, shards=2)


def apply(settings: Settings) -> None:
    apply_definitions(settings, DEFINITIONS, author="test", message="", now_us=now_us())


@pytest.mark.slow
def test_pushed_events_are_read_after_their_receipt(settings):
    apply(settings)
    event = {"card_id": "c1", "amount": 2.5, "at": format_instant(now_us() - 1_000_000)}
    with served(settings), Client(settings.url) as client, Engine(settings) as engine:
        stop = threading.Event()
        running = threading.Thread(target=_run, args=(engine, stop))
        running.start()
        try:
            while client.health()["status"] != "ready":
                stop.wait(0.02)
            pushed = client.push("payments", [event, {**event, "amount": "x"}, event])
            assert (pushed["accepted"], len(pushed["rejected"])) == (2, 1)
            answer = client.features(
                {"card_id": ["c1", "c2"]}, service="fraud", after=pushed["receipt"]
            )
            assert answer["values"] == {"spend:n": [2, 0], "spend:total": [5.0, 0.0]}
            assert answer.frame.rows() == [("c1", 2, 5.0), ("c2", 0, 0.0)]
        finally:
            stop.set()
            running.join()


def _run(engine: Engine, stop: threading.Event) -> None:
    while not stop.is_set():
        if not engine.step():
            stop.wait(0.01)


@pytest.mark.slow
def test_server_serves_what_is_applied_while_it_runs(settings):
    with served(settings), Client(settings.url) as client:
        assert client.health()["reasons"][0].startswith("TG-512")
        apply(settings)
        waiting = threading.Event()
        while "no build that serves" not in client.health()["reasons"][0]:
            waiting.wait(0.02)
        answer = client.features({"card_id": ["c1"]}, service="fraud", include=["status"])
        assert answer["status"] == {"spend:n": ["ERROR"], "spend:total": ["ERROR"]}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_server_drains_on_sigterm_and_ends_with_success(settings, processes):
    settings = settings.model_copy(update={"server_processes": processes})
    with served(settings) as process:
        with socket.create_connection((HOST, settings.port), timeout=60) as connection:
            begun = b"POST /v1/features HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n"
            # A whole request first: from its answer on, the connection is one that was taken.
            connection.sendall(begun + b"{}")
            assert len(read_answers(connection, 1)) == 1
            connection.sendall(begun)
            threading.Event().wait(0.2)
            os.kill(process.pid or 0, signal.SIGTERM)
            threading.Event().wait(0.5)
            connection.sendall(b"{}")
            answer = b""
            while received := connection.recv(1 << 16):
                answer += received
        assert b" 400 Bad Request" in answer, "a request that was begun is answered"
        process.join(60)
        assert process.exitcode == 0
    assert not list(settings.metrics_path.glob("*.counts"))


@pytest.mark.slow
def test_processes_share_a_port_and_count_together(settings):
    settings = settings.model_copy(update={"server_processes": 2})
    with served(settings):
        for _ in range(20):
            httpx.post(f"{settings.url}/v1/features", content=b"{}")
        pages = {httpx.get(f"{settings.url}/metrics").text.count("\n") for _ in range(8)}
        assert len(pages) == 1
        page = httpx.get(f"{settings.url}/metrics").text
        assert 'tegula_requests_total{route="features",status="4xx"} 20.0' in page


@pytest.mark.parametrize("processes", [1, 2])
def test_port_that_is_taken_is_one_clear_error(settings, processes):
    settings = settings.model_copy(update={"server_processes": processes})
    with socket.socket() as other:
        other.bind((HOST, settings.port))
        other.listen()
        with pytest.raises(PortInUse, match=f"the port {settings.port} is in use"):
            serve(settings, now_us)


def test_host_that_this_machine_does_not_have_is_one_clear_error(settings):
    with pytest.raises(SettingsError, match=r"203\.0\.113\.1"):
        serve(settings.model_copy(update={"host": "203.0.113.1"}), now_us)


def test_client_without_a_server_says_so(settings):
    with (
        Client(settings.url) as client,
        pytest.raises(TegulaError, match="no server answers") as caught,
    ):
        client.health()
    assert caught.value.retryable
    assert "tegula dev" in caught.value.hint
