"""Merging commits into online heads: columnar, for several shards in one go.

A key lies in one shard, so what the mirrors of several shards have to merge is merged as if it were
one shard's; only reading heads and writing rows is each shard's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ..windows.algebra import Int64s
from ..windows.shape import Shape
from ..windows.tiles import KeyedTiles
from .fold import Folded
from .locality import order_of_writing
from .mirror_heads import Base, add_chunks
from .online.rows import Mark, RowWrites


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit as it was made: the chunks by build, and the positions applied with it."""

    commit: int
    chunks: Mapping[int, KeyedTiles] = field(default_factory=dict)
    positions: Mapping[int, int] = field(default_factory=dict)


Offer = Committed | Folded


@dataclass(frozen=True, slots=True)
class Taking:
    """What one shard's mirror is about to take: commits without a gap, in order.

    `mark` is what the store is to say afterwards; `heads` gives the heads of keys of a build as
    they are in the store.
    """

    offers: Sequence[Offer]
    mark: Mark
    incarnation: int
    heads: Callable[[int, Sequence[bytes]], list[bytes | None]]

    @property
    def key_count(self) -> int:
        """Keys that the offers name, each as often as it is named."""
        return sum(
            len(offer.keys)
            if isinstance(offer, Folded)
            else sum(len(keyed) for keyed in offer.chunks.values())
            for offer in self.offers
        )


@dataclass(frozen=True, slots=True)
class Merged:
    """The rows of one shard and build after its offers.

    `absent` are keys of which the store had no row, and no fold has brought one.
    """

    rows: RowWrites
    absent: Sequence[bytes]


@dataclass
class _Gathered:
    """What some shards offer of one build; `places` number the shards, from 0.

    `folded` holds for a key what its last fold made of it: the commit, head and body.
    """

    chunks: list[tuple[int, KeyedTiles]] = field(default_factory=list)
    chunk_places: list[int] = field(default_factory=list)
    folded: dict[bytes, tuple[int, bytes | None, bytes | None]] = field(default_factory=dict)
    fold_places: dict[bytes, int] = field(default_factory=dict)
    segments: list[dict[tuple[bytes, int], bytes | None]] = field(default_factory=list)

    @staticmethod
    def of(build: int, takings: Sequence[Taking]) -> _Gathered:
        """What these offer of a build."""
        found = _Gathered(segments=[{} for _ in takings])
        for place, taking in enumerate(takings):
            for offer in taking.offers:
                if isinstance(offer, Committed):
                    if build in offer.chunks:
                        found.chunks.append((offer.commit, offer.chunks[build]))
                        found.chunk_places.append(place)
                elif offer.build == build:
                    for key, head, body in zip(offer.keys, offer.heads, offer.bodies, strict=True):
                        found.folded[key] = (offer.commit, head, body)
                        found.fold_places[key] = place
                    for key, number, block in offer.segments:
                        found.segments[place][key, number] = block
        return found


@dataclass(frozen=True, slots=True)
class _Numbered:
    """The distinct keys in order of writing, shard by shard.

    `codes` int64 numbers the keys of the chunks, then those folded; `places` int64 (keys,) is each
    key's shard; the keys of shard `n` are `edges[n]` to `edges[n + 1]`.
    """

    keys: pa.LargeBinaryArray
    codes: Int64s
    places: Int64s
    edges: list[int]

    @staticmethod
    def of(found: _Gathered, count: int) -> _Numbered:
        """Number the keys of `count` shards."""
        names = [keyed.keys for _, keyed in found.chunks]
        names.append(pa.array(list(found.folded), type=pa.large_binary()))
        encoded = pa.concat_arrays(names).dictionary_encode()
        codes = encoded.indices.to_numpy()
        lengths = [len(keyed) for _, keyed in found.chunks]
        named = np.concatenate(
            (
                np.repeat(np.array(found.chunk_places, np.int64), lengths),
                np.fromiter(found.fold_places.values(), np.int64, len(found.fold_places)),
            )
        )
        places = np.empty(len(encoded.dictionary), np.int64)
        places[codes] = named
        order = order_of_writing(encoded.dictionary, places)
        place_of = np.empty_like(order)
        place_of[order] = np.arange(len(order))
        places = places[order]
        edges = np.searchsorted(places, np.arange(count + 1)).tolist()
        return _Numbered(encoded.dictionary.take(order), place_of[codes], places, edges)


def merge_all(shapes: Mapping[int, Shape], takings: Sequence[Taking]) -> list[list[Merged]]:
    """What becomes of the rows by what the mirrors of some shards take, for each of them.

    In one go, because most of what merging a few keys costs does not depend on how few they are.
    """
    merged: list[list[Merged]] = [[] for _ in takings]
    for build, shape in shapes.items():
        for place, one in _merge(build, shape, takings).items():
            merged[place].append(one)
    return merged


def _merge(build: int, shape: Shape, takings: Sequence[Taking]) -> dict[int, Merged]:
    """The rows of a build after what is taken, by the place of each taking that changes any."""
    found = _Gathered.of(build, takings)
    if not found.chunks and not found.folded:
        return {}
    numbered = _Numbered.of(found, len(takings))
    keys: list[bytes] = numbered.keys.to_pylist()
    stored: list[bytes | None] = []
    for place, taking in enumerate(takings):
        part = keys[numbered.edges[place] : numbered.edges[place + 1]]
        stored.extend(taking.heads(build, part) if part else ())
    folded = numbered.codes[len(numbered.codes) - len(found.folded) :]
    base = _base(shape, stored, found, folded)
    commits = np.array([taking.mark.commit for taking in takings], np.int64)
    incarnations = np.array([taking.incarnation for taking in takings], np.uint64)
    heads = add_chunks(
        shape,
        numbered.keys,
        numbered.codes,
        base,
        found.chunks,
        commits[numbered.places],
        incarnations[numbered.places],
    )
    merged = {}
    for place in range(len(takings)):
        begin, end = numbered.edges[place], numbered.edges[place + 1]
        if begin < end:
            own = slice(begin, end)
            beside = found.segments[place]
            merged[place] = _rows(build, shape, keys[own], stored[own], heads[own], found, beside)
    return merged


def _base(shape: Shape, stored: Sequence[bytes | None], found: _Gathered, folded: Int64s) -> Base:
    """The head of each key that the chunks are to be added to.

    `stored` are those in the stores; `folded` says where the folded keys stand among them: theirs
    are the folds' heads.
    """
    heads = [*stored]
    for place, (_, head, _) in zip(folded.tolist(), found.folded.values(), strict=True):
        heads[place] = head
    base = Base.of(shape, heads)
    base.commit[folded] = [commit for commit, _, _ in found.folded.values()]
    return base


def _rows(
    build: int,
    shape: Shape,
    keys: Sequence[bytes],
    stored: Sequence[bytes | None],
    heads: Sequence[bytes | None],
    found: _Gathered,
    segments: Mapping[tuple[bytes, int], bytes | None],
) -> Merged:
    """The rows of one shard, from its keys' heads before and after."""
    folded = [(key, *found.folded[key]) for key in keys if key in found.folded]
    rows = RowWrites(
        build,
        heads=[(key, head) for key, head in zip(keys, heads, strict=True) if head is not None],
        bodies=[(key, body) for key, _, _, body in folded if body is not None],
        deletes=[key for key, _, head, _ in folded if head is None],
        segments=[(key, number, block) for (key, number), block in segments.items()],
        retention_us=shape.retention_us,
    )
    absent = [key for key, head in zip(keys, stored, strict=True) if head is None]
    return Merged(rows, [key for key in absent if key not in found.folded])
