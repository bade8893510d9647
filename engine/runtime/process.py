"""One engine process: open the home, run the dataflow, stop when told to.

SIGTERM and SIGINT ask for a stop: what was taken from the logs is committed, mirrored and archived,
then the home is let go. A second signal ends at once, which is safe too. Definitions that change
what is running are taken up in the same way: stop, and start anew; servers go on meanwhile. So is
space on a disk that was full. An engine that has run waits for brokers that are away: it would have
waited too had it not been begun anew just then.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Final

from ...schemas.errors import BrokerUnreachable
from ..settings import Settings
from ..steps.worker import ALONE, Worker
from . import dataflow
from .clock import Clock, now_us
from .disk_wait import DiskWait
from .ending import end_in_time, end_without_threads, ended_in_time
from .engine import Engine
from .memory import collect_rarely, keep_freed_memory

_LOG: Final = logging.getLogger(__name__)

AGAIN_S: Final = 1.0
"""How long an engine that has run waits before it asks its brokers again."""


def run(
    settings: Settings,
    *,
    clock: Clock = now_us,
    stop: threading.Event | None = None,
    worker: Worker = ALONE,
    addresses: Sequence[str] = (),
) -> None:
    """Run an engine over the project until a signal, or until `stop` is set by another thread.

    One `worker` of several reaches the others at `addresses` (`host:port` by their index), and ends
    when they do.

    Raises what opening it raises (`StateHeld`, `NothingApplied`, `BrokerUnreachable`, …) and what
    the dataflow could not go on with: `OwnAggregateFailed` where the user's own code raised,
    `WorkerLost` where another worker is gone.
    """
    keep_freed_memory()
    stop = stop or threading.Event()
    if threading.current_thread() is not threading.main_thread():
        _run_until(stop, settings, clock, worker, addresses)
        return
    _stop_on_signals(stop)
    with ended_in_time():
        _run_until(stop, settings, clock, worker, addresses)
    end_without_threads()


def _run_until(
    stop: threading.Event,
    settings: Settings,
    clock: Clock,
    worker: Worker,
    addresses: Sequence[str],
) -> None:
    waiting, has_run = DiskWait(settings, stop), False
    while True:
        with waiting.for_room():
            try:
                with Engine(settings, clock=clock, stop=stop, worker=worker) as engine:
                    has_run = True
                    collect_rarely()
                    _run(engine, addresses)
            except BrokerUnreachable as fault:
                if not has_run:
                    raise
                _LOG.warning("%s; the engine goes on when they answer", fault)
                stop.wait(AGAIN_S)
            else:
                engine.ending.tell()
                if not engine.outdated:
                    return
        if stop.is_set():
            return


def _run(engine: Engine, addresses: Sequence[str]) -> None:
    try:
        dataflow.run(engine, addresses)
    except Exception as fault:
        blamed = engine.own.blamed(fault)
        if blamed is None:
            raise
        raise blamed from fault


def _stop_on_signals(stop: threading.Event) -> None:
    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        end_in_time()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
