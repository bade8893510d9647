"""Running the mirrors of all shards: in a thread beside the commits, or step by step.

A commit hands its offers over and goes on; a mirror that falls behind takes several commits at
once, and past a bound of waiting bytes the offers are dropped and the outbox takes their place. A
store that refuses writes stops the mirror visibly (`fault`), never the commits. One that was wiped
or restored is found by looking, also while nothing is committed, and written anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from ...schemas.errors import SinkError, TegulaError
from ...state.mirror import Mirror
from ...state.mirror_merge import Committed, Offer, Taking, merge_all
from ...state.online.lmdb import LmdbWriter, WritersAsReader
from ...state.shard import Shard
from ...windows.shape import Shape
from ..online import OpenWriter, online_writers
from ..settings import Settings
from ..steps.commit import ShardCommit
from .clock import Clock, now_us
from .ending import MIRROR_SHARE, Ending
from .mirror_lag import MirrorLag
from .pacing import mirror_rest_s

WAITING_BYTES_MAX: Final = 256 << 20
"""Bytes that may wait in memory for the mirror; past it the outbox is read instead."""

TOGETHER_KEYS: Final = 8192
"""Keys that are merged in one go, of several shards: so many that their rows fit into memory."""

RETRY_S: Final = 1.0
_STOP_SHARE: Final = MIRROR_SHARE + 0.15  # a write that has begun may end

LOOK_S: Final = 1.0
"""How often the stores are looked at, whether they hold what was left there."""


class Mirrors:
    """One mirror a shard. `step` and `offer` may be called by different threads.

    `lag` measures how long events take until they are readable, by the clock `now_us`.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        root: Path,
        shapes: Mapping[int, Shape],
        now_us: Clock = now_us,
        open_writer: OpenWriter = LmdbWriter,
    ) -> None:
        self.lag = MirrorLag(now_us)
        self._shapes = dict(shapes)
        self._writers = [open_writer(root, shard.number, shard.incarnation) for shard in shards]
        self._mirrors = [
            Mirror(shard, writer, self._shapes)
            for shard, writer in zip(shards, self._writers, strict=True)
        ]
        self._offers: list[list[Offer]] = [[] for _ in shards]
        self._waiting_bytes = 0
        self._lagging = [True] * len(shards)
        self._next_shapes: dict[int, Shape] | None = None
        self._wanted: frozenset[int] | None = None
        self._ready = threading.Condition()
        self.fault: TegulaError | None = None
        self.is_left_behind = False

    def offer(self, commits: Iterable[ShardCommit]) -> None:
        """Hand over what the shards committed, in order."""
        with self._ready:
            for commit in commits:
                self._waiting_bytes += sum(_size_bytes(offer) for offer in commit.offers)
                self._offers[commit.shard].extend(commit.offers)
            if self._waiting_bytes > WAITING_BYTES_MAX:
                self._lagging = [True] * len(self._offers)
                self._offers = [[] for _ in self._offers]
                self._waiting_bytes = 0
            self._ready.notify()

    def end_with(self, ending: Ending) -> None:
        """Begin no write any more once the time until this ending is over."""
        for mirror in self._mirrors:
            mirror.is_over = lambda: ending.is_over(MIRROR_SHARE)

    def set_shapes(self, shapes: Mapping[int, Shape]) -> None:
        """Mirror these builds from now on; rows of new ones are written by the next step."""
        with self._ready:
            self._next_shapes = dict(shapes)
            self._lagging = [True] * len(self._offers)
            self._ready.notify()

    def drop_builds(self, wanted: Set[int]) -> None:
        """Have the rows of all other builds deleted, once no mark names them any more."""
        with self._ready:
            self._wanted = frozenset(wanted)
            self._ready.notify()

    def step(self) -> bool:
        """Bring every shard up to what was offered; False if there was nothing to do."""
        with self._ready:
            offers, self._offers = self._offers, [[] for _ in self._offers]
            lagging, self._lagging = self._lagging, [False] * len(self._offers)
            self._waiting_bytes = 0
            wanted = self._wanted
            if self._next_shapes is not None:
                # Here and not in `set_shapes`: the mirrors run through it without the lock.
                self._shapes.clear()
                self._shapes.update(self._next_shapes)
                self._next_shapes = None
        if all(lagging):
            self._take_stock()
        group: list[tuple[int, Taking]] = []
        for place, mirror in enumerate(self._mirrors):
            with self._blamed_on(place):
                if lagging[place]:
                    mirror.rebuild_missing()
                    mirror.catch_up()
                    self._writers[place].publish()
                elif offers[place]:
                    taking = mirror.begin(offers[place])
                    if taking is not None:
                        self._take_if_many(group, taking)
                        group.append((place, taking))
        self._take(group)
        if wanted is not None:
            for place, writer in enumerate(self._writers):
                with self._blamed_on(place):
                    writer.keep_builds(wanted)
        self.lag.readable(self.commits())
        with self._ready:
            if self._wanted is wanted:
                self._wanted = None
        self.fault = None
        return any(lagging) or any(offers)

    def _take_if_many(self, group: list[tuple[int, Taking]], taking: Taking) -> None:
        """Take what has gathered, if with one more it would be too much to be held at once."""
        keys = taking.key_count + sum(one.key_count for _, one in group)
        if group and keys > TOGETHER_KEYS:
            self._take(group)
            group.clear()

    def _take(self, group: Sequence[tuple[int, Taking]]) -> None:
        if not group:
            return
        with self._blamed_on(group[0][0]):
            merged = merge_all(self._shapes, [taking for _, taking in group])
        for (place, taking), rows in zip(group, merged, strict=True):
            with self._blamed_on(place):
                self._mirrors[place].end(taking, rows)

    def _take_stock(self) -> None:
        """Have no store vouch for rows of another state, before the first is written anew."""
        for place, mirror in enumerate(self._mirrors):
            with self._blamed_on(place):
                mirror.take_stock()

    def look(self) -> None:
        """See whether every store holds what was left there; the next step mends what does not.

        Raises what a store raises that cannot be asked.
        """
        for place, mirror in enumerate(self._mirrors):
            with self._blamed_on(place):
                followed = mirror.is_followed()
            if not followed:
                with self._ready:
                    self._lagging[place] = True

    @contextmanager
    def _blamed_on(self, place: int) -> Iterator[None]:
        """Keep what is raised as `fault`, of this shard; then no offer counts as taken.

        Those that the step had taken over are gone, for this shard and those after it.
        """
        try:
            yield
        except Exception as fault:
            with self._ready:
                self._lagging = [True] * len(self._lagging)
                self.fault = _named(fault, place)
            raise

    def wait(self, timeout_s: float) -> None:
        """Return when there is something to do, or after the time."""
        with self._ready:
            self._ready.wait_for(lambda: any(self._offers) or any(self._lagging), timeout_s)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be mirrored."""
        with self._ready:
            return not any(self._offers) and not any(self._lagging)

    def mirrored(self, build: int) -> list[int]:
        """For each shard, the commit up to which a build's rows are whole; -1 if they are not."""
        return [
            mirror.mark.commit if build in mirror.mark.builds else -1 for mirror in self._mirrors
        ]

    def commits(self) -> list[int]:
        """For each shard, the last commit that is readable."""
        return [mirror.mark.commit for mirror in self._mirrors]

    def rewriting(self) -> list[int]:
        """The shards whose rows are all to be written anew: too much gathered in the outbox."""
        return [place for place, mirror in enumerate(self._mirrors) if mirror.must_rewrite]

    def check_readers(self) -> None:
        """Free pages that killed readers still pin."""
        for writer in self._writers:
            writer.check_readers()

    def reader(self) -> WritersAsReader:
        """The online rows, for reading inside this process."""
        return WritersAsReader(self._writers)

    def close(self, *, clean: bool = True, ending: Ending | None = None) -> None:
        """Close the stores; as far as there is time until `ending`, so that a crash spares them."""
        if ending is not None and self.is_left_behind:
            return  # the thread is still at it
        with ExitStack() as closing:
            for writer in self._writers:
                if clean and ending is not None and ending.is_over():
                    ending.unfinished("the online store to be synced")
                    clean = False
                closing.callback(writer.close if clean else writer.abandon)


def open_mirrors(
    shards: Sequence[Shard], settings: Settings, shapes: Mapping[int, Shape], now_us: Clock
) -> Mirrors:
    """The mirrors of a project's shards to its online store.

    Raises `SettingsError` and `OnlineStoreEvicts` for a store that is not to be used.
    """
    return Mirrors(shards, settings.online_path, shapes, now_us, online_writers(settings))


class MirrorThread:
    """Steps the mirrors whenever something was offered, until it is stopped."""

    def __init__(
        self, mirrors: Mirrors, interval_ms: int = 20, ending: Ending | None = None
    ) -> None:
        self._mirrors = mirrors
        self._ending = ending or Ending(threading.Event())
        mirrors.end_with(self._ending)
        self._interval_s = interval_ms / 1_000
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tegula-mirror", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        looked_s = time.perf_counter()
        while not self._stop.is_set():
            self._mirrors.wait(timeout_s=1.0)
            began_s = time.perf_counter()
            try:
                self._mirrors.step()
                self._mirrors.check_readers()
                if began_s - looked_s >= LOOK_S:
                    looked_s = began_s
                    self._mirrors.look()
            except Exception:  # noqa: BLE001 - `fault` says it; a thread that ended would say nothing
                self._stop.wait(RETRY_S)
            else:
                took_s = time.perf_counter() - began_s
                newest_us = self._mirrors.lag.newest_us
                self._stop.wait(mirror_rest_s(took_s, self._interval_s, newest_us))

    def stop(self) -> None:
        """Finish what was offered, if there is time until the ending, then end.

        What could not be written is in the outbox, and written by the next engine.
        """
        self._stop.set()
        self._mirrors.is_left_behind = not self._ending.join(self._thread, _STOP_SHARE)
        if not self._mirrors.is_left_behind and self._mirrors.fault is None:
            with suppress(TegulaError):
                self._mirrors.step()


def _named(fault: Exception, shard: int) -> TegulaError:
    if isinstance(fault, TegulaError):
        return fault
    return SinkError("the online rows cannot be written", where=f"shard {shard}", got=repr(fault))


def _size_bytes(offer: Offer) -> int:
    if isinstance(offer, Committed):
        return sum(keyed.size_bytes for keyed in offer.chunks.values())
    segments = (block for _, _, block in offer.segments)
    rows = (offer.keys, offer.heads, offer.bodies, segments)
    return sum(len(row) for part in rows for row in part if row is not None)
