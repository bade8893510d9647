"""Any stream, however disordered, cut, crashed and folded, against the naive recomputation.

One example is a small definition (windows, inputs, lateness), and a script of what happens to it:
events to four partitions (in order, late, expired, ahead, from the future, unreadable), the clock
moving on, batches of any size, several batches a commit, crashes, crashes *between* the shards'
commits, forced folds and sweeps, backfills beside all this. After every few steps all features of
all keys are compared with the raw log: values, statuses, and the conservation law; at the end also
with a replay of the log, or with a backfill.

A failure prints the whole script, and the blob that makes Hypothesis run it again. More examples:
`TEGULA_ORACLE_EXAMPLES=2000`.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tegula as tg
from tegula.engine.runtime import streams as reading
from tegula.engine.runtime.feeds import DecodedFeed
from tegula.engine.runtime.housekeeping import outcomes as counted
from tegula.engine.steps import lanes
from tegula.engine.steps.commit import ShardCommit
from tegula.schemas.errors import BackfillRunning
from tegula.schemas.outcomes import Status
from tegula.schemas.time import DAY_US, SECOND_US
from tegula.state import fold as folding
from tegula.state.fold import HEAD_TILES_MAX, Folded
from tegula.state.keys import encode_key, shard_of
from tests.oracle import naive, naive_calendar
from tests.oracle.cases import (
    AHEAD_US,
    HERE,
    INPUTS,
    KEYS,
    NAIVE_PARAMS,
    NO_ZONES,
    SHARDS,
    ZONES,
    Case,
    Row,
    cases,
    scripts,
)

EXAMPLES = int(os.environ.get("TEGULA_ORACLE_EXAMPLES", "6"))
OUTCOMES = ("folded", "filtered", "duplicate", "expired", "dead_lettered")


class Torn(Exception):
    """The process dies between the commits of two shards."""


@dataclass
class World:
    """A running driver, and all that its log was given."""

    case: Case
    driver: tg.TestDriver
    is_crowded: bool
    records: list[naive.Record] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)

    def send(self, argument: tuple[str, Sequence[Row | bytes]]) -> None:
        partition, given = argument
        now_us = self.driver.clock()
        payloads: list[Row | bytes] = []
        for one in given:
            offset = self.ends.get(partition, 0)
            self.ends[partition] = offset + 1
            if isinstance(one, bytes):
                payloads.append(one)
                record = naive.Record(int(partition), offset, now_us, None, None)
            else:
                row = {name: value for name, value in one.items() if name != "age_us"}
                row["at"] = now_us - one["age_us"]
                row["zone"] = self.case.place.zone if row["zone"] == HERE else row["zone"]
                payloads.append(row)
                record = naive.Record(int(partition), offset, now_us, row["k"], row["at"], row)
            self.records.append(record)
        self.driver.send("events", payloads, partition=partition)

    def burst(self, argument: tuple[str, int, int, int]) -> None:
        """Many events at once, most of them within a span before now."""
        partition, count, span_us, seed = argument
        chance = random.Random(seed)
        rows = [
            {
                "k": chance.choice(KEYS),
                "x": chance.choice([None, chance.uniform(-1e3, 1e3), float(chance.randint(-9, 9))]),
                "n": chance.choice([None, chance.randint(-2, 5)]),
                "yes": chance.choice([None, True, False]),
                "word": chance.choice([None, "", chance.choice("abcdefg") * chance.randint(1, 9)]),
                "tags": chance.choice([None, chance.choices(["", "a", "b", "é", None], k=3)]),
                "numbers": [float(chance.randint(-2, 2)) for _ in range(chance.randint(0, 3))],
                "zone": chance.choice(ZONES if chance.random() < 0.9 else NO_ZONES),
                "age_us": int(span_us * (1.05 * chance.random() ** 2 - 0.05)),
            }
            for _ in range(count)
        ]
        self.send((partition, [{**row, "age_us": max(row["age_us"], -AHEAD_US)} for row in rows]))

    def advance(self, span_us: int) -> None:
        self.driver.advance_to(self.driver.clock() + span_us)

    def gather(self, batch_count: int) -> None:
        """Several batches in one commit, which may be lost in a crash that comes before it."""
        engine = self.driver.engine
        for _ in range(batch_count):
            work = engine.poll()
            if work is not None:
                for parcel in engine.lift(work):
                    engine.add(parcel)

    def crash(self, read_before: bool) -> None:
        if read_before:
            self.driver.settle()
        self.driver.crash()
        self.driver.restart()

    def tear(self, place: int) -> None:
        """Die when the shards before `place` have committed and the others have not."""

        def die(*_: object) -> int:
            raise Torn

        shard = self.driver.engine.shards[place]
        shard.commit = die  # type: ignore[method-assign]
        with suppress(Torn):
            self.driver.settle()
        self.driver.crash()
        self.driver.restart()

    def fold(self, names: Sequence[str]) -> None:
        """Fold keys now, as far as the watermark of their stream allows."""
        self.driver.settle()
        engine = self.driver.engine
        committer, watermarks_us = engine.ingest.committer, engine.ingest.watermarks.least_us()
        for build, shape in committer.shapes.items():
            for name in names:
                key = encode_key((name,), ("string",))
                place = shard_of(key, SHARDS)
                if build in watermarks_us:
                    folded = committer.fold(place, build, [key], shape, watermarks_us[build])
                    assert isinstance(folded, Folded)
                    engine.mirrors.offer([ShardCommit(place, (folded,))])

    def rebuild(self, flush: bool) -> None:
        """Begin a backfill, which goes on beside whatever comes next; retire what it replaces."""
        engine, catalogue = self.driver.engine, self.driver.engine.registry.catalogue()
        for build in engine.registry.builds(("live",)):
            if build.id != catalogue.active.get("view"):
                engine.registry.retire(build.id)
        if flush:
            engine.archiving.flush()
        with suppress(BackfillRunning):
            engine.registry.start_backfill("view", self.driver.clock())
            engine.look()

    def check(self, back_us: int) -> None:
        """Compare everything now; and as of a while ago, where that is within history."""
        self.compare(self.driver, self.driver.clock())
        back_us = min(back_us, self.case.depth_us)
        self.compare(self.driver, self.driver.clock() - back_us)

    def edge(self, seed: int) -> None:
        """Compare where an event enters or leaves a window, and 1 µs beside it."""
        chance = random.Random(seed)
        facts = chance.choice(self.case.windows)[1]
        times_us = [record.at_us for record in self.records if record.at_us is not None]
        if not times_us:
            return
        edge_us = chance.choice(times_us)
        one = chance.choice(naive.elements(facts))
        edge_us += chance.choice([0, *naive.passes(one)])
        for at_us in (edge_us - 1, edge_us, edge_us + 1):
            now_us = self.driver.clock()
            if now_us - self.case.depth_us <= at_us <= now_us + 4 * DAY_US:
                self.driver.advance_to(at_us)
                self.compare(self.driver, at_us)

    def turn(self, partition: str) -> None:
        """Events about the next midnight where the story is told, and a look from either side."""
        now_us, zone = self.driver.clock(), self.case.place.zone
        turn_us = naive_calendar.next_midnight_us(now_us, zone)
        self.driver.advance_to(turn_us)
        row = {"k": KEYS[0], "x": 1.0, "n": 1, "yes": True, "word": "a", "zone": HERE}
        row |= {"tags": ["a"], "numbers": []}
        self.send((partition, [{**row, "age_us": age_us} for age_us in (1, 0)]))
        for at_us in (turn_us, turn_us + 1, turn_us + SECOND_US):
            self.driver.advance_to(at_us)
            self.compare(self.driver, at_us)

    def compare(self, driver: tg.TestDriver, at_us: int) -> dict[str, list[Any]]:
        folded, outcomes = naive.judge(self.records, self.case.rules())
        driver.settle()
        for build in driver.engine.deployed.builds:
            found = counted(driver.engine.shards, build.id)
            assert {name: outcomes[name] for name in found} == found, f"build {build.id}"
            assert found["read"] == sum(found[name] for name in OUTCOMES)
        reply = driver.read(self.features(), {"k": list(KEYS)}, as_of=at_us)
        for place, key in enumerate(KEYS):
            mine = [record for record in folded if record.key == key]
            for name in self.case.names():
                full = f"view:{name}"
                got = reply.values[full][place], Status(reply.statuses[full][place])
                self.compare_one(name, mine, at_us, *got)
        return reply.values

    def features(self) -> list[str]:
        return [f"view:{name}" for name in self.case.names()]

    def compare_one(
        self, name: str, mine: Sequence[naive.Record], at_us: int, got: Any, status: Status
    ) -> None:
        aggregate, source, place, where = name.split("__")
        window, of_row = self.case.windows[int(place)][1], INPUTS[source].of_row
        events = [
            naive.Event(
                r.at_us or 0,
                r.partition,
                r.offset,
                of_row(r.row) if self.case.is_chosen(where, r.row) else None,
                bool(r.row["yes"]),
                r.row[self.case.by] if self.case.by else None,
                r.row["zone"],
            )
            for r in mine
        ]
        is_map, where = where == "by", f"{name} at {at_us}: {got!r} {status.name}, {window}"
        later = any(event.at_us >= at_us for event in events)
        # A head past its bound has moved its own horizon on, past what `as_of` may ask for.
        is_past = self.is_crowded and at_us < self.driver.clock()
        if status is Status.COARSE:
            if is_past:
                return
            assert later, where
            assert self.is_cut(window, mine, at_us), where
            return
        # Counting is counting values here: without an input every event has the value true.
        named, params = aggregate, NAIVE_PARAMS.get(aggregate)
        if aggregate == "count":
            named = "count_values"
        statuses, windows = [], naive.elements(window)
        values = got if window["kind"] == "series" else [got]
        for one, value in zip(windows, values, strict=True):
            if is_map:
                cap = self.case.cap
                expected = naive.by_category(named, one, events, at_us, params, cap)
            else:
                expected = naive.value(named, one, events, at_us, params)
            assert naive.same(value, expected), f"{where}, expected {expected!r}"
            statuses.append(naive.status(expected, one, events, at_us, self.case.retained_us()))
        wanted = max(statuses, key=("NOT_FOUND", "EMPTY", "PRESENT", "OVERFLOW", "NO_ZONE").index)
        if is_past or (later and status is Status.EMPTY and wanted == "NOT_FOUND"):
            return  # only the tile's second is known, which the newest event may share
        assert status.name == wanted, where

    def is_cut(self, window: naive.Window, mine: Sequence[naive.Record], at_us: int) -> bool:
        """Whether the window's end lies inside a second of which events were kept as one tile."""
        if any(
            w["kind"] != "lifetime" and w.get("resolution", 0) % SECOND_US
            for _, facts in self.case.windows
            for w in naive.elements(facts)
        ):
            return False
        at_us += bool(naive.elements(window)[0].get("include"))
        second = at_us // SECOND_US
        return at_us % SECOND_US > 0 and any(
            (r.at_us or 0) // SECOND_US == second and (r.at_us or 0) <= r.log_us for r in mine
        )


@pytest.mark.slow
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    case=cases,
    script=scripts,
    rows_max=st.sampled_from([1, 2, 5, 65_536]),
    head_max=st.sampled_from([HEAD_TILES_MAX, HEAD_TILES_MAX, 8]),
    ending=st.sampled_from(["", "", "", "replay", "backfill"]),
)
def test_oracle_streams_agree_with_the_raw_log(
    tmp_path_factory, case, script, rows_max, head_max, ending
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "DecodedFeed", partial(DecodedFeed, rows_max=rows_max))
        patch.setattr(lanes, "JOIN_ROWS", 5)
        patch.setattr(folding, "HEAD_TILES_MAX", head_max)
        home = tmp_path_factory.mktemp("home")
        view = case.view()
        with tg.TestDriver(view, at=f"{case.place.start}:00Z", home=home, shards=SHARDS) as driver:
            world = World(case, driver, is_crowded=head_max < HEAD_TILES_MAX)
            for name, argument in script:
                getattr(world, name)(argument)
            world.check(0)
            online = world.compare(driver, driver.clock())
            if ending == "replay":
                again = replayed(world, view, home, tmp_path_factory.mktemp("replay"))
                check_same(again, online)
            elif ending == "backfill":
                driver.backfill("view")
                check_same(world.compare(driver, driver.clock()), online)
        shutil.rmtree(home)


def check_same(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> None:
    for name in one:
        assert all(map(naive.same, one[name], other[name])), (name, one[name], other[name])


def replayed(world: World, view: tg.FeatureView, home: Path, other: Path) -> dict[str, list[Any]]:
    """All features from a fresh engine that reads the same log from its beginning."""
    with suppress(FileNotFoundError):
        shutil.copytree(home / ".tegula" / "log", other / ".tegula" / "log")
    with tg.TestDriver(view, at=world.driver.clock(), home=other, shards=SHARDS) as driver:
        values = world.compare(driver, driver.clock())
    shutil.rmtree(other)
    return values
