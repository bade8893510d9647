"""Two states of the same keys, compared as a reader would find out: tile by tile, value by value.

Both are brought to the same horizon first, so that it does not matter which of them was folded
more. Tiles are compared one by one (`tilewise`), features by value and status at several instants:
at the horizon, after the newest event, and where time has gone on with no event. Floats may differ
in their last digits, because parts of a sum met in another order.

A session that events of a silent partition had stretched down to ones that were dropped is
`OVERFLOW` in a state that lived through it, and not in one that was made anew: no difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from ..schemas.outcomes import Status
from ..schemas.time import DAY_US, SECOND_US
from ..state.fold import Gathered, gather
from ..state.packing import unpack
from ..state.shard import Shard, StoredKey
from ..windows.algebra import Int64s
from ..windows.finish import FeatureColumn, finish
from ..windows.over import OverSession
from ..windows.shape import Shape
from ..windows.tiles import NEVER_US, KeyedTiles, bounds_of
from .tilewise import Other, Settled, alike, counts_differ, shown, states_differ

_LOST: Final = "the state has no row of this key, of which there are events that count"
_NEVER: Final = "the state has rows of this key, of which there are no events that count"


@dataclass(frozen=True, slots=True)
class Difference:
    """What a key's state says otherwise than its events.

    `place` numbers the key; `feature` and `at_us` are None where it is not about a value.
    """

    place: int
    cause: str
    feature: str | None = None
    at_us: int | None = None
    stored: str | None = None
    recomputed: str | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """What one state holds of some keys."""

    gathered: Gathered
    instants: KeyedTiles | None


def side_of(
    shape: Shape, build: int, keys: Sequence[bytes], rows: Sequence[StoredKey], shard: Shard
) -> Side:
    """What `shard` holds of keys, of which `rows` were read. Raises what does not decode."""
    segments = list(shard.segments.all_of(build, keys))
    gathered = gather(shape, keys, rows)
    if not segments:
        return Side(gathered, None)
    place = {key: number for number, key in enumerate(keys)}
    blocks = unpack(shape, [block for _, _, block in segments], stamped=False)
    owner = np.repeat(np.array([place[key] for key, _, _ in segments]), np.diff(blocks.bounds))
    order = np.argsort(owner, kind="stable")
    names = pa.array([b""] * len(keys), type=pa.large_binary())
    nothing = np.full(len(keys), NEVER_US)
    bounds = bounds_of(owner[order], len(keys))
    return Side(gathered, KeyedTiles(names, bounds, nothing, blocks.tiles.take(order)))


def compare(
    shape: Shape, stored: Side, made: Side, seed: int, latest_us: int = NEVER_US
) -> Iterator[Difference]:
    """The differences: of each key at most one a feature, or else one of its tiles.

    `latest_us` is the latest horizon that any fold may have had. A key of which it left nothing
    has no row any more that tells it; so of one without a horizon only what is read after that one
    is compared.
    """
    horizon_us = np.maximum(stored.gathered.horizon_us, made.gathered.horizon_us)
    has_none = stored.gathered.horizon_us == NEVER_US
    kept_us = np.where(has_none, np.maximum(horizon_us, latest_us), horizon_us)
    pairs = [[Settled.of(shape, one.gathered, horizon_us, kept_us) for one in (stored, made)]]
    if shape.segment_reach_us is not None:
        pairs.append(
            [
                Settled.of_instants(shape, one.gathered, one.instants, kept_us)
                for one in (stored, made)
            ]
        )
    causes = _causes(stored, made, pairs, len(horizon_us))
    told: set[tuple[int, int]] = set()
    instants = list(_instants(shape, stored, made, horizon_us, seed))
    for at_us in instants:
        ours, theirs = (_values(shape, one, at_us) for one in (stored, made))
        for number, feature in enumerate(shape.features):
            forgives = isinstance(feature.aggregate, OverSession)
            for place in range(len(at_us)):
                columns = ours[number], theirs[number]
                if (place, number) in told or _same(*columns, place, forgives=forgives):
                    continue
                told.add((place, number))
                cause = causes.get(place, "the states differ; they count the same events")
                texts = _shown(columns[0], place), _shown(columns[1], place)
                yield Difference(place, cause, feature.name, int(at_us[place]), *texts)
    equal = np.array([place not in causes for place in range(len(horizon_us))], np.bool_)
    for one, two in pairs:
        for other in states_differ(shape, one.of_keys(equal), two.of_keys(equal), instants[1]):
            yield from _hidden(shape, other, told)
    for place in causes.keys() - {one for one, _ in told}:
        yield Difference(place, causes[place])


def _causes(
    stored: Side, made: Side, pairs: Sequence[Sequence[Settled]], key_count: int
) -> dict[int, str]:
    """Why the states of keys differ, where other events count."""
    causes: dict[int, str] = {}
    for one, two in pairs:
        causes = {**counts_differ(one, two, key_count), **causes}
    for side, beside, cause in ((stored, made, _LOST), (made, stored, _NEVER)):
        has, had = (np.diff(of.gathered.tiles.bounds) > 0 for of in (side, beside))
        gone = np.flatnonzero(had & ~has).tolist()
        causes.update((place, cause) for place in gone if place in causes)
    return causes


def _hidden(shape: Shape, other: Other, told: set[tuple[int, int]]) -> Iterator[Difference]:
    """A tile that is another, unless its key's values have told of it."""
    if other.feature is None:
        if not any(place == other.place for place, _ in told):
            told.add((other.place, -1))
            yield Difference(other.place, f"{other.tile}: {other.stored}")
    elif (other.place, other.feature) not in told:
        told.add((other.place, other.feature))
        cause = f"{other.tile}, which no window shows at the instants compared"
        name = shape.features[other.feature].name
        yield Difference(other.place, cause, name, None, other.stored, other.made)


def _values(shape: Shape, side: Side, at_us: Int64s) -> list[FeatureColumn]:
    gathered = side.gathered
    return finish(shape, gathered.tiles, at_us, gathered.horizon_us, instants=side.instants)


def _instants(
    shape: Shape, stored: Side, made: Side, horizon_us: Int64s, seed: int
) -> Iterator[Int64s]:
    """Instants of reading, one a key each time."""
    newest_us = np.maximum(stored.gathered.tiles.newest_us, made.gathered.tiles.newest_us)
    known = newest_us > NEVER_US
    newest_us = np.where(known, newest_us, np.where(horizon_us > NEVER_US, horizon_us, 0))
    first_us = np.where(horizon_us > NEVER_US, horizon_us, newest_us + 1)
    after_us = np.maximum(newest_us + 1, first_us)
    chance = np.random.default_rng(seed)
    span_us = max(shape.reach_us, DAY_US)
    yield first_us
    yield after_us
    between = (after_us - first_us) * chance.random(len(first_us))
    middle_us = first_us + between.astype(np.int64)
    yield np.maximum(middle_us - middle_us % SECOND_US, first_us)
    for _ in range(2):
        later_us = after_us + (span_us * chance.random(len(first_us))).astype(np.int64)
        yield later_us - later_us % SECOND_US + SECOND_US


def _same(one: FeatureColumn, other: FeatureColumn, place: int, *, forgives: bool) -> bool:
    status, wanted = int(one.statuses[place]), int(other.statuses[place])
    if forgives and status == Status.OVERFLOW:
        return True
    return status == wanted and alike(one.values[place], other.values[place])


def _shown(column: FeatureColumn, place: int) -> str:
    status, text = Status(int(column.statuses[place])), shown(column.values[place])
    return text if status is Status.PRESENT else f"{text} {status.name}"
