"""What the servers count, and how Prometheus reads it.

Every figure is one cell of a file that all server processes of a home map, each with a row of its
own: counting is one addition, without a lock, and whichever process is scraped adds the rows up.
(The client library's own multiprocess mode costs a quarter of a hot request and drops what is not
a counter: measured.) Latency buckets start at 50 µs, because that is where requests are.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from ..schemas.outcomes import RecordCode, Status

ROUTES: Final = ("features", "events", "health", "metrics", "other")
CLASSES: Final = ("2xx", "4xx", "5xx")
BUCKETS_US: Final = (
    50, 75, 100, 150, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 7_500, 10_000,
    15_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
)  # fmt: skip
SERVED: Final = ("chosen", "written", "full", "unreadable", "lost")
"""What becomes of answers and the served log: those that were chosen for it; of these, those that
are in it; those that met a full buffer, could not be made rows, or were not written at the end."""

_STATUSES: Final = tuple(Status)
_OTHER_CODE: Final = "other"
_CODES: Final = (*map(str, RecordCode), _OTHER_CODE)  # the log's own errors are no record's fault
_CODE_AT: Final = {code: number for number, code in enumerate(_CODES)}

_ROUTE_CELLS: Final = len(CLASSES) + 1 + len(BUCKETS_US) + 1  # classes, sum of ns, buckets, +Inf
_STATUS_AT: Final = _ROUTE_CELLS * len(ROUTES)
_RECORD_AT: Final = _STATUS_AT + len(_STATUSES)
_KEYS_AT: Final = _RECORD_AT + len(_CODES)
_ACCEPTED_AT: Final = _KEYS_AT + 1
_SERVED_AT: Final = _ACCEPTED_AT + 1
_CELLS: Final = _SERVED_AT + len(SERVED)

Gauges = Callable[[], Iterable[Metric]]


class Counters:
    """The counts of one server process: one row of the shared cells.

    `path` is the file that the processes share, `row` this process's, of `rows`. Without a path
    the counts are this process's own.
    """

    def __init__(self, path: Path | None = None, row: int = 0, rows: int = 1) -> None:
        size = 8 * _CELLS * rows
        if path is None:
            self._map = mmap.mmap(-1, size)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a+b") as file:
                file.truncate(size)
                # A hole that is written to by mapping, while the disk is full, would kill.
                os.posix_fallocate(file.fileno(), 0, size)
                self._map = mmap.mmap(file.fileno(), size)
        self._rows = rows
        self._all = memoryview(self._map).cast("q")
        self._cells = self._all[row * _CELLS : (row + 1) * _CELLS]
        self._cells[:] = memoryview(bytes(8 * _CELLS)).cast("q")

    def request(self, route: int, http_status: int, took_ns: int) -> None:
        """Count one answered request; `route` is its place in `ROUTES`."""
        cells, at = self._cells, route * _ROUTE_CELLS
        cells[at + (0 if http_status < 400 else 1 if http_status < 500 else 2)] += 1
        cells[at + 3] += took_ns
        cells[at + 4 + bisect_left(BUCKETS_US, took_ns / 1_000)] += 1

    def values(self, key_count: int, feature_count: int, others: Iterable[Sequence[int]]) -> None:
        """Count served values; `others` are statuses of those features that are not all present."""
        cells = self._cells
        cells[_KEYS_AT] += key_count
        present = key_count * feature_count
        for statuses in others:
            for status in statuses:
                if status:
                    cells[_STATUS_AT + status] += 1
                    present -= 1
        cells[_STATUS_AT] += present

    def events(self, accepted_count: int, rejected: Iterable[str]) -> None:
        """Count pushed events; `rejected` are the codes of those that were refused."""
        self._cells[_ACCEPTED_AT] += accepted_count
        for code in rejected:
            self._cells[_RECORD_AT + _CODE_AT.get(code, _CODE_AT[_OTHER_CODE])] += 1

    def served(self, outcome: str, count: int = 1) -> None:
        """Count answers for the served log; `outcome` is one of `SERVED`."""
        self._cells[_SERVED_AT + SERVED.index(outcome)] += count

    def total(self, at: int) -> int:
        """The sum of one cell over all processes."""
        return sum(self._all[row * _CELLS + at] for row in range(self._rows))

    def close(self) -> None:
        """Let the shared cells go."""
        self._cells.release()
        self._all.release()
        self._map.close()


class ServerCollector:
    """Presents the counts of all server processes, and gauges that are asked for at each scrape."""

    def __init__(self, counters: Counters, gauges: Sequence[Gauges] = ()) -> None:
        self._counters = counters
        self._gauges = tuple(gauges)

    def collect(self) -> Iterable[Metric]:
        """All families, as the client library asks for them."""
        total = self._counters.total
        requests = CounterMetricFamily(
            "tegula_requests", "Requests answered.", labels=["route", "status"]
        )
        seconds = HistogramMetricFamily(
            "tegula_request_seconds", "Time to answer a request.", labels=["route"]
        )
        for number, route in enumerate(ROUTES):
            at = number * _ROUTE_CELLS
            for place, status in enumerate(CLASSES):
                requests.add_metric([route, status], total(at + place))
            count, buckets = 0, []
            for place, bound in enumerate((*(us / 1e6 for us in BUCKETS_US), "+Inf")):
                count += total(at + 4 + place)
                buckets.append((str(bound), count))
            seconds.add_metric([route], buckets, total(at + 3) / 1e9)
        values = CounterMetricFamily("tegula_values", "Values served.", labels=["status"])
        for one in _STATUSES:
            values.add_metric([one.name], total(_STATUS_AT + one))
        rejected = CounterMetricFamily(
            "tegula_push_rejected", "Pushed events that were refused.", labels=["code"]
        )
        for number, code in enumerate(_CODES):
            rejected.add_metric([code], total(_RECORD_AT + number))
        yield from (requests, seconds, values, rejected)
        yield CounterMetricFamily("tegula_keys", "Keys read.", value=total(_KEYS_AT))
        yield CounterMetricFamily(
            "tegula_push_accepted", "Pushed events that were appended.", value=total(_ACCEPTED_AT)
        )
        served = CounterMetricFamily(
            "tegula_served",
            "Answers for the served log: chosen; of these written, or not kept: full, unreadable, "
            "lost.",
            labels=["outcome"],
        )
        for number, outcome in enumerate(SERVED):
            served.add_metric([outcome], total(_SERVED_AT + number))
        yield served
        for gauges in self._gauges:
            yield from gauges()


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """One gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)
