"""Sets by the clock `served` against looking through all answers, one row after the other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tegula as tg
from tegula.backfill.training import build
from tegula.engine.settings import Settings
from tegula.state.served import APPLIED, ServedTable
from tests.support.training import START_US, shops, spend, spine

SERVICES = ("fraud", "limits")
FEATURES = ("spend:n", "spend:last", "shops:n")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UTC_US = pl.Datetime("us", "UTC")
DAY_US = 86_400_000_000

cards = st.sampled_from(["a", "b", None])
places = st.sampled_from(["x", "y", None])
traces = st.sampled_from(["aa" * 16, "bb" * 16])
# Few instants, some of them a µs apart, over two days: so that there are ties and neighbours.
instants = st.builds(
    lambda day, step, us: START_US + day * DAY_US + step * 1_000 + us,
    st.integers(0, 1),
    st.integers(0, 3),
    st.integers(-1, 1),
)
values = st.fixed_dictionaries(
    {
        "spend:n": st.none() | st.integers(0, 9),
        "spend:last": st.none() | st.sampled_from("xyz"),
        "shops:n": st.none() | st.integers(0, 9),
    }
)
statuses = st.fixed_dictionaries(
    {name: st.sampled_from(["PRESENT", "EMPTY", "ERROR", None]) for name in FEATURES}
)
answers = st.fixed_dictionaries(
    {
        "service": st.sampled_from(SERVICES),
        "writer": st.sampled_from(["w1", "w2"]),
        "served_us": instants,
        "as_of": st.sampled_from([None, None, None, START_US]),
        "version": st.integers(1, 2),
        "card_id": cards,
        "shop": places,
        "trace": traces,
        "values": values,
        "statuses": statuses,
    }
)
rows = st.lists(st.tuples(cards, places, instants, st.none() | traces), min_size=1, max_size=8)


def at(us: int | None) -> datetime | None:
    return None if us is None else EPOCH + timedelta(microseconds=us)


def frame_of(given: list[dict[str, Any]]) -> pl.DataFrame:
    """Answers as the writer of a service makes rows of them."""
    own = {
        "_served": pl.Series([at(one["served_us"]) for one in given], dtype=UTC_US),
        "_as_of": pl.Series([at(one["as_of"]) for one in given], dtype=UTC_US),
        "_version": pl.Series([one["version"] for one in given], dtype=pl.Int64),
        "_catalogue": pl.Series([1] * len(given), dtype=pl.Int64),
        "_trace_id": pl.Series([one["trace"] for one in given], dtype=pl.String),
        "_writer": pl.Series([one["writer"] for one in given], dtype=pl.String),
        "_sequence": pl.Series([one["sequence"] for one in given], dtype=pl.Int64),
        "_row": pl.Series([0] * len(given), dtype=pl.Int64),
        "_latency_us": pl.Series([7] * len(given), dtype=pl.Int64),
        "_request": pl.Series([None] * len(given), dtype=pl.String),
        "_applied": pl.Series(pa.nulls(len(given), APPLIED)),
        "card_id": pl.Series([one["card_id"] for one in given], dtype=pl.String),
        "shop": pl.Series([one["shop"] for one in given], dtype=pl.String),
    }
    types = {"spend:n": pl.Int64, "spend:last": pl.String, "shops:n": pl.Int64}
    for name, dtype in types.items():
        told = [one["values"][name] if one["statuses"][name] else None for one in given]
        own[name] = pl.Series(told, dtype=dtype)
        own[f"{name}:status"] = pl.Series([one["statuses"][name] for one in given], dtype=pl.String)
    return pl.DataFrame(own)


def write(lake: Path, given: list[dict[str, Any]]) -> None:
    """Append the answers, in a commit a writer."""
    for service in SERVICES:
        for writer in ("w1", "w2"):
            mine = [one for one in given if (one["service"], one["writer"]) == (service, writer)]
            for number, one in enumerate(mine):
                one["sequence"] = number
            if mine:
                ServedTable(lake, service, writer=writer).append([frame_of(mine)], len(mine))


def naive(
    given: list[dict[str, Any]],
    row: tuple[str | None, str | None, int, str | None],
    feature: str,
    *,
    served_by: str | None,
    max_age_us: int | None,
    by_trace: bool,
) -> tuple[Any, str]:
    """The value and status of a feature at one row of the spine, by looking at every answer."""
    card, shop, at_us, trace = row
    best, newest = None, None
    for one in given:
        key = card if feature.startswith("spend") else shop
        of_key = one["card_id"] if feature.startswith("spend") else one["shop"]
        service, _, version = (served_by or "").partition("@")
        if key is None or key != of_key or one["statuses"][feature] is None:
            continue
        if (service and one["service"] != service) or (version and str(one["version"]) != version):
            continue
        if one["served_us"] > at_us:
            continue
        if max_age_us is not None and at_us - one["served_us"] > max_age_us:
            continue
        if by_trace and one["trace"] != trace:
            continue
        if not by_trace and one["as_of"] is not None:
            continue
        place = (one["served_us"], one["service"], one["writer"], one["sequence"])
        if newest is None or place > newest:
            best, newest = one, place
    if best is None:
        return None, "NOT_SERVED"
    return best["values"][feature], best["statuses"][feature]


@given(
    given_answers=st.lists(answers, min_size=1, max_size=12),
    given_rows=rows,
    served_by=st.sampled_from([None, "fraud", "limits@2"]),
    max_age_us=st.sampled_from([None, 1, 1_000, DAY_US]),
    by_trace=st.booleans(),
    buckets=st.sampled_from([1, 3]),
)
def test_oracle_values_are_those_of_the_newest_answer(
    given_answers, given_rows, served_by, max_age_us, by_trace, buckets
):
    service = (served_by or given_answers[0]["service"]).partition("@")[0]
    given_answers[0]["service"] = service  # at least one answer: a log that lacks is an error
    table = spine(*[0] * len(given_rows)).with_columns(
        card_id=pl.Series([one[0] for one in given_rows], dtype=pl.String),
        shop=pl.Series([one[1] for one in given_rows], dtype=pl.String),
        at=pl.Series([one[2] for one in given_rows]),
        trace=pl.Series([one[3] for one in given_rows], dtype=pl.String),
    )
    with TemporaryDirectory() as folder:
        settings = Settings(project=Path(folder), shards=4)
        write(settings.lake_path, given_answers)
        options: dict[str, Any] = {
            "clock": "served",
            "served_by": served_by,
            "max_age": None if max_age_us is None else f"{max_age_us}us",
            "trace": "trace" if by_trace else None,
            "include": ["status"],
            "project": settings,
            "now_us": START_US + 3 * DAY_US,
        }
        features = [spend["n"], spend["last"], shops["n"]]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build, "bucket_count", lambda *sizes: buckets)
            made = tg.training_set(table, features, cores=2, **options)
    frame = made.to_polars()
    assert frame.select(table.columns).equals(table)
    for feature in FEATURES:
        got = list(zip(frame[feature], frame[f"{feature}|status"], strict=True))
        assert got == [
            naive(
                given_answers,
                row,
                feature,
                served_by=served_by,
                max_age_us=max_age_us,
                by_trace=by_trace,
            )
            for row in given_rows
        ], feature
