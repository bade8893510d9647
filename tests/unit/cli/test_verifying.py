"""The background check of parity: at its interval, no more of a core than allowed, stopped."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from tegula.cli import verifying as beside
from tegula.cli.exits import FAULT, OK
from tegula.cli.verifying import pause_s, verifying
from tegula.engine.settings import Settings


def settings_of(folder: Path, **given: float) -> Settings:
    return Settings(project=folder, **{"parity_interval_s": 0.01, **given})  # type: ignore[arg-type]


def test_check_is_repeated_until_the_block_ends(tmp_path, caplog):
    codes = iter([OK, FAULT, 3])
    done = threading.Event()

    def check(stop: threading.Event) -> tuple[int | None, float]:
        code = next(codes, None)
        if code is None:
            done.set()
        return code, 0.0

    with verifying(settings_of(tmp_path), check):
        assert done.wait(60)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "without a cause" in caplog.messages[0]


def test_interval_of_nothing_is_no_check(tmp_path):
    before = threading.active_count()
    with verifying(settings_of(tmp_path, parity_interval_s=0)):
        assert threading.active_count() == before


def test_pause_pays_for_what_a_check_took(tmp_path):
    settings = settings_of(tmp_path, parity_interval_s=60.0, parity_core_share=0.05)
    assert pause_s(settings, 1.0) == 60.0
    assert pause_s(settings, 10.0) == 190.0


def test_check_that_runs_is_stopped_with_the_block(tmp_path, monkeypatch):
    started = tmp_path / "started"
    sleeper = f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(600)"
    monkeypatch.setattr(beside, "_command", lambda _: [sys.executable, "-c", sleeper])
    with verifying(settings_of(tmp_path)):
        waiting = threading.Event()
        while not started.exists():
            waiting.wait(0.01)


@pytest.mark.parametrize("code", [0, 1])
def test_exit_code_of_a_check_is_told_and_what_it_took(code):
    command = [sys.executable, "-c", f"sum(range(10**6)); raise SystemExit({code})"]
    ended, took_s = beside._check(command, threading.Event())
    assert ended == code
    assert 0 < took_s < 60
