"""What a training set may know, to the microsecond: an instant moved by one changes the value.

Each key has one event, and each of its rows is a microsecond before, at, or after the instant at
which the event begins to count, or ceases to. So whoever shifts one comparison on the way from the
archive to the value leaks the future, or forgets what was known, in some row here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

import tegula as tg
from tegula import agg, calendar, hopping, last, lifetime, series, session, since, sliding, tumbling
from tegula.schemas.errors import BadDataset, BadSpine
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US

NOON_US = 1_714_564_800_000_000  # 2024-05-01T12:00:00Z
KEYS = 12
SHIFTS_US = (-1, 0, 1)
LAG_US = 5 * SECOND_US
"""How long after its event time an event is in the log."""

card = tg.Entity("card", keys={"card_id": tg.String})
payments = tg.Stream(
    "payments",
    schema={
        "card_id": tg.String,
        "amount": tg.Float64,
        "yes": tg.Bool,
        "zone": tg.String,
        "at": tg.Timestamp.of("us"),
    },
    event_time="at",
    disorder="1m",
)
WINDOWS: Mapping[str, Any] = {
    "sliding": sliding("10m"),
    "exact": sliding("10m", resolution="exact"),
    "tumbling": tumbling("1d", current=True),
    "hopping": hopping("1d", "6h", current=True),
    "day": calendar("day", tz="UTC"),
    "home": calendar("day", tz=pl.col("zone")),
    "series": series("10m", "10m", 2),
    "lifetime": lifetime(),
    "last": last(2),
    "within": last(2, within="10m"),
    "since": since("yes"),
    "session": session("30s"),
}
"""Windows up to the instant."""
UPTO: Mapping[str, Any] = {
    "exact_upto": sliding("10m", resolution="exact", include_instant=True),
    "tumbling_upto": tumbling("1d", current=True, include_instant=True),
    "home_upto": calendar("day", tz=pl.col("zone"), include_instant=True),
    "lifetime_upto": lifetime(include_instant=True),
    "last_upto": last(2, include_instant=True),
    "session_upto": session("30s", include_instant=True),
}
"""Windows that include it."""
OLDER: Mapping[str, tuple[Any, int]] = {
    "exact": (sliding("10m", resolution="exact"), 10 * MINUTE_US),
    "before": (sliding("10m", resolution="exact", offset="5m"), 15 * MINUTE_US),
    "within": (last(2, within="10m"), 10 * MINUTE_US),
}
"""Windows with an exact older edge, and how long ago it is."""


def view_of(windows: Mapping[str, Any], name: str = "v") -> tg.FeatureView:
    features = {f"n_{one}": agg.count().over(window) for one, window in windows.items()}
    features |= {f"sum_{one}": agg.sum("amount").over(window) for one, window in windows.items()}
    return tg.FeatureView(name, entity=card, stream=payments, features=features)


SPEND = view_of(WINDOWS | UPTO | {"before": OLDER["before"][0]})


@pytest.fixture(scope="module")
def story(request: pytest.FixtureRequest) -> Iterator[tuple[tg.TestDriver, np.ndarray]]:
    """A driver, and when each key's one event happened; it came `LAG_US` later."""
    rng = np.random.default_rng(int(request.config.option.hypothesis_seed))
    event_us = NOON_US + np.sort(rng.integers(0, HOUR_US, KEYS))
    with tg.TestDriver(SPEND, at=NOON_US - DAY_US) as driver:
        send(driver, "first", NOON_US - DAY_US)
        for key, at_us in enumerate(event_us.tolist()):
            driver.advance_to(at_us + LAG_US)
            send(driver, f"k{key}", at_us)
            if key == KEYS // 2:
                driver.settle()
                driver.engine.archiving.flush()
        driver.advance_to(NOON_US + DAY_US)
        yield driver, event_us


def send(driver: tg.TestDriver, key: str, at_us: int) -> None:
    event = {"card_id": key, "amount": 2.0, "yes": False, "zone": "UTC", "at": at_us}
    driver.send("payments", event, partition="0")


def shifted(instants_us: np.ndarray) -> pl.DataFrame:
    """A spine with each key a microsecond before, at, and after its instant."""
    return pl.DataFrame(
        {
            "card_id": [f"k{key}" for key in range(KEYS) for _ in SHIFTS_US],
            "at": [at_us + by for at_us in instants_us.tolist() for by in SHIFTS_US],
        }
    )


def counts(
    driver: tg.TestDriver, spine: pl.DataFrame, features: Any = SPEND, **options: Any
) -> Any:
    made = tg.training_set(
        spine, features, project=driver.settings, **{"now_us": driver.clock(), **options}
    )
    assert made.rows == spine.height
    return made.to_polars()


def check(made: pl.DataFrame, names: Any, expected: list[int]) -> None:
    """The counts at the three instants of every key, and the sums of what counts."""
    for name in names:
        for column, worth in ((f"v:n_{name}", 1), (f"v:sum_{name}", 2.0)):
            got = made[column].to_list()
            if name == "series":
                got = [sum(listed) for listed in got]
            assert got == [worth * count for count in expected] * KEYS, column


def test_law_an_event_counts_from_right_after_it_happened(story):
    driver, event_us = story
    made = counts(driver, shifted(event_us))
    check(made, WINDOWS, [0, 0, 1])
    check(made, UPTO, [0, 1, 1])


@pytest.mark.parametrize("delay_us", [0, 1, MINUTE_US])
def test_law_by_known_an_event_counts_from_right_after_it_landed(story, delay_us):
    driver, event_us = story
    spine = shifted(event_us + LAG_US + delay_us)
    made = counts(driver, spine, clock="known", landing_delay=f"{delay_us}us")
    check(made, WINDOWS | UPTO, [0, 0, 1])


@pytest.mark.parametrize("clock", ["event", "known"])
def test_law_an_event_counts_as_long_as_the_window_reaches(story, clock):
    driver, event_us = story
    for name, (_, reach_us) in OLDER.items():
        made = counts(driver, shifted(event_us + reach_us), clock=clock)
        check(made, [name], [1, 1, 0])


def test_law_late_rows_are_those_between_an_event_and_its_landing(story):
    driver, event_us = story
    for instants_us, late in ((event_us, 1), (event_us + LAG_US, 2)):
        spine = shifted(instants_us)
        made = tg.training_set(spine, SPEND, project=driver.settings, now_us=driver.clock())
        assert made.late_rows == late * KEYS


def test_law_a_feature_as_label_is_read_so_much_later_and_not_before_it_can_be(story):
    driver, event_us = story
    labels = {SPEND["n_lifetime"]: "3m", "y": "7m"}
    spine = shifted(event_us - 3 * MINUTE_US).with_columns(y=pl.lit(1))
    made = counts(driver, spine, SPEND["n_exact"], labels=labels)
    assert made["v:n_lifetime+3m"].to_list() == [0, 0, 1] * KEYS
    now_us = int(event_us[-1]) + DAY_US // 4
    for delay_us, column in ((3 * MINUTE_US, "v:n_lifetime+3m"), (7 * MINUTE_US, "y")):
        spine = shifted(np.full(KEYS, now_us - delay_us)).with_columns(y=pl.lit(1))
        made = counts(driver, spine, SPEND["n_exact"], labels=labels, now_us=now_us)
        assert made[column].to_list() == [1, 1, None] * KEYS


def test_law_a_label_is_known_at_the_instant_at_which_its_delay_is_over(story):
    driver, _ = story
    for delay in ("0s", "1us", "7m"):
        now_us = driver.clock()
        spine = shifted(np.full(KEYS, now_us - HOUR_US)).with_columns(y=pl.lit(1))
        options: dict[str, Any] = {"labels": {"y": delay}, "now_us": now_us - HOUR_US + 1}
        made = counts(driver, spine, **options)
        expected = {"0s": [1, 1, 1], "1us": [1, 1, None], "7m": [None] * 3}[delay]
        assert made["y"].to_list() == expected * KEYS


def test_law_history_begins_at_its_first_event_and_nothing_is_asked_of_the_future(story):
    driver, _ = story
    first_us = NOON_US - DAY_US
    made = counts(driver, shifted(np.full(KEYS, first_us)))
    assert made["v:n_lifetime"].to_list() == [None, 0, 0] * KEYS
    spine = shifted(np.full(KEYS, NOON_US))
    with pytest.raises(BadSpine, match="lies in the future"):
        counts(driver, spine, now_us=NOON_US)
    assert counts(driver, spine, now_us=NOON_US + 1).height == spine.height


def test_law_parts_by_time_are_cut_to_the_microsecond(story):
    driver, _ = story
    cut_us, gap_us = NOON_US + HOUR_US, 10 * MINUTE_US
    edges = np.array([cut_us - gap_us, cut_us] * (KEYS // 2))
    spine = shifted(edges).with_columns(y=pl.lit(1))
    made = tg.training_set(
        spine, SPEND["n_exact"], labels={"y": "10m"}, project=driver.settings, now_us=driver.clock()
    )
    early, late = made.split_by_time("2024-05-01T13:00:00Z", embargo="10m")
    assert sorted(set(early["at"])) == [cut_us - gap_us - 1]
    assert sorted(set(late["at"])) == [cut_us, cut_us + 1]
    with pytest.raises(BadDataset, match="labels of the earlier part"):
        made.split_by_time("2024-05-01T13:00:00Z", embargo=f"{gap_us - 1}us")
    # Without one it is the longest of windows and delays: here both are ten minutes.
    assert made.split_by_time("2024-05-01T13:00:00Z")[0].equals(early)
