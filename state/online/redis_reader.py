"""An online store in Redis: the reading end.

A read is one round trip: the shard's mark, the rows, the mark again. It counts only if both marks
name the same generation of the build, so that the rows were whole from before they were read until
after; a store that is being written anew never answers zeros. Where the generation is another than
the one that was asked for, it is asked again. A key is one hash read by one command: its head, body
and segments are of one moment.

A store that does not answer is asked again after `REST_S`; until then reads fail at once, so that a
server waits for it no longer than that it can still answer others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

from ...schemas.errors import OnlineStoreChanged, OnlineStoreUnreachable
from ..packing import tile_count
from ..rows import segment_number
from ..segments import ROW_INSTANTS
from .redis_address import Address
from .redis_layout import BODY, HEAD, StoredMark, mark_key, row_prefix, segment_field
from .redis_link import Command, Link
from .rows import Ask, FarReader, Mark, Row, Segments

TIMEOUT_S: Final = 1.0
REST_S: Final = 1.0
_ATTEMPTS_MAX: Final = 8

Found = tuple[Mark | None, list[Row], list[Segments]]
"""What an `Ask` got: the mark, and for each key its row and segments."""


def open_reader(url: str, options: Mapping[str, str], prefix: str) -> RedisReader:
    """The reader of a store, with connections of its own; raises `SettingsError`."""
    return RedisReader(Link(Address.parse(url), options, TIMEOUT_S), prefix)


class RedisReader(FarReader):
    """The reading end of all shards. Not shared between threads."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix
        self._known: dict[int, tuple[bytes, StoredMark]] = {}
        self._fault: OnlineStoreUnreachable | None = None
        self._again_s = 0.0

    def mark(self, shard: int) -> Mark | None:
        return self.marks([shard])[0]

    def marks(self, shards: Sequence[int]) -> list[Mark | None]:
        answers = self._ask([(shard, [self._mark_command(shard)]) for shard in shards])
        stored = [self._stored(s, value) for s, (value,) in zip(shards, answers, strict=True)]
        return [None if one is None else one.mark for one in stored]

    def read(self, shard: int, build: int, keys: Sequence[bytes]) -> tuple[Mark | None, list[Row]]:
        ((mark, rows, _),) = self.fetch([Ask(shard, build, keys)])
        return mark, rows

    def read_with_segments(
        self, shard: int, build: int, keys: Sequence[bytes], hours: Sequence[int]
    ) -> Found:
        (found,) = self.fetch([Ask(shard, build, keys, hours)])
        return found

    def ahead(self, asks: Sequence[Ask]) -> Fetched:
        return Fetched(self).ahead(asks)

    def close(self) -> None:
        self._link.close()

    def fetch(self, asks: Sequence[Ask]) -> list[Found]:
        """What every ask gets; asked again where a generation or a segment was not foreseen.

        Raises `OnlineStoreChanged` where rows were replaced as often as they were read, and what
        `Link.ask` raises.
        """
        found: list[Found | None] = [None] * len(asks)
        depths = [1] * len(asks)
        for _ in range(_ATTEMPTS_MAX):
            left = [i for i, one in enumerate(found) if one is None]
            if not left:
                return [one for one in found if one is not None]
            self._attempt(asks, left, depths, found)
        raise OnlineStoreChanged(
            where=self._link.address.shown,
            got=f"other rows each of {_ATTEMPTS_MAX} times",
            expected="the same rows before and after reading them",
        )

    def _attempt(
        self, asks: Sequence[Ask], left: Sequence[int], depths: list[int], found: list[Found | None]
    ) -> None:
        by_shard: dict[int, list[int]] = {}
        for i in left:
            by_shard.setdefault(asks[i].shard, []).append(i)
        generations = {i: self._generation(asks[i]) for i in left}
        pipelines = []
        for shard, mine in by_shard.items():
            mark = self._mark_command(shard)
            rows = [self._rows(asks[i], generations[i], depths[i]) for i in mine]
            pipelines.append((shard, [mark, *(one for many in rows for one in many), mark]))
        for (shard, mine), answers in zip(by_shard.items(), self._ask(pipelines), strict=True):
            before, after = self._stored(shard, answers[0]), self._stored(shard, answers[-1])
            at = 1
            for i in mine:
                count = 0 if generations[i] is None else len(asks[i].keys)
                rows = answers[at : at + count]
                at += count
                one = asks[i]
                if _generation(before, one) == generations[i] == _generation(after, one):
                    vouching = _vouching(before, after, one.build)
                    found[i] = _unpacked(one, vouching, rows, depths[i])
                    depths[i] *= 4  # for the next attempt, if there has to be one

    def _rows(self, ask: Ask, generation: str | None, depth: int) -> list[Command]:
        if generation is None:
            return []
        prefix = row_prefix(self._prefix, ask.shard, generation)
        numbers = [segment_number(h, place) for h in ask.hours for place in range(depth)]
        fields = (HEAD, BODY, *map(segment_field, numbers))
        return [("HMGET", prefix + key, *fields) for key in ask.keys]

    def _mark_command(self, shard: int) -> Command:
        return ("HGET", mark_key(self._prefix, shard), b"mark")

    def _generation(self, ask: Ask) -> str | None:
        known = self._known.get(ask.shard)
        return None if known is None else _generation(known[1], ask)

    def _stored(self, shard: int, value: bytes | None) -> StoredMark | None:
        """The mark that `value` is, decoded once."""
        if value is None:
            self._known.pop(shard, None)
            return None
        known = self._known.get(shard)
        if known is None or known[0] != value:
            known = self._known[shard] = value, StoredMark.decode(value)
        return known[1]

    def _ask(self, asked: Sequence[tuple[int, Sequence[Command]]]) -> list[list[Any]]:
        if self._fault is not None and time.perf_counter() < self._again_s:
            raise self._fault
        try:
            answers = self._link.ask(asked, again=True)
        except OnlineStoreUnreachable as fault:
            self._fault, self._again_s = fault, time.perf_counter() + REST_S
            raise
        self._fault = None
        return answers


class Fetched(FarReader):
    """What was fetched for one request; what it lacks it reads from the store."""

    def __init__(self, store: RedisReader) -> None:
        self._store = store
        self._held: dict[tuple[int, int], tuple[Ask, Found]] = {}

    def ahead(self, asks: Sequence[Ask]) -> Fetched:
        lacking = [ask for ask in asks if self._find(ask) is None]
        for ask, found in zip(lacking, self._store.fetch(lacking), strict=True):
            self._held[ask.shard, ask.build] = ask, found
        return self

    def mark(self, shard: int) -> Mark | None:
        return self._store.mark(shard)

    def marks(self, shards: Sequence[int]) -> list[Mark | None]:
        return self._store.marks(shards)

    def read(self, shard: int, build: int, keys: Sequence[bytes]) -> tuple[Mark | None, list[Row]]:
        return self.read_with_segments(shard, build, keys, ())[:2]

    def read_with_segments(
        self, shard: int, build: int, keys: Sequence[bytes], hours: Sequence[int]
    ) -> tuple[Mark | None, list[Row], list[Segments]]:
        ask = Ask(shard, build, keys, hours)
        found = self._find(ask)
        if found is not None:
            return found
        return self._store.read_with_segments(shard, build, keys, hours)

    def _find(self, ask: Ask) -> Found | None:
        held, found = self._held.get((ask.shard, ask.build), (None, None))
        if held is None or found is None or not set(ask.hours) <= set(held.hours):
            return None
        if held.keys == ask.keys:
            return found
        place = {key: i for i, key in enumerate(held.keys)}
        try:
            places = [place[key] for key in ask.keys]
        except KeyError:
            return None
        mark, rows, segments = found
        return mark, [rows[i] for i in places], [segments[i] for i in places]

    def close(self) -> None:
        """Nothing: the store goes on."""


def _generation(stored: StoredMark | None, ask: Ask) -> str | None:
    return None if stored is None else stored.generations.get(ask.build)


def _vouching(before: StoredMark | None, after: StoredMark | None, build: int) -> Mark | None:
    """The mark that stands for rows read between two: the one that names the build less."""
    if before is None or after is None:
        return None
    return before.mark if build in after.mark.builds else after.mark


def _unpacked(ask: Ask, mark: Mark | None, answers: Sequence[Any], depth: int) -> Found | None:
    """What was read of each key; None if an hour may have more segments than were asked for."""
    if not answers:
        return mark, [(None, None)] * len(ask.keys), [{} for _ in ask.keys]
    rows: list[Row] = []
    segments: list[Segments] = []
    for head, body, *blocks in answers:
        rows.append((head, body))
        hours: dict[int, Sequence[bytes]] = {}
        for number, hour in enumerate(ask.hours):
            found = list(takewhile(_is_there, blocks[number * depth : (number + 1) * depth]))
            if len(found) == depth and tile_count(found[-1]) == ROW_INSTANTS:
                return None
            if found:
                hours[hour] = found
        segments.append(hours)
    return mark, rows, segments


def _is_there(block: bytes | None) -> bool:
    return block is not None
