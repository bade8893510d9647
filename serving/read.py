"""From keys to values: rows out of the online store, finished at an instant.

`fetch` reads the rows. A few keys take `single`, one by one; many become columns and take
`windows.finish`; both give the same. An absent row means `NOT_FOUND` only where the shard's mark
says that the build is complete. Otherwise the view's values are null and their status is `ERROR`:
a store that is being rebuilt never answers zeros.

A view that cannot be read costs its own values; the other views of the request are answered.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..schemas.outcomes import Status
from ..state.online.rows import OnlineReader
from ..state.packing import STAMPED_BYTES
from ..windows.finish import finish
from ..windows.tiles import NEVER_US
from .fetch import Marks, ahead_of, hours_of, refined, rows_of
from .plan import FeaturePlan, Part
from .single import SingleAnswer
from .tables import NO_ROW, StoredRow, instants_of, newest_before, table_of

_LOG = logging.getLogger(__name__)

_ERROR: Final = int(Status.ERROR)
_PRESENT: Final = int(Status.PRESENT)
_STALE: Final = int(Status.STALE)
_AGING: Final = (_PRESENT, int(Status.EMPTY))

_NO_VALUES: Final[list[Any]] = []

FEW_KEYS: Final = 16
"""Up to so many keys are quicker one by one than as columns (`benchmarks/serving.py`)."""

KEYS_AT_ONCE: Final = 128
"""Keys that are read before other requests get their turn."""

LOG_EVERY_S: Final = 10.0

_NEWEST_AND_HORIZON: Final = struct.Struct("<16xq24xq")
assert _NEWEST_AND_HORIZON.size == STAMPED_BYTES

Bounds = tuple[list[int], list[int]]


@dataclass(slots=True)
class Reply:
    """What was read for n keys.

    `values` and `statuses` (numbers of `Status`) by feature, each with n entries; a feature without
    statuses is `PRESENT` throughout. `newest_us` by view: the event time of each key's newest fact
    before the instant, None if there is none. `bounds` by feature: starts and ends of what was
    counted, in µs. These two only if they were asked for. `marks` holds, for each slice of the keys
    that was read at once, by view the marks of the shards that were read.
    """

    values: dict[str, list[Any]]
    statuses: dict[str, list[int]]
    newest_us: dict[str, list[int | None]] = field(default_factory=dict)
    bounds: dict[str, Bounds] = field(default_factory=dict)
    marks: list[dict[str, Marks]] = field(default_factory=list)

    def extend(self, other: Reply, begin: int, end: int) -> None:
        """Add what was read for the keys `[begin, end)`; `self` holds those before."""
        for name, values in other.values.items():
            self.values[name].extend(values)
        for name in self.statuses.keys() | other.statuses.keys():
            statuses = self.statuses.setdefault(name, [_PRESENT] * begin)
            statuses.extend(other.statuses.get(name) or [_PRESENT] * (end - begin))
        for view, newest in other.newest_us.items():
            self.newest_us[view].extend(newest)
        for name, (starts, ends) in other.bounds.items():
            self.bounds[name][0].extend(starts)
            self.bounds[name][1].extend(ends)
        self.marks += other.marks


class FeatureReader:
    """Reads features from an online store. Not shared between threads, as the store is not."""

    def __init__(self, store: OnlineReader) -> None:
        self._store = store
        self._log_again_s: dict[str, float] = {}

    def read(
        self,
        plan: FeaturePlan,
        keys: Sequence[Sequence[bytes | None]],
        key_count: int,
        shards: int,
        at_us: int,
        *,
        detailed: bool = False,
        max_age_us: int | None = None,
    ) -> Reply:
        """The features of `plan` for `key_count` keys at `at_us`.

        `keys` holds, for each entity of the plan, one encoded key a row, None where it is null;
        `shards` is how many slices the key space has.
        """
        detailed = detailed or max_age_us is not None
        # Every list is replaced below; they stand here for the order of the answer.
        reply = Reply(dict.fromkeys(plan.names, _NO_VALUES), {})
        reply.marks.append({})
        store = ahead_of(self._store, plan, keys, shards, at_us)
        for part in plan.parts:
            encoded = keys[part.entity]
            try:
                marks = reply.marks[0][part.view] = {}
                if detailed or key_count > FEW_KEYS:
                    _many(store, part, encoded, shards, at_us, reply, detailed, marks)
                else:
                    _few(store, part, encoded, shards, at_us, reply, marks)
            except Exception:  # noqa: BLE001 - whatever fails here fails one view, not the request
                self._log(part.view)
                _fail(reply, part.names, key_count, detailed)
                if detailed:
                    reply.newest_us[part.view] = [None] * key_count
        if plan.unready:
            _fail(reply, plan.unready, key_count, detailed)
        if max_age_us is not None:
            _age(reply, plan, at_us - max_age_us)
        return reply

    def _log(self, view: str) -> None:
        """Log why a view cannot be read, but not thousands of times a second."""
        now_s = time.perf_counter()
        if now_s >= self._log_again_s.get(view, 0.0):
            self._log_again_s[view] = now_s + LOG_EVERY_S
            _LOG.exception("view %r cannot be read", view)


def _few(
    store: OnlineReader,
    part: Part,
    keys: Sequence[bytes | None],
    shards: int,
    at_us: int,
    reply: Reply,
    marks: Marks,
) -> None:
    """Answer some keys one by one, from their rows as they lie where that can be."""
    rows = rows_of(store, part, keys, shards, hours_of(part, at_us), marks)
    answers = [
        _failed(part) if row is None else part.single(row[0], row[1], at_us, row[2]) for row in rows
    ]
    declined = [i for i, answer in enumerate(answers) if answer is None]
    if declined:
        again = refined(store, part, [keys[i] for i in declined], shards, at_us, marks)
        stored = again or [rows[i] for i in declined]
        columns = _by_columns(part, [row or NO_ROW for row in stored], at_us)
        for i, row, answer in zip(declined, stored, columns, strict=True):
            answers[i] = _failed(part) if row is None else answer
    whole = [answer for answer in answers if answer is not None]
    for number, name in enumerate(part.names):
        reply.values[name] = [answer.values[number] for answer in whole]
    if any(any(answer.statuses) for answer in whole):
        for number, name in enumerate(part.names):
            reply.statuses[name] = [answer.statuses[number] for answer in whole]


def _many(
    store: OnlineReader,
    part: Part,
    keys: Sequence[bytes | None],
    shards: int,
    at_us: int,
    reply: Reply,
    detailed: bool,
    marks: Marks,
) -> None:
    """Answer any keys as columns: each distinct key is read and finished once."""
    distinct = list(dict.fromkeys(keys))
    place = {key: i for i, key in enumerate(distinct)}
    index = [place[key] for key in keys]
    rows = rows_of(store, part, distinct, shards, hours_of(part, at_us), marks)
    unsettled = [i for i, row in enumerate(rows) if row and not _is_settled(row, at_us)]
    again = refined(store, part, [distinct[i] for i in unsettled], shards, at_us, marks)
    for i, row in zip(unsettled, again, strict=False):
        rows[i] = row
    failed = [i for i, row in enumerate(rows) if row is None]
    stored = [row or NO_ROW for row in rows]
    keyed, horizon_us = table_of(part.shape, stored)
    instants = instants_of(part.shape, stored)
    columns = finish(part.shape, keyed, at_us, horizon_us, part.features, instants)
    for name, column in zip(part.names, columns, strict=True):
        values, statuses = column.values, column.statuses.tolist()
        for i in failed:
            values[i], statuses[i] = None, _ERROR
        reply.values[name] = [values[i] for i in index]
        reply.statuses[name] = [statuses[i] for i in index]
        if detailed:
            starts, ends = column.start_us.tolist(), column.end_us.tolist()
            reply.bounds[name] = [starts[i] for i in index], [ends[i] for i in index]
    if detailed:
        newest = newest_before(keyed, instants, at_us)
        reply.newest_us[part.view] = [newest[i] for i in index]


def _is_settled(row: StoredRow, at_us: int) -> bool:
    """Whether the instant lies after the key's newest event, and at or after its horizon."""
    for block in row[:2]:
        if block is not None and len(block) >= STAMPED_BYTES:
            newest_us, horizon_us = _NEWEST_AND_HORIZON.unpack_from(block)
            if at_us <= newest_us or at_us < horizon_us:
                return False
    return True


def _failed(part: Part) -> SingleAnswer:
    count = len(part.names)
    return SingleAnswer([None] * count, [_ERROR] * count)


def _by_columns(part: Part, rows: Sequence[StoredRow], at_us: int) -> list[SingleAnswer]:
    """The answers for some keys, finished as columns."""
    keyed, horizon_us = table_of(part.shape, rows)
    instants = instants_of(part.shape, rows)
    columns = finish(part.shape, keyed, at_us, horizon_us, part.features, instants)
    statuses = [column.statuses.tolist() for column in columns]
    return [
        SingleAnswer([column.values[i] for column in columns], [one[i] for one in statuses])
        for i in range(len(rows))
    ]


def _fail(reply: Reply, names: Sequence[str], key_count: int, detailed: bool) -> None:
    for name in names:
        reply.values[name] = [None] * key_count
        reply.statuses[name] = [_ERROR] * key_count
        if detailed:
            reply.bounds[name] = [NEVER_US] * key_count, [NEVER_US] * key_count


def _age(reply: Reply, plan: FeaturePlan, oldest_us: int) -> None:
    """Mark as stale what rests on facts from before `oldest_us`."""
    for part in plan.parts:
        newest = reply.newest_us.get(part.view)
        if newest is None:
            continue
        old = [at is not None and at < oldest_us for at in newest]
        if any(old):
            for name in part.names:
                reply.statuses[name] = [
                    _STALE if stale and status in _AGING else status
                    for stale, status in zip(old, reply.statuses[name], strict=True)
                ]
