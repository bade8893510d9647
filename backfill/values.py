"""The values of a state, compared with those of its events made anew, key by key."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from ..connectors.rfc3339 import format_instant
from ..engine.plan import Build
from ..schemas.errors import StateCorrupt, TegulaError
from ..state.keys import shard_of
from ..state.packing import PREFIX
from ..state.shard import Shard, StoredKey
from ..windows.algebra import Int64s
from ..windows.tiles import NEVER_US
from .at_rest import AtRest
from .comparing import Difference, compare, side_of
from .history import History
from .positions import Wholeness, wholeness
from .recompute import Recomputed, recompute
from .report import Fault, Report, named
from .sample import Chosen

_HORIZON: Final = struct.Struct("<24xq")
"""Where a stamp, behind a block's prefix, has the horizon."""

Progress = Callable[[str, int, int | None], None]
"""Is told what goes on, how many units are done, and of how many if that is known."""


def compare_values(
    report: Report,
    home: AtRest,
    histories: Mapping[str, History],
    builds: Sequence[Build],
    chosen: Mapping[int, Chosen],
    progress: Progress,
) -> None:
    """Make the chosen keys anew, stream by stream, and compare."""
    check = report.begin("values")
    stored = Stored(home)
    read = 0

    def advance(count: int) -> None:
        nonlocal read
        read += count
        progress("Reading events", read, None)

    for name, history in histories.items():
        mine = [build for build in builds if build.stream == name]
        if not mine:
            continue
        with tempfile.TemporaryDirectory(prefix="tegula-") as folder:
            place = Path(folder) / "made"
            targets = stored.horizons
            made = recompute(place, history, mine, chosen, home.shards, targets, advance)
            try:
                for build in mine:
                    whole = wholeness(history, build, home.shards, made.counted)
                    check.notes.extend(one for one in whole.notes if one not in check.notes)
                    for odd in whole.odd:
                        report.odd(home, odd)
                    _compare(report, home, stored, made, build, chosen[build.id], whole)
            finally:
                made.shard.abandon()
    check.counts["events"] = read


def _compare(
    report: Report,
    home: AtRest,
    stored: Stored,
    made: Recomputed,
    build: Build,
    chosen: Chosen,
    whole: Wholeness,
) -> None:
    check = report.checks[-1]
    by_shard: dict[int, list[bytes]] = {}
    for key in sorted({*chosen.keys, *made.keys.get(build.id, ())}):
        by_shard.setdefault(shard_of(key, home.shard_count), []).append(key)
    for shard, keys in by_shard.items():
        for page in made.pages(keys):
            horizons = stored.horizons(build, page).tolist()
            known = [k for k, at in zip(page, horizons, strict=True) if whole.covers(build, at)]
            check.counts["keys"] += len(known)
            check.counts["values"] += len(known) * len(build.shape.features)
            check.counts["keys not compared"] += len(page) - len(known)
            for key, one in _differences(stored, made, build, known, report.seed):
                _, names = named(home, build.id, key)
                at = None if one.at_us is None else format_instant(one.at_us)
                values = one.feature, at, one.stored, one.recomputed
                place = shard, build.id, build.view, names
                report.blame(Fault("values", one.cause, *place, *values))


def _differences(
    stored: Stored, made: Recomputed, build: Build, keys: Sequence[bytes], seed: int
) -> Iterator[tuple[bytes, Difference]]:
    """What differs of some keys of one shard; one that cannot be read is told of alone."""
    if not keys:
        return
    try:
        shard, rows = stored.rows(build, keys)
        ours = side_of(build.shape, build.id, keys, rows, shard)
        rows_made = made.shard.read_keys(build.id, keys)
        theirs = side_of(build.shape, build.id, keys, rows_made, made.shard)
        latest_us = stored.latest_us(build)
        found = list(compare(build.shape, ours, theirs, seed, latest_us))
    except Exception as fault:  # noqa: BLE001 - whatever decoding raises, the rows are bad
        for key in keys if len(keys) > 1 else ():
            yield from _differences(stored, made, build, [key], seed)
        if len(keys) == 1:
            said = fault.got if isinstance(fault, TegulaError) else fault
            yield keys[0], Difference(0, f"the key's rows cannot be read: {said}")
        return
    for one in found:
        yield keys[one.place], one


class Stored:
    """The rows of keys in the state that is verified."""

    def __init__(self, home: AtRest) -> None:
        self._home = home

    def rows(self, build: Build, keys: Sequence[bytes]) -> tuple[Shard, list[StoredKey]]:
        """The rows of keys of one shard, and the shard. Raises `StateCorrupt`."""
        shard = self._home.shards[shard_of(keys[0], self._home.shard_count)]
        return shard, shard.read_keys(build.id, keys)

    def latest_us(self, build: Build) -> int:
        """The latest horizon that a key of a build can have had."""
        return latest_horizon_us(self._home.shards, build)

    def horizons(self, build: Build, keys: Sequence[bytes]) -> Int64s:
        """The horizon that each key has; where it has no row, the latest that it can have had."""
        latest_us = self.latest_us(build)
        return np.array([self._horizon(build, key, latest_us) for key in keys], np.int64)

    def _horizon(self, build: Build, key: bytes, latest_us: int) -> int:
        try:
            (rows,) = self.rows(build, [key])[1]
        except StateCorrupt:
            return latest_us
        if rows.head is None:
            return NEVER_US if rows.chunks else latest_us

        (at_us,) = _HORIZON.unpack_from(rows.head, PREFIX.itemsize)
        return int(at_us)


def latest_horizon_us(shards: Sequence[Shard], build: Build) -> int:
    """The latest horizon that a key of a build can have: by the partition that is furthest on."""
    maxima = [
        at.running_max_us
        for shard in shards
        for (of, _), at in shard.applied.items()
        if of == build.id
    ]
    newest_us = max(maxima, default=NEVER_US)
    if newest_us == NEVER_US:
        return NEVER_US
    return newest_us - build.disorder_us - build.shape.depth_us
