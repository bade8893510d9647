"""From keys to values: rows out of the online store, finished at an instant.

One store step for each shard and view. A few keys take `single`, one by one; many become columns
and take `windows.finish`; both give the same. An absent row means `NOT_FOUND` only where the
shard's mark says that the build is complete. Otherwise the view's values are null and their status
is `ERROR`: a store that is being rebuilt never answers zeros.

A view that cannot be read costs its own values; the other views of the request are answered.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ..schemas.outcomes import Status
from ..state.keys import shard_of
from ..state.online.rows import OnlineReader
from ..state.packing import unpack
from ..windows.finish import finish
from ..windows.shape import Shape
from ..windows.tiles import NEVER_US, KeyedTiles, bounds_of, concat_tiles, empty_tiles
from .plan import FeaturePlan, Part
from .single import SingleAnswer

_LOG = logging.getLogger(__name__)

_ERROR: Final = int(Status.ERROR)
_PRESENT: Final = int(Status.PRESENT)
_STALE: Final = int(Status.STALE)
_AGING: Final = (_PRESENT, int(Status.EMPTY))

_NO_VALUES: Final[list[Any]] = []

FEW_KEYS: Final = 16
"""Up to so many keys are quicker one by one than as columns (`benchmarks/serving.py`)."""

LOG_EVERY_S: Final = 10.0

Row = tuple[bytes | None, bytes | None]
NO_ROW: Final[Row] = (None, None)
Bounds = tuple[list[int], list[int]]


@dataclass(slots=True)
class Reply:
    """What was read for n keys.

    `values` and `statuses` (numbers of `Status`) by feature, each with n entries; a feature without
    statuses is `PRESENT` throughout. `newest_us` by view: the event time of each key's newest fact
    before the instant, None if there is none. `bounds` by feature: starts and ends of what was
    counted, in µs. The last two only if they were asked for.
    """

    values: dict[str, list[Any]]
    statuses: dict[str, list[int]]
    newest_us: dict[str, list[int | None]] = field(default_factory=dict)
    bounds: dict[str, Bounds] = field(default_factory=dict)

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
        for part in plan.parts:
            encoded = keys[part.entity]
            try:
                if detailed or key_count > FEW_KEYS:
                    self._many(part, encoded, shards, at_us, reply, detailed)
                else:
                    self._few(part, encoded, shards, at_us, reply)
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
        self,
        part: Part,
        keys: Sequence[bytes | None],
        shards: int,
        at_us: int,
        reply: Reply,
    ) -> None:
        """Answer some keys one by one, from their rows as they lie where that can be."""
        rows = self._rows(part, keys, shards)
        answers = [_failed(part) if row is None else part.single(*row, at_us) for row in rows]
        declined = [i for i, answer in enumerate(answers) if answer is None]
        if declined:
            columns = _by_columns(part, [rows[i] or NO_ROW for i in declined], at_us)
            for i, answer in zip(declined, columns, strict=True):
                answers[i] = answer
        whole = [answer for answer in answers if answer is not None]
        for number, name in enumerate(part.names):
            reply.values[name] = [answer.values[number] for answer in whole]
        if any(any(answer.statuses) for answer in whole):
            for number, name in enumerate(part.names):
                reply.statuses[name] = [answer.statuses[number] for answer in whole]

    def _many(
        self,
        part: Part,
        keys: Sequence[bytes | None],
        shards: int,
        at_us: int,
        reply: Reply,
        detailed: bool,
    ) -> None:
        """Answer any keys as columns: each distinct key is read and finished once."""
        distinct = list(dict.fromkeys(keys))
        place = {key: i for i, key in enumerate(distinct)}
        index = [place[key] for key in keys]
        rows = self._rows(part, distinct, shards)
        failed = [i for i, row in enumerate(rows) if row is None]
        keyed, horizon_us = _table(part.shape, [row or NO_ROW for row in rows])
        columns = finish(part.shape, keyed, at_us, horizon_us, part.features)
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
            newest = _newest(keyed, at_us)
            reply.newest_us[part.view] = [newest[i] for i in index]

    def _rows(self, part: Part, keys: Sequence[bytes | None], shards: int) -> list[Row | None]:
        """(head, body) of each key; None where its shard is not complete for the part's build.

        A null key has no rows.
        """
        rows: list[Row | None] = [NO_ROW] * len(keys)
        by_shard: dict[int, list[tuple[int, bytes]]] = {}
        for i, key in enumerate(keys):
            if key is not None:
                by_shard.setdefault(shard_of(key, shards), []).append((i, key))
        for shard, members in by_shard.items():
            mark, found = self._store.read(shard, part.build, [key for _, key in members])
            complete = mark is not None and part.build in mark.builds
            for (i, _), row in zip(members, found, strict=True):
                rows[i] = row if complete else None
        return rows


def _failed(part: Part) -> SingleAnswer:
    count = len(part.names)
    return SingleAnswer([None] * count, [_ERROR] * count)


def _by_columns(part: Part, rows: Sequence[Row], at_us: int) -> list[SingleAnswer]:
    """The answers for some keys, finished as columns."""
    keyed, horizon_us = _table(part.shape, rows)
    columns = finish(part.shape, keyed, at_us, horizon_us, part.features)
    statuses = [column.statuses.tolist() for column in columns]
    return [
        SingleAnswer([column.values[i] for column in columns], [one[i] for one in statuses])
        for i in range(len(rows))
    ]


def _table(shape: Shape, rows: Sequence[Row]) -> tuple[KeyedTiles, np.ndarray]:
    """All rows as one table of tiles by key, and the keys' horizons."""
    newest_us, horizon_us = np.full(len(rows), NEVER_US), np.full(len(rows), NEVER_US)
    owners, parts = [np.empty(0, dtype=np.int64)], [empty_tiles(shape)]
    for side in (1, 0):  # bodies hold the older tiles
        have = np.array([i for i, row in enumerate(rows) if row[side] is not None], dtype=np.int64)
        if not len(have):
            continue
        blocks = unpack(shape, [rows[i][side] or b"" for i in have.tolist()], stamped=True)
        owners.append(np.repeat(have, np.diff(blocks.bounds)))
        parts.append(blocks.tiles)
        newest_us[have] = np.maximum(newest_us[have], blocks.newest_us)
        horizon_us[have] = np.maximum(horizon_us[have], blocks.stamps.horizon_us)
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    tiles = concat_tiles(parts).take(order)
    keys = pa.array([b""] * len(rows), type=pa.large_binary())
    return KeyedTiles(keys, bounds_of(owner[order], len(rows)), newest_us, tiles), horizon_us


def _newest(keyed: KeyedTiles, at_us: int) -> list[int | None]:
    """The newest event time before `at_us` of each key; a tile's start where only that is known."""
    newest_us = np.where(keyed.newest_us < at_us, keyed.newest_us, NEVER_US)
    later = np.flatnonzero(keyed.newest_us >= at_us)
    if len(later):
        key, starts = keyed.key_of_tile, keyed.tiles.start_us
        before = (starts < at_us) & np.isin(key, later)
        np.maximum.at(newest_us, key[before], starts[before])
    return [None if at == NEVER_US else at for at in newest_us.tolist()]


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
