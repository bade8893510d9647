"""The command line as a user has it: real processes, a project of its own, a port of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

TEGULA = (sys.executable, "-m", "tegula.cli.main")
WITHIN_S = 120.0
LOOKS_MIN = 20
STOPS_WITHIN_S = 5.0
STARTS_WITHIN_S = 1.0
"""How long a command takes to start on a machine for which `STOPS_WITHIN_S` is meant; half of it,
where nothing else runs."""


def tegula(folder, *words, stdin=b""):
    """Run one command to its end."""
    return subprocess.run(
        [*TEGULA, *words], cwd=folder, input=stdin, capture_output=True, timeout=300, check=False
    )


def data(ran):
    assert ran.returncode == 0, ran.stderr.decode()
    return orjson.loads(ran.stdout)


def event(card_id, amount, seconds_ago=1):
    at_us = time.time_ns() // 1000 - seconds_ago * 1_000_000
    instant = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_us / 1e6))
    return json.dumps({"card_id": card_id, "merchant": "m", "amount": amount, "at": instant})


def ndjson(*events):
    return "\n".join(events).encode() + b"\n"


def wait_for(what, saw=lambda: "", within_s=WITHIN_S):
    """The first true thing that `what` gives; `saw` tells what was there instead, if none comes.

    It gives up after enough time *and* enough looks: a machine that stood still proves nothing.
    """
    looks, began_s = 1, time.monotonic()
    while not (found := what()):
        waited_s = time.monotonic() - began_s
        assert waited_s < within_s or looks < LOOKS_MIN, (
            f"not after {waited_s:.0f} s and {looks} looks. Seen last: {saw()}"
        )
        threading.Event().wait(0.05)
        looks += 1
    return found


def new_project(folder):
    assert tegula(folder.parent, "init", str(folder)).returncode == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "tegula.toml").write_text(f"port = {port}\nshards = 2\n")
    return folder


@dataclass
class Dev:
    folder: Path
    process: subprocess.Popen
    output: Path

    @property
    def said(self):
        """All that it has printed, and the engine's last report, for whoever asks what went on."""
        report = self.folder / ".tegula/engine.json"
        reported = report.read_text() if report.exists() else "nothing"
        return f"\nthe engine reports {reported}\n`dev` printed:\n{self.output.read_text()}"

    @property
    def engine_pid(self):
        file = self.folder / ".tegula/engine.json"
        return orjson.loads(file.read_bytes())["pid"] if file.exists() else None

    def stop(self, number=signal.SIGINT):
        began_s = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(WITHIN_S)
        return code, time.monotonic() - began_s


def start_dev(folder):
    output = folder / "dev.out"
    with output.open("wb") as file:
        process = subprocess.Popen([*TEGULA, "dev"], cwd=folder, stdout=file, stderr=file)
    return Dev(folder, process, output)


def is_up(dev):
    assert dev.process.poll() is None, dev.said
    return "Ready at" in dev.output.read_text()


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    """A project under `tegula dev`."""
    running = start_dev(new_project(tmp_path_factory.mktemp("cli") / "shop"))
    try:
        wait_for(lambda: is_up(running), lambda: running.said)
        yield running
    finally:
        running.process.terminate()
        running.process.wait()


def get(dev, card_id, *words):
    answer = data(tegula(dev.folder, "get", "fraud", f"card_id={card_id}", "--json", *words))
    return {name: values[0] for name, values in answer["values"].items()}


def push_two(dev, card: str) -> None:
    """Two payments by `card`, readable when this returns."""
    lines = ndjson(event(card, 1.0), event(card, 2.0))
    receipt = data(tegula(dev.folder, "push", "payments", "--json", stdin=lines))["receipt"]
    assert get(dev, card, "--after", receipt)["spend:payments_10m"] == 2


def test_dev_serves_what_was_pushed(dev):
    lines = ndjson(event("a", 12.5), event("a", 3.0), event("a", -1.0))
    pushed = data(tegula(dev.folder, "push", "payments", "--json", stdin=lines))
    assert pushed["accepted"] == 3
    values = get(dev, "a", "--after", pushed["receipt"])
    assert (values["spend:payments_10m"], values["spend:spent_1h"]) == (2, 15.5)
    shown = tegula(dev.folder, "get", "spend:payments_10m", "card_id=a,nobody").stdout.decode()
    assert "0  not_found" in shown


@pytest.mark.parametrize("lines", [b"", b"{}\n"])
def test_push_to_an_unknown_stream_is_an_error_also_with_nothing_to_push(dev, lines):
    ran = tegula(dev.folder, "push", "paymets", stdin=lines)
    assert ran.returncode == 1
    assert ran.stderr.startswith(b"TG-4")
    assert b"paymets" in ran.stderr


def test_push_of_nothing_is_no_error(dev):
    pushed = data(tegula(dev.folder, "push", "payments", "--json"))
    assert pushed == {"accepted": 0, "rejected": [], "receipt": None}


def test_push_tells_of_each_record_that_it_refuses(dev):
    lines = ndjson(event("b", 1.0), "{", event("b", "much"), event("b", 2.0))
    ran = tegula(dev.folder, "push", "payments", stdin=lines)
    assert ran.returncode == 1
    assert "Accepted 2 events, 2 refused" in ran.stdout.decode()
    assert "TG-201 at line 2" in ran.stderr.decode()
    assert "TG-202 at line 3" in ran.stderr.decode()


def test_status_tells_positions_outcomes_and_sizes(dev):
    seen = []

    def settled(read_min=0):
        facts = data(tegula(dev.folder, "status", "--json"))
        seen[:] = [facts]
        stream = facts["streams"].get("payments")  # a report that is too old is no report
        lags = [1] if stream is None else [at["lag"] for at in stream["partitions"].values()]
        counts = facts["outcomes"].get("spend build 1")
        return facts if not any(lags) and counts and counts["read"] >= read_min else None

    saw = lambda: f"{seen}{dev.said}"  # noqa: E731
    before = wait_for(settled, saw)["outcomes"]["spend build 1"]["read"]
    # Nobody waits for these by a receipt: they are read because they are there.
    lines = ndjson(event("status", 1.0), event("status", -2.0))
    assert data(tegula(dev.folder, "push", "payments", "--json", stdin=lines))["accepted"] == 2
    facts = wait_for(lambda: settled(before + 2), saw)
    counts = facts["outcomes"]["spend build 1"]
    apart = ("folded", "filtered", "duplicate", "expired", "dead_lettered")
    assert counts["read"] == sum(counts[name] for name in apart)
    assert facts["engine"]["pid"] == dev.engine_pid
    assert facts["stores"]["state"] > 0
    assert b"Engine" in tegula(dev.folder, "status").stdout


@pytest.mark.parametrize("words", [["nothing", "card_id=a"], ["fraud", "nothing=a"], ["fraud"]])
def test_get_ends_with_1_when_the_request_is_wrong(dev, words):
    ran = tegula(dev.folder, "get", *words)
    assert ran.returncode == 1
    assert ran.stderr.startswith(b"TG-4")


def test_run_refuses_a_home_that_another_engine_holds(dev):
    ran = tegula(dev.folder, "run")
    assert ran.returncode == 3
    assert b"TG-501" in ran.stderr
    assert str(dev.engine_pid).encode() in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_dev_refuses_a_port_in_use(dev):
    ran = tegula(dev.folder, "dev")
    assert ran.returncode == 3
    assert b"TG-602" in ran.stderr


def test_backfill_switches_and_goes_back(dev):
    push_two(dev, "back")
    ran = data(tegula(dev.folder, "backfill", "spend", "--json"))
    assert ran["build"] == 2
    facts = data(tegula(dev.folder, "status", "--json"))
    assert {b["id"]: b["serves"] for b in facts["builds"]} == {1: False, 2: True}
    assert get(dev, "back")["spend:payments_10m"] == 2
    assert data(tegula(dev.folder, "backfill", "rollback", "spend", "--json"))["build"] == 1
    assert data(tegula(dev.folder, "backfill", "retire", "spend", "--json"))["retired"] == [2]


def test_dev_starts_a_killed_engine_again(dev):
    push_two(dev, "killed")
    before = dev.engine_pid
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: dev.engine_pid not in (None, before), lambda: dev.said)
    assert get(dev, "killed")["spend:payments_10m"] == 2
    assert "starting it again" in dev.output.read_text()


def test_dev_stops_within_five_seconds_of_ctrl_c_and_leaves_nothing(dev):
    engine = dev.engine_pid
    began_s = time.perf_counter()
    assert tegula(dev.folder, "--help").returncode == 0
    slower = max(1.0, (time.perf_counter() - began_s) / STARTS_WITHIN_S)
    code, seconds = dev.stop()
    assert code == 0
    assert seconds < STOPS_WITHIN_S * slower, dev.said
    with pytest.raises(ProcessLookupError):
        os.kill(engine, 0)
    assert "Traceback" not in dev.output.read_text()


def test_push_and_get_work_without_a_server(tmp_path):
    folder = new_project(tmp_path / "shop")
    assert tegula(folder, "apply").returncode == 0
    pushed = data(tegula(folder, "push", "payments", "--json", stdin=ndjson(event("a", 5.0))))
    assert pushed["accepted"] == 1
    engine = subprocess.Popen([*TEGULA, "run"], cwd=folder, stderr=subprocess.PIPE)
    try:
        wait_for(
            lambda: data(tegula(folder, "status", "--json"))["builds"][0]["serves"],
            lambda: f"the engine's exit code: {engine.poll()}",
        )
        answer = data(
            tegula(folder, "get", "fraud", "card_id=a", "--json", "--after", pushed["receipt"])
        )
    finally:
        engine.send_signal(signal.SIGTERM)
        engine.communicate(timeout=WITHIN_S)
    assert answer["values"]["spend:spent_1h"] == [5.0]
    assert engine.returncode == 0


def test_project_as_init_makes_it_passes_its_own_test(tmp_path):
    folder = new_project(tmp_path / "shop")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=folder, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stdout.decode()
