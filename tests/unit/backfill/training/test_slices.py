"""Events cut by time are answered as all of them at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tegula as tg
from tegula import agg
from tegula.backfill.training import slices
from tegula.backfill.training.asked import Part, resolve
from tegula.backfill.training.compute import answers, events_of, numbered, rows_of
from tegula.backfill.training.spool import Workspace
from tests.support.training import card, payments

BOUNDED = {"n": agg.count().over(tg.sliding("1h", resolution="exact"))}
EVERY = BOUNDED | {
    "total": agg.sum("amount").over(tg.lifetime()),
    "shops": agg.approx_distinct("shop").over(tg.lifetime()),
    "last": agg.last_n("shop", n=2).over(tg.last(3)),
    "session": agg.count().over(tg.session("1m")),
}
small = st.integers(0, 9)
minutes = st.integers(0, 200)
events = st.lists(st.tuples(small, minutes, minutes, st.integers(0, 3)), max_size=30)
rows = st.lists(st.tuples(small, minutes), min_size=1, max_size=12)


def part_of(features: dict[str, object]) -> Part:
    view = tg.FeatureView("v", entity=card, stream=payments, features=features)
    return resolve(view, None, None).parts[0]


PARTS = [part_of(EVERY), part_of(BOUNDED)]


def spooled(part: Part, given: list[tuple[int, int, int, int]]) -> list[pl.DataFrame]:
    """Frames of some events, as buckets hold them."""
    columns = {"float": pl.Series([1.5 * one[3] for one in given], dtype=pl.Float64)}
    columns["string"] = pl.Series([f"s{one[3]}" for one in given], dtype=pl.String)
    frame = pl.DataFrame(
        [
            pl.Series("_key", [b"%d" % one[0] for one in given], pl.Binary),
            pl.Series("_event_us", [one[1] * 60_000_000 for one in given], pl.Int64),
            pl.Series("_ordinal", [0] * len(given), pl.Int64),
            pl.Series("_offset", range(len(given)), pl.Int64),
            pl.Series("_known_us", [(one[1] + one[2]) * 60_000_000 for one in given], pl.Int64),
            *(columns[kind].alias(f"_{n}") for n, (_, _, kind) in enumerate(part.build.inputs)),
        ]
    )
    return [frame[first : first + 7] for first in range(0, len(given), 7)]


@pytest.mark.parametrize("part", PARTS, ids=["every", "bounded"])
@given(given_events=events, asked=rows, most=st.integers(1, 12), by_known=st.booleans())
def test_law_a_bucket_in_slices_has_the_answers_of_the_whole(
    part, given_events, asked, most, by_known
):
    spine = pl.DataFrame(
        [
            pl.Series("_row", range(len(asked)), pl.Int64),
            pl.Series(
                "_key", [None if one[0] == 9 else b"%d" % one[0] for one in asked], pl.Binary
            ),
            pl.Series("_at_us", [one[1] * 60_000_000 for one in asked], pl.Int64),
        ]
    )
    pairs, keys = numbered(spine)
    frames = spooled(part, given_events)
    known = events_of(frames, keys)
    known_us = np.empty(0, np.int64) if known is None else known.known_us
    whole = answers(part, rows_of(part.build, known, by_known=by_known), known_us, pairs)
    with pytest.MonkeyPatch.context() as patch, Workspace(Path("unused"), 1 << 30) as workspace:
        patch.setattr(slices, "ROWS_MAX", most)
        spool = workspace.spool()
        for frame in frames:
            spool.append(frame)
        cut = slices.sliced(spool, workspace)
        assert sum(one.rows for one in cut.spools) == len(given_events)
        turned = slices.in_turns(part, cut, keys, pairs, by_known=by_known)
    for name, one, other in zip(part.columns, turned.found, whole.found, strict=True):
        assert one.values.equals(other.values), name
        assert one.statuses.tolist() == other.statuses.tolist(), name
        assert one.newest_us.tolist() == other.newest_us.tolist(), name
    assert turned.late.tolist() == whole.late.tolist()
