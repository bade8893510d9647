"""The time that the parts of an engine have once it was asked to stop."""

from __future__ import annotations

import threading

import pytest

from tegula.engine.runtime import ending
from tegula.engine.runtime.ending import Ending


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when told to."""
    now_s = [100.0]
    monkeypatch.setattr(ending, "perf_counter", lambda: now_s[0])
    return now_s


def test_time_begins_with_the_first_that_asks_after_the_stop(clock):
    stop = threading.Event()
    found = Ending(stop, within_s=2.0)
    assert found.left_s() is None
    assert not found.is_over()
    clock[0] = 200.0
    stop.set()
    assert (found.left_s(), found.left_s(0.5)) == (2.0, 1.0)
    clock[0] = 201.5
    assert (found.left_s(), found.is_over(0.5), found.is_over()) == (0.5, True, False)
    clock[0] = 300.0
    assert (found.left_s(), found.is_over()) == (0.0, True)


def test_thread_that_does_not_end_in_time_is_left_behind_and_told_of(caplog):
    stop, never = threading.Event(), threading.Event()
    stop.set()
    found = Ending(stop, within_s=0.02)
    thread = threading.Thread(target=never.wait, args=(60,), name="tegula-stuck", daemon=True)
    thread.start()
    assert not found.join(thread)
    assert not found.is_whole
    found.tell()
    assert "without waiting longer for tegula-stuck" in caplog.text
    never.set()
    thread.join()


def test_engine_that_nobody_asked_to_stop_waits_for_its_threads(caplog):
    go, found = threading.Event(), Ending(threading.Event(), within_s=0.0)
    thread = threading.Thread(target=lambda: go.wait(60), daemon=True)
    thread.start()
    waiting = threading.Timer(0.15, go.set)
    waiting.start()
    assert found.join(thread)
    assert found.is_whole
    found.tell()
    assert not caplog.text
    waiting.join()
