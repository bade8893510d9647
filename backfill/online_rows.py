"""The online store against the state: each shard's mark, and the rows of the keys looked at.

Rows are compared where the mark says that they follow the state's last commit; elsewhere they are
still to be written, which is no fault. Tiles of heads and bodies are compared, segments are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np

from ..engine.online import online_reader
from ..engine.plan import Build
from ..engine.runtime.home import boot_id
from ..schemas.errors import TegulaError
from ..state.fold import gather
from ..state.keys import shard_of
from ..state.online.rows import Mark, OnlineReader, marks_of
from ..state.shard import Shard, StoredKey
from .at_rest import AtRest
from .recompute import Recomputed
from .report import Check, Fault, Report, named
from .sample import Chosen
from .tilewise import Settled, counts_differ, states_differ


def compare_online(
    report: Report, home: AtRest, builds: Sequence[Build], chosen: Mapping[int, Chosen]
) -> None:
    """Compare the marks of all shards, and of `builds` the rows of the chosen keys."""
    check = report.begin("online store")
    try:
        with closing(online_reader(home.settings, lambda: 0)) as reader:
            current = _marks(report, check, home, reader)
            for build in builds:
                _rows(report, check, home, reader, build, chosen[build.id], current)
    except TegulaError as fault:
        check.notes.append(f"not compared: {fault.message} ({fault.code})")


def _marks(
    report: Report, check: Check, home: AtRest, reader: OnlineReader
) -> Mapping[int, Sequence[int]]:
    """Compare the marks; returns the builds of which rows follow the state, by shard."""
    current: dict[int, Sequence[int]] = {}
    for shard, mark in zip(home.shards, marks_of(reader, home.shard_count), strict=True):
        said, is_fault = _said(shard, mark)
        check.counts["shards"] += 1
        if is_fault:
            report.blame(Fault("online store", said, shard.number))
        elif said:
            check.counts[said] += 1
        elif mark is not None:
            current[shard.number] = mark.builds
    return current


def _said(shard: Shard, mark: Mark | None) -> tuple[str, bool]:
    """What a mark says against its state, and whether that is a fault; nothing if they agree."""
    if mark is None:
        return "to be written", False
    if mark.incarnation != shard.incarnation:
        return "of another incarnation, to be written anew", False
    if mark.commit > shard.commit_number and _lost_commits(shard):
        return "ahead of what a power cut left, to be written anew", False
    if mark.commit > shard.commit_number:
        said = f"it follows commit {mark.commit}; the state has made {shard.commit_number}"
        return f"{said}: the state went back", True
    known = shard.mirrored()
    if known is None or not known.vouches(mark):
        return "not as the engine left them, to be written anew", False
    return ("behind, to be brought on" if mark.commit < shard.commit_number else ""), False


def _lost_commits(shard: Shard) -> bool:
    """Whether the machine went down over the state, so that the next start renews it."""
    boot, identity = boot_id(), shard.identity
    return not identity.clean and (not boot or identity.boot_id != boot)


def _rows(
    report: Report,
    check: Check,
    home: AtRest,
    reader: OnlineReader,
    build: Build,
    chosen: Chosen,
    current: Mapping[int, Sequence[int]],
) -> None:
    by_shard: dict[int, list[bytes]] = {}
    for key in sorted(chosen.keys):
        by_shard.setdefault(shard_of(key, home.shard_count), []).append(key)
    for number, keys in by_shard.items():
        if build.id not in current.get(number, ()):
            continue
        for page in Recomputed.pages(keys):
            check.counts["keys"] += len(page)
            for place, cause in _differ(home.shards[number], reader, build, page):
                _, names = named(home, build.id, page[place])
                where = number, build.id, build.view, names
                report.blame(Fault("online store", f"the online row: {cause}", *where))


def _differ(
    shard: Shard, reader: OnlineReader, build: Build, keys: Sequence[bytes]
) -> Iterator[tuple[int, str]]:
    """The keys whose rows are not what the state is, with the cause; at most one each."""
    try:
        stored = gather(build.shape, keys, shard.read_keys(build.id, keys))
    except Exception:  # noqa: BLE001 - told of with the values
        return
    _, rows = reader.read(shard.number, build.id, keys)
    try:
        there = [StoredKey(head, body, (), ()) for head, body in rows]
        online = gather(build.shape, keys, there)
    except Exception as fault:  # noqa: BLE001 - whatever decoding raises, a row is bad
        if len(keys) == 1:
            yield 0, f"it does not decode: {fault}"
            return
        for place, key in enumerate(keys):
            yield from ((place, cause) for _, cause in _differ(shard, reader, build, [key]))
        return
    horizon_us = np.maximum(stored.horizon_us, online.horizon_us)
    one, two = (Settled.of(build.shape, side, horizon_us) for side in (online, stored))
    causes = {
        place: cause.replace("stored", "online").replace("recomputed", "in the state")
        for place, cause in counts_differ(one, two, len(keys)).items()
    }
    yield from causes.items()
    equal = np.array([place not in causes for place in range(len(keys))], np.bool_)
    newest_us = np.maximum(stored.tiles.newest_us, horizon_us) + 1
    told: set[int] = set()
    for other in states_differ(build.shape, one.of_keys(equal), two.of_keys(equal), newest_us):
        if other.place not in told:
            told.add(other.place)
            yield other.place, f"{other.tile} holds {other.stored}, in the state {other.made}"
