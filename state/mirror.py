"""The mirror: from commits of a shard to its online rows.

It takes commits in order, many at once. A key that no fold touched gets its chunks *above its row's
commit number* merged into its head; a folded key takes the fold's head and body; anything else is
read from the state. So repetition adds nothing, and a mirror that fell behind has no special case.

What a commit touched is in the outbox, in the state. The engine also hands the commits over in
memory (`Committed`, `Folded`), which saves reading back what was just written; such an offer may be
lost or refused at any time, and then the outbox says what to do.

Where too much gathered in the outbox it was dropped, and all keys are written anew, over the rows
that are there.

The store is not taken at its word: it may have been wiped or restored. One whose mark is not the
one that this mirror left there is emptied and written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace

import numpy as np

from ..schemas.errors import SinkError
from ..windows.shape import Shape
from .fold import Folded, gather
from .mirror_merge import Committed, Merged, Offer, Taking, merge_all
from .mirrored import Left, Mirrored
from .online.from_state import folded_through, online_bodies, online_segments
from .online.rows import Mark, OnlineWriter, RowWrites
from .packing import ONLINE_HEAD, Stamps, pack
from .shard import Shard

PAGE_KEYS = 4096
"""Keys, or segments, read from the state at a time."""

PAGE_BYTES = 32 << 20
"""Segments written in one transaction when a build's rows are written anew."""


class Mirror:
    """Keeps one shard's online rows following its state.

    `shapes` gives the shape of each build that is mirrored; builds that it does not hold are left
    alone. Not thread-safe: one thread calls it, which may be another than the one that commits.
    """

    def __init__(self, shard: Shard, writer: OnlineWriter, shapes: Mapping[int, Shape]) -> None:
        self._shard = shard
        self._writer = writer
        self._shapes = shapes
        self._mark = Mark(shard.incarnation, 0, ())
        self._left = Left(shard)
        self._taken: Mirrored | None = None
        self.is_over: Callable[[], bool] = lambda: False
        """Whether nothing more is to be written: asked before each write, which then raises."""

    @property
    def mark(self) -> Mark:
        """Up to where the online rows follow the state, as far as is known."""
        return self._mark

    def is_followed(self) -> bool:
        """Whether the store still has the mark that was left there; raises what the store raises.

        If not, it was wiped or restored: no build counts as mirrored until `rebuild_missing` has
        written it anew.
        """
        if self._left.is_there(self._writer.mark()):
            return True
        self._left.lose()
        self._mark = Mark(self._shard.incarnation, 0, ())
        return False

    def rebuild_missing(self) -> None:
        """Write the rows of every build that the mark does not name, then name it.

        Covers a new, wiped or outdated store (no build is named) and a build that was added.
        """
        self.take_stock()
        for build in self._shapes:
            if build in self._mark.builds:
                continue
            first, after = not self._mark.builds, b""
            commit = self._shard.commit_number
            while page := self._shard.scan_keys(build, after, PAGE_KEYS):
                self._write([self._from_state(build, page)], self._mark)
                self._write_segments(build, page)
                after = page[-1]
            # The first build's rows are whole up to `commit`; with others already there, the
            # mark's commit stays, and the outbox above it brings what came since.
            commit = commit if first else self._mark.commit
            self._write([], replace(self._mark, commit=commit, builds=(*self._mark.builds, build)))
        if not self._shapes:
            self._write([], self._mark)

    def take_stock(self) -> None:
        """See what the store holds, and leave no row in it that its mark does not vouch for.

        Such rows are of a lost state, or of a rebuild that was broken off: their keys may be gone
        from the state, and then nothing that is written later would take them away.
        """
        stored, own = self._writer.mark(), Mark(self._shard.incarnation, 0, ())
        if stored is not None and self._left.take(stored):
            own = stored
        whole = tuple(build for build in own.builds if build in self._shapes)
        self._mark = replace(own, builds=whole)
        if self._shapes.keys() - set(self._mark.builds):
            self._write([], self._mark)
            self._writer.keep_builds(frozenset(self._mark.builds))

    @property
    def must_rewrite(self) -> bool:
        """Whether the outbox no longer tells what changed, so that all rows are written anew."""
        return self._shard.outbox.dropped_through > self._mark.commit

    def catch_up(self) -> None:
        """Bring the online rows up to the state by its outbox; all of them where it was dropped."""
        if self.must_rewrite:
            self._rewrite()
        # Asked before the outbox: what is applied by now is in the rows that are read below.
        positions = self._shard.readable_positions()
        upto = self._shard.commit_number
        # Rows up to the mark only have to go: a rebuild overtook them, or a crash left them behind.
        dropped_through, entries = self._shard.outbox.read()
        if dropped_through > self._mark.commit:
            return  # Dropped meanwhile. What dropped it is offered yet, and brings us back here.
        changed: dict[int, dict[bytes, set[int]]] = {}
        for number, touched in entries:
            for entry in touched if number > self._mark.commit else ():
                keys = changed.setdefault(entry.build, {})
                numbers = entry.segments or [()] * len(entry.keys)
                for key, segments in zip(entry.keys, numbers, strict=True):
                    keys.setdefault(key, set()).update(segments)
        for build, segments_of in changed.items():
            for page in _pages(segments_of) if build in self._shapes else ():
                numbers_of = [segments_of[key] for key in page]
                self._write([self._from_state(build, page, numbers_of)], self._mark)
        commit = max(upto, self._mark.commit, *(number for number, _ in entries))
        self._write([], replace(self._mark, commit=commit, positions=positions))
        self._shard.clear_outbox([number for number, _ in entries], self._taken)

    def _rewrite(self) -> None:
        """Write every key anew. Until its turn comes a key has the row that it had.

        The mark stays until all are written: broken off, it is done again. A row goes only after
        its key has gone from the state, so nobody misses a row that should be there.
        """
        positions = self._shard.readable_positions()
        commit = self._shard.commit_number
        for build, shape in self._shapes.items():
            for keys, numbers in _all_keys(self._shard, build, shape):
                rows = replace(self._from_state(build, keys, numbers), whole=bool(numbers))
                self._write([rows], self._mark)
            self._writer.drop_older(build, commit)
        self._write([], replace(self._mark, commit=commit, positions=positions))

    def take(self, offers: Sequence[Offer]) -> None:
        """Take over commits handed in memory; falls back on the outbox if one is missing."""
        taking = self.begin(offers)
        if taking is not None:
            self.end(taking, merge_all(self._shapes, [taking])[0])

    def begin(self, offers: Sequence[Offer]) -> Taking | None:
        """What of `offers` is to be merged into the rows; None if that is done already.

        Whoever gets it merges it, with those of other shards (`merge_all`), and comes back with it
        (`end`) before anything else is asked of this mirror.
        """
        positions = _last_positions(offers)
        offers = [offer for offer in offers if offer.commit > self._mark.commit]
        if not offers:
            # Their rows came by the outbox; the positions that they reached may not have.
            known = self._mark.positions
            reached = {o: max(at, known.get(o, 0)) for o, at in (positions or {}).items()}
            if reached:
                self._write([], replace(self._mark, positions=reached))
            return None
        numbers = [offer.commit for offer in offers]
        if numbers != list(range(self._mark.commit + 1, self._mark.commit + 1 + len(numbers))):
            self.catch_up()
            return None
        mark = replace(self._mark, commit=numbers[-1])
        if positions is not None:
            mark = replace(mark, positions=positions)
        return Taking(offers, mark, self._shard.incarnation, self._writer.heads)

    def end(self, taking: Taking, merged: Sequence[Merged]) -> None:
        """Write what was merged of `taking`, one for each build that it is about."""
        writes: list[RowWrites] = []
        first = taking.offers[0].commit
        for one in merged:
            writes.extend((one.rows, *self._expired(one.rows.build, one.absent, first)))
        self._write(writes, taking.mark)
        self._shard.clear_outbox(
            [offer.commit for offer in taking.offers if isinstance(offer, Folded) or offer.chunks],
            self._taken,
        )

    def _write(self, writes: Sequence[RowWrites], mark: Mark) -> None:
        if self.is_over():
            raise SinkError("the engine ends; the next one writes what is left")
        mark = self._left.next(mark)
        self._writer.write(writes, mark)
        self._mark, self._taken = mark, self._left.taken(mark)

    def _expired(self, build: int, absent: Sequence[bytes], first: int) -> Iterator[RowWrites]:
        """The rows, as the state has them, of keys that the store has none of.

        Where rows expire, such a key need not be new: chunks alone may not be all that it has. One
        that has nothing from before the commit `first` is: what was merged is all of it.
        """
        shape = self._shapes[build]
        if not absent or shape.retention_us is None or not self._writer.rows_expire:
            return
        _, stored = self._shard.read_with_commit(build, absent)
        older = [
            key
            for key, rows in zip(absent, stored, strict=True)
            if rows.head is not None
            or rows.body is not None
            or any(commit < first for commit in rows.chunk_commits)
        ]
        if older:
            segments = self._shard.segments
            numbers = [{n for _, n, _ in segments.all_of(build, [key])} for key in older]
            yield self._from_state(build, older, numbers)

    def _from_state(
        self, build: int, keys: Sequence[bytes], segments: Sequence[Set[int]] = ()
    ) -> RowWrites:
        """The rows of keys as the state has them; of segments those that are named, key by key."""
        shape = self._shapes[build]
        commit, stored = self._shard.read_with_commit(build, keys, segments)
        merged = gather(shape, keys, [replace(rows, body=None, parts={}) for rows in stored])
        whole = np.full(len(keys), commit, dtype=np.uint64)
        folded = np.array([folded_through(shape, rows) for rows in stored], np.uint64)
        incarnation = np.full(len(keys), self._shard.incarnation, dtype=np.uint64)
        stamps = Stamps(incarnation, whole, folded, merged.horizon_us)
        packed = pack(shape, merged.tiles, ONLINE_HEAD, stamps)
        heads, deletes = [], []
        for key, rows, head in zip(keys, stored, packed, strict=True):
            if rows.head is None and not rows.chunks:
                deletes.append(key)
            else:
                heads.append((key, head))
        beside = [
            (key, number, rows.segments.get(number))
            for key, rows, numbers in zip(keys, stored, segments, strict=False)
            for number in numbers
        ]
        return RowWrites(
            build,
            heads,
            online_bodies(shape, keys, stored),
            deletes,
            online_segments(shape, beside),
            retention_us=shape.retention_us,
        )

    def _write_segments(self, build: int, keys: Sequence[bytes]) -> None:
        """Write all segments of keys, as many at a time as memory allows.

        No mark names the build yet, so no reader sees one row of a key without the others.
        """
        shape, page, size = self._shapes[build], [], 0
        if shape.segment_reach_us is None:
            return
        for row in self._shard.segments.all_of(build, keys):
            page.append(row)
            size += len(row[2])
            if size >= PAGE_BYTES:
                writes = RowWrites(build, segments=online_segments(shape, page))
                self._write([writes], self._mark)
                page, size = [], 0
        writes = RowWrites(build, segments=online_segments(shape, page))
        self._write([writes], self._mark)


def _all_keys(
    shard: Shard, build: int, shape: Shape
) -> Iterator[tuple[list[bytes], list[Set[int]]]]:
    """All keys of a build, so many at a time as `_pages` has it, with the numbers of segments."""
    after = b""
    while keys := shard.scan_keys(build, after, PAGE_KEYS):
        after = keys[-1]
        if shape.segment_reach_us is None:
            yield keys, []
            continue
        segments_of = {key: set(shard.segments.numbers(build, key, 0, 1 << 64)) for key in keys}
        for page in _pages(segments_of):
            yield page, [segments_of[key] for key in page]


def _pages(segments_of: Mapping[bytes, Set[int]]) -> Iterator[list[bytes]]:
    """The keys, so many at a time that they are few, and their segments are."""
    page: list[bytes] = []
    size = 0
    for key, segments in segments_of.items():
        page.append(key)
        size += 1 + len(segments)
        if size >= PAGE_KEYS:
            yield page
            page, size = [], 0
    if page:
        yield page


def _last_positions(offers: Sequence[Offer]) -> Mapping[int, int] | None:
    """The positions of the last commit among `offers`, if there is one."""
    for offer in reversed(offers):
        if isinstance(offer, Committed):
            return offer.positions
    return None
