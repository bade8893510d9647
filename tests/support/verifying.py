"""A home at rest with windows and aggregates of all kinds, for those who verify and mend states."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import tegula as tg
from tegula import agg, calendar, hopping, last, lifetime, series, session, since, sliding, tumbling
from tegula.backfill.at_rest import reading, writing
from tegula.backfill.rebuild import Rebuilt
from tegula.backfill.rebuild import rebuild as make_anew
from tegula.backfill.report import Report
from tegula.backfill.verify import verify as verify_home
from tegula.engine.settings import Settings
from tegula.state.database import Memory, open_database
from tegula.state.keys import encode_key, shard_of
from tegula.state.online.lmdb import LmdbWriter
from tegula.state.packing import STAMPED_BYTES, tile_count
from tegula.state.rows import build_prefix

SHARDS = 2
START_US = 1_704_067_200_000_000
SECOND_US, MINUTE_US = 1_000_000, 60_000_000
CARDS = [f"c{number}" for number in range(8)]

CARD = tg.Entity("card", keys={"card_id": tg.String})
SHOP = tg.Entity("shop", keys={"shop": tg.String, "big": tg.Bool})
PAYMENTS = tg.Stream(
    "payments",
    schema={
        "card_id": tg.String,
        "shop": tg.String,
        "big": tg.Bool,
        "amount": tg.Float64,
        "count": tg.Int64,
        "id": tg.String,
        "tags": tg.List(tg.String),
        "at": tg.Timestamp.of("us"),
    },
    event_time="at",
    disorder="10m",
    unique_by="id",
)
SPEND = tg.FeatureView(
    "spend",
    entity=CARD,
    stream=PAYMENTS,
    where=pl.col("amount") > -8,
    features={
        "events": agg.count().over(lifetime()),
        "sum_1h": agg.sum("amount").over(sliding("1h")),
        "exact": agg.mean("amount").over(sliding("10m", resolution="exact")),
        "newest": agg.last("shop").over(lifetime()),
        "of_five": agg.last_n("amount", 3).over(last(5)),
        "shops": agg.distinct("shop").over(sliding("1d")),
        "spread": agg.stddev("amount").over(sliding("6h")),
        "visit": agg.sum("amount").over(session("5m")),
        "since_big": agg.count().over(since(pl.col("amount") > 8)),
        "by_shop": agg.sum("amount", by="shop").over(sliding("1h")),
        "hours": agg.sum("count").over(series("1h", "1h", 3)),
        "middle": agg.median("amount").over(tumbling("1h")),
        "tags": agg.union("tags").over(sliding("1h")),
        "day": agg.max("amount").over(calendar("day", tz="Europe/Berlin")),
    },
)
SALES = tg.FeatureView(
    "sales",
    entity=SHOP,
    stream=PAYMENTS,
    allowed_lateness="2h",
    features={
        "cards": agg.approx_distinct("card_id").over(sliding("2h")),
        "decayed": agg.decayed_sum("amount", half_life="1h").over(sliding("1d")),
        "hops": agg.sum("amount").over(hopping("1h", "20m")),
    },
)


class Home:
    """A home in a folder; `driver` runs over it until `rest`."""

    def __init__(self, root: Path, chance: np.random.Generator, *definitions: Any) -> None:
        self.root, self.chance = root, chance
        self.definitions = definitions or (SPEND, SALES)
        self.now_us = START_US
        self.open()

    @property
    def settings(self) -> Settings:
        return Settings(project=self.root, in_file={}, home=self.root / ".tegula", shards=SHARDS)  # type: ignore[call-arg]

    def copied(self, root: Path) -> Home:
        """A copy of a home at rest, in another folder."""
        shutil.copytree(self.root, root)
        other = copy.copy(self)
        other.root = root
        return other

    def open(self) -> None:
        """Run an engine over it."""
        self.driver = tg.TestDriver(
            *self.definitions, home=self.root, shards=SHARDS, at=self.now_us
        )

    def live(self, rounds: int = 30, events: int = 30) -> None:
        """Events of many kinds come, and time goes on."""
        for _ in range(rounds):
            self.send([self.event() for _ in range(events)])
            self.now_us += int(self.chance.choice([5, 90, 900])) * SECOND_US
            self.driver.advance_to(self.now_us)
            if self.chance.random() < 0.5:
                self.driver.settle()
        self.driver.settle()

    def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Some events, and a bad record, to any partition."""
        partition = str(self.chance.integers(3))
        self.driver.send("payments", [*map(dict, events), b"no event"], partition=partition)

    def event(self) -> dict[str, Any]:
        """An event: of now, or late, or too late for some."""
        chance = self.chance
        age_us = int(chance.choice([0, 1, chance.integers(600), chance.integers(86_400)]))
        return {
            "card_id": str(chance.choice(CARDS)),
            "shop": None if chance.random() < 0.1 else str(chance.choice(["x", "y", "z"])),
            "big": bool(chance.random() < 0.5),
            "amount": float(chance.uniform(-9, 9)),
            "count": int(chance.integers(100)),
            "id": str(chance.integers(20_000)),
            "tags": [str(chance.choice(["p", "q"]))],
            "at": self.now_us - age_us * SECOND_US,
        }

    def rest(self) -> None:
        """Stop the engine."""
        self.driver.close()

    def crash(self) -> None:
        """Let everything go as a killed process would."""
        self.driver.crash()


def key_of(card: str) -> bytes:
    """A card's encoded key."""
    return encode_key((card,), ("string",))


def verify(home: Home, *cards: str, sample: int = 100, view: str | None = None) -> Report:
    """Verify a home at rest: a sample, or these cards of `spend`."""
    with reading(home.settings) as held:
        builds = held.builds_of("spend" if cards else view)
        keys = {build.id: [key_of(card) for card in cards] for build in builds} if cards else None
        return verify_home(held, builds=builds, sample=sample, seed=1, keys=keys)


def rebuild(home: Home, *cards: str) -> list[Rebuilt]:
    """Make the state of some cards anew."""
    with writing(home.settings) as held:
        builds = held.builds_of("spend")
        keys = {build.id: [key_of(card) for card in cards] for build in builds}
        return make_anew(held, builds, keys)


@contextmanager
def database_of(home: Home, shard: int) -> Iterator[Any]:
    """A shard's database, open to be tampered with."""
    database = open_database(home.settings.state_path / f"shard-{shard:02d}", Memory())
    try:
        yield database
    finally:
        database.close()


def place_of(card: str, build: int = 1) -> tuple[int, bytes]:
    """The shard of a card, and what all its rows begin with."""
    key = key_of(card)
    return shard_of(key, SHARDS), build_prefix(build) + key


def card_with(home: Home, suffix: bytes) -> str:
    """A card whose head, or body, has tiles."""
    for card in CARDS:
        shard, base = place_of(card)
        with database_of(home, shard) as database:
            block = database.get(base + suffix)
        if block is not None and tile_count(block):
            return card
    raise AssertionError("no card has such a row")


def count_one_more(home: Home, suffix: bytes) -> str:
    """Let the last tile of a card's head, or body, count one event more; returns the card."""
    card = card_with(home, suffix)
    shard, base = place_of(card)
    with database_of(home, shard) as database:
        block = bytearray(database.get(base + suffix))
        tiles, heap = tile_count(bytes(block)), int.from_bytes(block[8:12], "little")
        width = (len(block) - STAMPED_BYTES - heap) // tiles
        tag = STAMPED_BYTES + (tiles - 1) * width + 8
        rows = int.from_bytes(block[tag + 2 : tag + 8], "little") + 1
        block[tag + 2 : tag + 8] = rows.to_bytes(6, "little")
        database.put(base + suffix, bytes(block))
    return card


def online_writer(home: Home, shard: int) -> LmdbWriter:
    """The writer of a shard's online rows, as its engine left them."""
    current = home.settings.online_path / f"shard-{shard:02d}" / "current"
    return LmdbWriter(home.settings.online_path, shard, int(current.read_text()))
