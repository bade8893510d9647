"""Parity, checked again and again beside a running engine, by a process that gives way to all.

Each check is a process of its own, `tegula parity`, at a low priority: it holds no lock of the
engine's, and its memory goes with it. What a check has taken of a core is paid for by waiting, so
that over time checks take no more than the share that the settings allow.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ..engine.settings import Settings
from .exits import FAULT, OK

_LOG = logging.getLogger(__name__)

LOOK_S: Final = 0.2

Check = Callable[[threading.Event], tuple[int | None, float]]
"""Runs one check; its exit code, None if the event stopped it, and what it took of a core in s."""


@contextlib.contextmanager
def verifying(settings: Settings, check: Check | None = None) -> Iterator[None]:
    """Check parity at the settings' interval, from one interval on, until the block ends."""
    if not settings.parity_interval_s:
        yield
        return
    stop = threading.Event()
    run = check or (lambda stop: _check(_command(settings), stop))
    thread = threading.Thread(
        target=_repeat, args=(settings, run, stop), name="tegula-parity", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _repeat(settings: Settings, check: Check, stop: threading.Event) -> None:
    wait_s = settings.parity_interval_s
    while not stop.wait(wait_s):
        code, took_s = check(stop)
        if code == FAULT:
            _LOG.error("served values differ from history without a cause: `tegula parity` says")
        elif code not in (OK, None):
            _LOG.warning("parity could not be checked: `tegula parity` says why")
        wait_s = pause_s(settings, took_s)


def pause_s(settings: Settings, took_s: float) -> float:
    """How long to wait after a check that took so many seconds of a core."""
    return max(settings.parity_interval_s, took_s / settings.parity_core_share - took_s)


def _command(settings: Settings) -> Sequence[str]:
    tegula = (sys.executable, "-m", "tegula.cli.main")
    return (*tegula, "parity", "--background", "--json", "--project", str(settings.project))


def _check(command: Sequence[str], stop: threading.Event) -> tuple[int | None, float]:
    nothing = subprocess.DEVNULL
    # In a session of its own: Ctrl-C is for us, and we end it.
    process = subprocess.Popen(  # noqa: S603
        command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
    )
    stopped = False
    while True:
        # By hand, because only so is it known what this one child has taken.
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if ended:
            process.returncode = os.waitstatus_to_exitcode(status)
            took_s = used.ru_utime + used.ru_stime
            return (None if stopped else process.returncode), took_s
        if stop.wait(LOOK_S) and not stopped:
            process.terminate()
            stopped = True
        elif stopped:
            threading.Event().wait(LOOK_S)
