"""Feeds: what is read ahead comes in order, and nobody waits for the thread that reads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tegula.engine.runtime.feeds import ThreadedFeed
from tegula.schemas.errors import BrokerUnreachable


class ScriptedFeed:
    """Gives `count` batches, then `fault` or nothing; a poll may be made to hang."""

    def __init__(self, count: int, fault: BaseException | None = None) -> None:
        self.count = count
        self.fault = fault
        self.given = 0
        self.sought: list[tuple[str, int]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.polling = threading.Event()
        self.closed = False

    def poll(self) -> Any:
        self.polling.set()
        self.go_on.wait()
        if self.given < self.count:
            self.given += 1
            return self.given
        if self.fault is not None:
            raise self.fault
        return None

    def seek(self, partition: str, offset: int) -> None:
        self.sought.append((partition, offset))

    def close(self) -> None:
        self.closed = True


def take(feed: ThreadedFeed, count: int, eventually: Callable[..., None]) -> list[Any]:
    taken: list[Any] = []

    def enough() -> bool:
        batch = feed.poll()
        if batch is not None:
            taken.append(batch)
        return len(taken) >= count

    eventually(enough)
    return taken


def test_threaded_feed_gives_every_batch_in_order(eventually):
    feed = ThreadedFeed(ScriptedFeed(50))  # type: ignore[arg-type]
    assert take(feed, 50, eventually) == list(range(1, 51))
    feed.close()


def test_threaded_feed_raises_the_reader_s_fault_once_all_before_it_is_taken(eventually):
    scripted = ScriptedFeed(5, BrokerUnreachable(bootstrap="nowhere"))
    feed = ThreadedFeed(scripted)  # type: ignore[arg-type]
    assert take(feed, 5, eventually) == [1, 2, 3, 4, 5]
    feed._thread.join()
    for _ in range(2):
        with pytest.raises(BrokerUnreachable):
            feed.poll()
    feed.close()
    assert scripted.closed


def test_threaded_feed_does_not_fall_silent_when_the_decoder_panics(eventually):
    class PanicException(BaseException):
        """As Rust's panics come to Python: caught by no `except Exception`."""

    feed = ThreadedFeed(ScriptedFeed(1, PanicException()))  # type: ignore[arg-type]
    assert take(feed, 1, eventually) == [1]
    feed._thread.join()
    with pytest.raises(PanicException):
        feed.poll()
    feed.close()


def test_seek_does_not_wait_for_a_reader_that_waits_itself(eventually):
    scripted = ScriptedFeed(3)
    scripted.go_on.clear()
    feed = ThreadedFeed(scripted)  # type: ignore[arg-type]
    scripted.polling.wait()
    feed.seek("2", 7)
    assert scripted.sought == []
    scripted.go_on.set()
    eventually(lambda: scripted.sought == [("2", 7)])
    feed.close()


def test_closing_ends_a_thread_that_has_read_as_far_ahead_as_it_may(eventually):
    scripted = ScriptedFeed(1_000)
    feed = ThreadedFeed(scripted)  # type: ignore[arg-type]
    eventually(feed._ready.full)
    feed.close()
    assert scripted.closed
    assert scripted.given < 10
