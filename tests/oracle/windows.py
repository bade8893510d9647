"""Random windows: as Tegula's, and as plain facts for the naive recomputation."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import strategies as st

import tegula as tg
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tegula.windows.ladder import automatic_resolution_us
from tests.oracle import naive
from tests.oracle.places import Place


def sliding(
    length_us: int, resolution: str | int, offset_us: int, include: bool
) -> tuple[Any, naive.Window]:
    """A sliding window, and the same as plain facts."""
    grid_us = {"auto": automatic_resolution_us(length_us), "exact": 1}.get(str(resolution))
    spec = tg.sliding(
        f"{length_us}us",
        resolution=resolution if grid_us else f"{resolution}us",
        offset=f"{offset_us}us",
        include_instant=include,
    )
    facts = {"length": length_us, "resolution": grid_us or resolution, "offset": offset_us}
    return spec, {"kind": "sliding", **facts, "include": include}


def tumbling(size_us: int, current: bool, include: bool) -> tuple[Any, naive.Window]:
    """A tumbling window, and the same as plain facts."""
    facts = {"kind": "tumbling", "size": size_us, "current": current, "include": include}
    return tg.tumbling(f"{size_us}us", current=current, include_instant=include), facts


def hopping(size_us: int, hop_us: int, current: bool, include: bool) -> tuple[Any, naive.Window]:
    """A hopping window, and the same as plain facts."""
    size_us = max(size_us, hop_us)
    spec = tg.hopping(f"{size_us}us", f"{hop_us}us", current=current, include_instant=include)
    facts = {"size": size_us, "hop": hop_us, "current": current, "include": include}
    return spec, {"kind": "hopping", **facts}


def series(
    length_us: int, resolution: str | int, step_us: int, count: int, include: bool
) -> tuple[Any, naive.Window]:
    """A series of sliding windows, and the same as plain facts."""
    grid_us = {"auto": automatic_resolution_us(length_us), "exact": 1}.get(str(resolution))
    spec = tg.series(
        f"{length_us}us",
        f"{step_us}us",
        count,
        resolution=resolution if grid_us else f"{resolution}us",
        include_instant=include,
    )
    facts = {"kind": "sliding", "length": length_us, "resolution": grid_us or resolution}
    steps = [{**facts, "offset": n * step_us, "include": include} for n in range(count)]
    return spec, {"kind": "series", "windows": steps}


def calendar(place: Place, unit: str, current: bool, include: bool) -> tuple[Any, naive.Window]:
    """A calendar window, and the same as plain facts."""
    spec = tg.calendar(unit, tz=place.zone, current=current, include_instant=include)
    facts = {"unit": unit, "zone": place.zone, "current": current, "include": include}
    return spec, {"kind": "calendar", **facts}


def zoned(unit: str, current: bool, include: bool) -> tuple[Any, naive.Window]:
    """A calendar window in each key's own zone, and the same as plain facts."""
    spec = tg.calendar(unit, tz=pl.col("zone"), current=current, include_instant=include)
    return spec, {"kind": "zoned", "unit": unit, "current": current, "include": include}


def lifetime(include: bool) -> tuple[Any, naive.Window]:
    """The lifetime window, and the same as plain facts."""
    return tg.lifetime(include_instant=include), {"kind": "lifetime", "include": include}


def last(count: int, within_us: int | None, skip: int, include: bool) -> tuple[Any, naive.Window]:
    """The newest events, also of a span or before some newer ones, and the same as plain facts."""
    within = None if within_us is None else f"{within_us}us"
    spec = tg.last(count, within=within, skip=skip, include_instant=include)
    facts = {"kind": "last", "count": count, "skip": skip, "include": include}
    return spec, facts | ({} if within_us is None else {"within": within_us})


def since(cap: int, include: bool) -> tuple[Any, naive.Window]:
    """What came after the newest event that says yes, and the same as plain facts."""
    spec = tg.since("yes", cap=cap, include_instant=include)
    return spec, {"kind": "since", "cap": cap, "include": include}


def session(gap_us: int, lateness_us: int, include: bool) -> tuple[Any, naive.Window]:
    """The newest session, and the same as plain facts."""
    spec = tg.session(f"{gap_us}us", lateness=f"{lateness_us}us", include_instant=include)
    facts = {"gap": gap_us, "lateness": lateness_us, "include": include}
    return spec, {"kind": "session", **facts}


lengths_us = st.sampled_from([10 * SECOND_US, 10 * MINUTE_US, HOUR_US, 7 * HOUR_US, 3 * DAY_US])
offsets_us = st.sampled_from([0, 0, 0, 1, 7 * SECOND_US, 30 * MINUTE_US, HOUR_US, 2 * DAY_US])
sizes_us = st.sampled_from([MINUTE_US, 90 * MINUTE_US, DAY_US])
hops_us = st.sampled_from([7 * SECOND_US, MINUTE_US, 25 * MINUTE_US, HOUR_US])
spans_us = st.sampled_from([1, SECOND_US, 10 * MINUTE_US, 7 * HOUR_US, DAY_US, 40 * HOUR_US])
includes = st.sampled_from([False, False, True])
others = st.one_of(
    st.builds(
        series,
        lengths_us,
        st.sampled_from(["auto", "exact", 7 * SECOND_US]),
        st.sampled_from([1, 10 * SECOND_US, HOUR_US, DAY_US]),
        st.integers(1, 4),
        includes,
    ),
    st.builds(sliding, lengths_us, st.just("exact"), offsets_us, includes),
    st.builds(
        sliding,
        lengths_us,
        st.sampled_from(["auto", SECOND_US, 7 * SECOND_US]),
        offsets_us,
        includes,
    ),
    st.builds(tumbling, sizes_us, st.booleans(), includes),
    st.builds(hopping, sizes_us, hops_us, st.booleans(), includes),
    st.builds(lifetime, includes),
    st.builds(
        last,
        st.sampled_from([1, 2, 5, 40]),
        st.none() | spans_us,
        st.sampled_from([0, 0, 1, 3, 30]),
        includes,
    ),
    st.builds(since, st.sampled_from([1, 3, 100]), includes),
    st.builds(
        session,
        st.sampled_from([1, 7 * SECOND_US, MINUTE_US, HOUR_US]),
        st.sampled_from([0, HOUR_US, 5 * DAY_US]),
        includes,
    ),
)


def windows_in(place: Place) -> st.SearchStrategy[tuple[Any, naive.Window]]:
    """Any window; those by the clock are every third."""
    units = st.sampled_from(["day", "day", "week", "month", "year"])
    civil = st.one_of(
        st.builds(calendar, st.just(place), units, st.booleans(), includes),
        st.builds(zoned, units, st.booleans(), includes),
    )
    return st.sampled_from([others, others, civil]).flatmap(lambda strategy: strategy)
