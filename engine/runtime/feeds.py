"""From a log's raw batches to decoded ones, in step with the caller or ahead of it in a thread.

Decoding releases Python's lock, so that reading ahead by a few batches puts a second core to use.
What is read ahead is only a matter of speed: positions are those of batches that were taken.
"""

from __future__ import annotations

import queue
import threading
from typing import Final

from ...connectors.decode import DecodedBatch, JsonDecoder
from ...connectors.source import LogReader

ROWS_MAX: Final = 131_072
"""Rows of a batch at most: large enough that the cost a batch does not show."""

_AHEAD: Final = 3


class DecodedFeed:
    """Reads and decodes when asked."""

    def __init__(self, reader: LogReader, decoder: JsonDecoder, rows_max: int = ROWS_MAX) -> None:
        self._reader = reader
        self._decoder = decoder
        self._rows_max = rows_max

    def poll(self) -> DecodedBatch | None:
        """The next batch of any partition, or None if there is nothing now."""
        raw = self._reader.poll(self._rows_max)
        return None if raw is None else self._decoder.decode(raw)

    def seek(self, partition: str, offset: int) -> None:
        """Read a partition from `offset` on."""
        self._reader.seek(partition, offset)

    def close(self) -> None:
        """Give back what the reader holds."""
        self._reader.close()


class ThreadedFeed:
    """The same, some batches ahead, in a thread of its own."""

    def __init__(self, feed: DecodedFeed) -> None:
        self._feed = feed
        self._ready: queue.Queue[DecodedBatch] = queue.Queue(_AHEAD)
        self._seeks: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tegula-decode", daemon=True)
        self._thread.start()

    def poll(self) -> DecodedBatch | None:
        """The next batch that is ready. Raises what reading raised, once all before is taken."""
        fault = self._fault  # asked first: what was read before it is ready by now
        try:
            return self._ready.get_nowait()
        except queue.Empty:
            if fault is not None:
                raise fault from None
            return None

    def seek(self, partition: str, offset: int) -> None:
        """Read a partition from `offset` on, soon; batches of it that are ready stay so."""
        self._seeks.put((partition, offset))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                while not self._seeks.empty():
                    self._feed.seek(*self._seeks.get())
                batch = self._feed.poll()
            except BaseException as fault:  # noqa: BLE001 - a panic of Polars is no `Exception`
                self._fault = fault
                return
            while batch is not None and not self._stop.is_set():
                try:
                    self._ready.put(batch, timeout=0.1)
                    batch = None
                except queue.Full:
                    continue

    def close(self) -> None:
        """Stop reading; what was read ahead is forgotten."""
        self._stop.set()
        self._thread.join()
        self._feed.close()
