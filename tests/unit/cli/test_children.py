"""Children: ready, restarted, given up, stopped; and none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tegula.cli.children import Family, Program, stopping_on_signals

STAY = "import signal; signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); "


def program(code, tmp_path, name="child", is_ready=lambda _: True):
    return Program(name, (sys.executable, "-c", code), is_ready, tmp_path / f"{name}.log")


@pytest.fixture
def family():
    made = []

    def make(*programs):
        said = []
        one = Family(programs, report=said.append)
        made.append(one)
        one.start()
        return one, said

    yield make
    for one in made:
        one.stop()


def pids(one):
    return [child.process.pid for child in one._children]


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_family_is_ready_when_every_child_is(family, tmp_path):
    ready = set()
    one, _ = family(
        program(STAY, tmp_path, "a", ready.__contains__),
        program(STAY, tmp_path, "b", ready.__contains__),
    )
    ready.update(pids(one))
    assert one.wait_ready(threading.Event(), 60) is None


def test_family_ends_with_the_code_of_a_child_that_never_got_ready(family, tmp_path):
    one, said = family(
        program(STAY, tmp_path, "a"), program("raise SystemExit(3)", tmp_path, "b", lambda _: False)
    )
    assert one.wait_ready(threading.Event(), 60) == 3
    assert said == ["b ended with 3 before it was ready"]


def test_family_gives_up_waiting_for_a_child_that_does_not_get_ready(family, tmp_path):
    one, said = family(program(STAY, tmp_path, "a", lambda _: False))
    assert one.wait_ready(threading.Event(), 0.2) == 3
    assert "a did not get ready" in said[0]


def test_family_starts_a_child_again_that_was_ready_and_dies(family, tmp_path):
    one, said = family(program(STAY, tmp_path))
    one.wait_ready(threading.Event(), 60)
    (before,) = pids(one)
    os.kill(before, signal.SIGKILL)
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    assert one.watch(stop) == 0
    assert pids(one) != [before]
    assert said == ["child was killed by SIGKILL; starting it again"]


def test_family_gives_up_a_child_that_does_not_stay_up(family, tmp_path, monkeypatch):
    monkeypatch.setattr("tegula.cli.children.BACKOFF_MAX_S", 0.0)
    one, said = family(program("raise SystemExit(7)", tmp_path))
    one._children[0].ready = True
    assert one.watch(threading.Event()) == 7
    assert said[-1] == "child ended with 7, and does not stay up"


def test_family_stops_within_its_bound_even_a_child_that_will_not(family, tmp_path, monkeypatch):
    monkeypatch.setattr("tegula.cli.children.STOP_WITHIN_S", 0.3)
    log = tmp_path / "child.log"
    one, _ = family(program(STUBBORN + STAY, tmp_path, is_ready=lambda _: log.stat().st_size > 0))
    one.wait_ready(threading.Event(), 60)
    (pid,) = pids(one)
    began_s = time.monotonic()
    one.stop()
    assert time.monotonic() - began_s < 30
    assert gone(pid)


def test_stopping_on_signals_sets_the_event_and_restores_the_handlers():
    before = signal.getsignal(signal.SIGTERM)
    with stopping_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
    assert signal.getsignal(signal.SIGTERM) is before


def test_attached_child_stops_when_its_parent_is_gone():
    code = "from tegula.cli.children import stop_with_parent; stop_with_parent(); " + STAY
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    child.stdin.close()
    assert child.wait(20) == -signal.SIGTERM
