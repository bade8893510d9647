"""Values by the clock `served`: what serving answered, from its log; nothing is computed.

The share of answers that is kept, and which definitions had answered, are part of what a set says
of itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from ...engine.progress import Report
from ...engine.settings import Settings
from ...state.served_columns import status_column
from .answered import AnswerBuckets, Used, columns_of, frame_of
from .answers import open_logs
from .asked import Keys
from .buckets import SpineBuckets
from .order import Order
from .spool import Workspace

_ANSWER_BYTES: Final = 160
"""About what an answer costs in a bucket, its values apart."""


class FromAnswers:
    """The evidence of a set whose values were served: each log, read once.

    Answers from `first_us`, or as much before it as they may be old, to `last_us` are read.
    """

    def __init__(self, order: Order, settings: Settings, first_us: int, last_us: int) -> None:
        self._order = order
        options = order.options
        self._service, _, self._version = (options.served_by or "").partition("@")
        self._first_us = None if options.max_age_us is None else first_us - options.max_age_us
        self._last_us = last_us
        self._logs = open_logs(settings, order.asked.columns, self._service or None, order.ends)
        self._buckets: dict[Keys, AnswerBuckets] = {}
        self._used: dict[int, Used] = {}
        self._backdated = 0

    @property
    def size_bytes(self) -> int:
        """About what all answers take in buckets."""
        values = 24 * len(self._order.asked.columns)
        return self._record_count * (_ANSWER_BYTES + values)

    @property
    def _record_count(self) -> int:
        return sum(log.table.count(self._first_us, self._last_us) for log in self._logs)

    def read(
        self, spines: Mapping[Keys, SpineBuckets], workspace: Workspace, progress: Report
    ) -> None:
        """Hand every answer that may be taken to the bucket of its keys."""
        options, parts = self._order.options, self._order.asked.parts
        for keys, spine in spines.items():
            mine = [part for part in parts if part.keys == keys]
            self._buckets[keys] = AnswerBuckets(workspace, spine, mine, options)
        columns = columns_of(parts, options)
        total, done = self._record_count, 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress("Reading answers", done, total)

        for number, log in enumerate(self._logs):
            for rows in log.read(columns, self._first_us, self._last_us, advance):
                counted = self._counted(rows)
                for one in self._buckets.values():
                    one.add(number, counted)

    def _counted(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows that may be taken: of the version that is asked for, and of their own instant.

        What was answered `as_of` another instant says nothing of this one; a trace names it all the
        same.
        """
        if self._version:
            rows = rows.filter(pl.col("_version") == int(self._version))
        if self._order.options.trace is None:
            of_now = rows.filter(pl.col("_as_of").is_null())
            self._backdated += rows.height - of_now.height
            rows = of_now
        return rows

    def frames(self, spines: Mapping[Keys, SpineBuckets], bucket: int) -> list[pl.DataFrame]:
        """The columns of every part for the rows in one bucket."""
        used = self._used[bucket] = Used()
        buckets = {keys: one.bucket(bucket) for keys, one in self._buckets.items()}
        options = self._order.options
        return [
            frame_of(part, buckets[part.keys], options, used) for part in self._order.asked.parts
        ]

    def drop(self, bucket: int) -> None:
        """Forget the answers of a bucket."""
        for one in self._buckets.values():
            one.drop(bucket)

    @property
    def _whole(self) -> Used:
        whole = Used()
        for one in self._used.values():
            whole.add(one)
        return whole

    @property
    def notes(self) -> list[str]:
        """What whoever uses the set should know of the answers."""
        said = [
            f"a share of {log.share:.6g} of the answers of service {log.service!r} is kept: the "
            "newest of them need not be the newest that was given"
            for log in self._logs
            if log.share < 1
        ]
        never = [
            name
            for name in self._order.asked.columns
            if not any(status_column(name) in log.table.columns for log in self._logs)
        ]
        said += [f"no served log has {name!r}" for name in never]
        if self._backdated:
            said.append(
                f"{self._backdated} answers to requests with an `as_of` were left out: they say "
                "nothing of the instant at which they were given"
            )
        of_other_types = sum((one.of_other_types for one in self._buckets.values()), Counter[str]())
        said += [
            f"{count} answers have {name!r} in another type, and were left out"
            for name, count in sorted(of_other_types.items())
            if count
        ]
        return said + self._redefined()

    def _redefined(self) -> list[str]:
        """Values that were answered by other definitions than those of the set."""
        now = {part.build.view: part.build.fingerprint for part in self._order.asked.parts}
        counts = Counter[str]()
        for (_, _, view, fingerprint), count in self._whole.values.items():
            if fingerprint is not None and fingerprint != now[view]:
                counts[view] += count
        return [
            f"{count} values of view {view!r} were served by another definition than the set's"
            for view, count in sorted(counts.items())
        ]

    @property
    def facts(self) -> dict[str, Any]:
        """What was read, and where values come from, for the manifest."""
        options, whole = self._order.options, self._whole
        count = whole.values.total()
        services = [log.service for log in self._logs]
        answers = sorted(
            (services[service], version, view, fingerprint or "", values)
            for (service, version, view, fingerprint), values in whole.values.items()
        )
        names = ("service", "version", "view", "fingerprint", "values")
        return {
            "served": {
                "by": options.served_by,
                "max_age_us": options.max_age_us,
                "trace": options.trace,
                "logs": {log.service: log.facts for log in self._logs},
                "answers": [dict(zip(names, one, strict=True)) for one in answers],
                "age_us": {"mean": whole.age_us // count, "max": whole.age_max_us}
                if count
                else None,
            }
        }
