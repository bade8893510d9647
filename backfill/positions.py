"""Whether positions and counts of a state fit the log, the archive and each other.

A position past the end of log and archive counts events that nobody has; one before the log's
beginning waits for events that the log no longer gives. Shards may differ after a crash, as long as
the log still holds what the last of them has to read. Counts are compared with each other, and with
the records that archive and log hold: so it is also known whether a key can be made anew at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..engine.plan import Build
from ..state.rows import COUNTERS
from ..state.shard import Shard
from ..windows.tiles import NEVER_US
from .history import History, ends_of
from .recompute import Counted

UNKNOWN_US: Final = 2**62
"""Until when events may be gone, where nothing tells."""


@dataclass(frozen=True, slots=True)
class Odd:
    """Something about a partition, or a shard's position in it, that cannot be right."""

    cause: str
    build: int | None = None
    shard: int | None = None
    stored: str | None = None
    recomputed: str | None = None


@dataclass
class Wholeness:
    """What of a build's events is still there: all, or all after an instant.

    `gone_until_us`: events before it may be gone; None if none are. `odd` are counts that do not
    fit archive and log.
    """

    gone_until_us: int | None = None
    odd: list[Odd] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def covers(self, build: Build, horizon_us: int) -> bool:
        """Whether a key with this horizon is made only of events that are there."""
        if self.odd:
            return False
        if self.gone_until_us is None:
            return True
        retention_us = build.shape.retention_us
        if retention_us is None or horizon_us == NEVER_US:
            return False
        return self.gone_until_us < horizon_us - retention_us


def positions(
    history: History, builds: Sequence[Build], live: Sequence[int], shards: Sequence[Shard]
) -> Iterator[Odd]:
    """What is odd about the positions of a stream's builds; `live` are those that serve."""
    stream = history.stream.name
    if history.other_log is not None:
        yield Odd(
            f"the log of stream {stream!r} was made anew: positions mean other events (TG-303)"
        )
        return
    for build in builds:
        for partition, ordinal in history.ordinals.items():
            ends = ends_of(shards, build.id, ordinal)
            if not ends.max(initial=0):
                continue
            bounds = history.bounds[partition]
            where = f"stream {stream!r}, partition {partition}"
            for shard, end in zip(shards, ends.tolist(), strict=True):
                if end > bounds.end:
                    cause = f"{where}: log and archive end before the position (TG-305)"
                    at = str(end), str(bounds.end)
                    yield Odd(cause, build.id, shard.number, *at)
            if history.log_fault is not None or build.id not in live:
                continue
            least = int(ends.min())
            if bounds.log_first is None:
                yield Odd(f"{where}: the log has no such partition (TG-305)", build.id)
            elif least < bounds.log_first:
                cause = f"{where}: the log begins after the position (TG-304)"
                behind = shards[int(ends.argmin())].number
                yield Odd(cause, build.id, behind, str(least), str(bounds.log_first))


def conservation(builds: Sequence[Build], shards: Sequence[Shard]) -> Iterator[tuple[int, Odd]]:
    """For each (build, partition) that was read, 1 if its counts were added up, else 0, and what is
    odd about them (an `Odd` without a cause where nothing is).

    They add up only where all shards have passed the same position.
    """
    for build in builds:
        for ordinal in sorted({o for shard in shards for b, o in shard.applied if b == build.id}):
            ends = ends_of(shards, build.id, ordinal)
            if ends.min() != ends.max():
                yield 0, Odd("")
                continue
            counts = {
                name: sum(getattr(shard.applied[build.id, ordinal], name) for shard in shards)
                for name in COUNTERS
            }
            parts = sum(n for name, n in counts.items() if name not in ("read", "late"))
            odd = Odd("")
            if parts != counts["read"]:
                cause = f"partition {ordinal}: read is not the sum of the outcomes"
                odd = Odd(cause, build.id, None, str(counts["read"]), str(parts))
            yield 1, odd


def wholeness(
    history: History,
    build: Build,
    shards: Sequence[Shard],
    counted: Mapping[tuple[int, int], Counted],
) -> Wholeness:
    """Compare what a build has counted with the records that are in archive and log."""
    found = Wholeness()
    if not history.knows_copies:
        found.gone_until_us = UNKNOWN_US
        found.notes.append(
            f"stream {history.stream.name!r}: which events are copies was known to a shard that is "
            "lost; the next start makes its builds anew"
        )
    for partition, ordinal in history.ordinals.items():
        home = shards[history.homes[ordinal]]
        applied = home.applied.get((build.id, ordinal))
        if applied is None or not applied.next_offset:
            continue
        where = f"stream {history.stream.name!r}, partition {partition}"
        there = counted[ordinal, applied.next_offset]
        gone = applied.read - there.read
        if gone > 0 and history.bounds[partition].begin > 0:
            begins_us = history.begins_us(partition)
            until_us = UNKNOWN_US
            if begins_us > NEVER_US:
                until_us = begins_us + history.stream.ahead_us
            found.gone_until_us = max(found.gone_until_us or NEVER_US, until_us)
            found.notes.append(
                f"{where}: {gone} records before offset {history.bounds[partition].begin} are in "
                "no archive any more"
            )
        elif gone:
            cause = f"{where}: archive and log hold another number of records than were read"
            counts = str(applied.read), str(there.read)
            found.odd.append(Odd(cause, build.id, home.number, *counts))
        elif applied.dead_lettered != there.dead:
            cause = f"{where}: another number of dead letters"
            counts = str(applied.dead_lettered), str(there.dead)
            found.odd.append(Odd(cause, build.id, home.number, *counts))
    return found
