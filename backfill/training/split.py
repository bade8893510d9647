"""Parts of a set for fitting and for judging a model, which cannot tell each other anything.

By time: what is fitted on must have been known when the judged part begins, labels too. By entity:
no key is in two parts. Both are decided from the set alone, so they are the same in every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import xxhash

from ...connectors.rfc3339 import parse_one
from ...schemas.errors import BadDataset
from ...schemas.time import Duration, format_duration, parse_duration
from ...schemas.types import DataType
from .instants import instants_of
from .spine import encoded_keys

if TYPE_CHECKING:
    from .result import TrainingSet


def split_by_time(
    dataset: TrainingSet, *cuts: str, embargo: Duration | None = None
) -> tuple[pl.DataFrame, ...]:
    """The rows before the first cut, between the cuts, and from the last one on.

    Each part but the last ends `embargo` before its cut; rows in between are in no part. Without
    one it is the longest of all windows and of the labels' outcome delays, so that no window of a
    judged row reaches an instant that was fitted on; windows without bound are left out of that,
    they hold the past only. It may be shorter, but not shorter than the outcome delay: such labels
    were not known yet. `cuts` ascend.

    Raises `BadDataset` for cuts that are no instants or do not ascend, and for a short embargo.
    """
    manifest = dataset.manifest
    outcome_us = manifest["outcome_us"]
    if embargo is None:
        embargo_us = max(outcome_us, manifest["longest_us"])
    else:
        embargo_us = parse_duration(embargo)
    if embargo_us < outcome_us:
        raise BadDataset(
            "labels of the earlier part would not be known when the later one begins",
            got=f"an embargo of {format_duration(embargo_us)}",
            expected=f"at least the outcome delay, {format_duration(outcome_us)}",
        )
    edges = [parse_one(cut) for cut in cuts]
    known = [edge for edge in edges if edge is not None]
    if len(known) < len(edges) or not known or sorted(set(known)) != known:
        raise BadDataset(
            "a set is cut at instants that ascend",
            got=", ".join(cuts) or "none",
            expected="instants such as 2024-05-01T00:00:00Z",
        )
    frame = dataset.to_polars()
    at_us = pl.Series(instants_of(frame[manifest["at"]], manifest["time_zone"], 0, "at"))
    begins = [-(2**63), *known]
    ends = [*(edge - embargo_us for edge in known), 2**63 - 1]
    return tuple(
        frame.filter((at_us >= begin) & (at_us < end))
        for begin, end in zip(begins, ends, strict=True)
    )


def split_by_entity(
    dataset: TrainingSet,
    shares: Sequence[float] = (0.8, 0.2),
    *,
    keys: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[pl.DataFrame, ...]:
    """Rows by hash of their key, so that all rows of a key are in one part.

    `shares` are of keys, and add up to 1; `keys` are the entity's key columns, needed where the set
    is of several entities. Another `seed` gives other parts. Rows without a key are in the first.

    Raises `BadDataset` for shares that do not add up, and where the entity is not clear.
    """
    if not shares or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise BadDataset("shares add up to 1", got=", ".join(map(str, shares)))
    manifest = dataset.manifest
    entities = {
        tuple(name for name, _ in entity): tuple((name, DataType(kind)) for name, kind in entity)
        for entity in manifest["entities"]
    }
    named = tuple(keys) if keys is not None else next(iter(entities))
    if named not in entities or (keys is None and len(entities) > 1):
        raise BadDataset(
            "it is not clear which entity is meant",
            got=", ".join(named) if keys is not None else f"{len(entities)} entities",
            expected=" or ".join(f"keys={[*one]}" for one in entities),
        )
    frame = dataset.to_polars()
    encoded = encoded_keys(frame, entities[named], manifest["keys"], manifest["time_zone"], 0)
    unit = _units(encoded, seed)
    edges = np.cumsum(shares)
    part = np.minimum(np.searchsorted(edges, unit, side="right"), len(shares) - 1)
    return tuple(frame.filter(pl.Series(part == number)) for number in range(len(shares)))


def _units(keys: pl.Series, seed: int) -> np.ndarray:
    """A number in [0, 1) for each key, from its hash; 0 for none."""
    distinct = keys.unique()
    table: Mapping[Any, float] = {
        key: 0.0 if key is None else xxhash.xxh3_64_intdigest(key, seed=seed) / 2.0**64
        for key in distinct.to_list()
    }
    places = {key: value for key, value in table.items() if key is not None}
    found = keys.replace_strict(
        list(places), list(places.values()), default=0.0, return_dtype=pl.Float64
    )
    return found.fill_null(0.0).to_numpy()
