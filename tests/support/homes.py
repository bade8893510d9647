"""A home that is checkpointed, lost and restored, over a log that outlives it."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import tegula as tg
from tegula import agg
from tegula.engine.runtime.checkpointing import Maker
from tegula.engine.runtime.restoring import restore
from tegula.engine.settings import Settings
from tegula.state.checkpoint_kept import LATEST, read_manifest
from tegula.state.checkpoint_manifest import Manifest
from tegula.state.checkpoint_store import DirectoryStore, Store

CARD = tg.Entity("card", keys={"card_id": tg.String})
PAYMENTS = tg.Stream(
    "payments",
    schema={"card_id": tg.String, "amount": tg.Float64, "at": tg.Timestamp.of("us")},
    event_time="at",
    disorder="10m",
)
SPEND = tg.FeatureView(
    "spend",
    entity=CARD,
    stream=PAYMENTS,
    features={
        "events": agg.count().over(tg.lifetime()),
        "hour": agg.sum("amount").over(tg.sliding("1h")),
        "exact": agg.count().over(tg.sliding("10m", resolution="exact")),
        "newest": agg.last_n("amount", 3).over(tg.last(5)),
    },
)
SHARDS = 4
CARDS = [f"c{number}" for number in range(30)]


class Home:
    """A home in a folder, an engine over it now and then, and the place of its checkpoints."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.root, self.chance = root, chance
        self.store: Store = DirectoryStore(root / "backup")
        self.sent: list[dict[str, object]] = []
        self.now_us = 1_704_067_200_000_000
        self.losses = 0
        self.open()

    @property
    def settings(self) -> Settings:
        return Settings(project=self.root, home=self.root / ".tegula", shards=SHARDS)

    def open(self) -> None:
        self.driver = tg.TestDriver(SPEND, home=self.root, shards=SHARDS, at=self.now_us)

    def send(self, count: int = 200) -> None:
        for _ in range(4):
            events = [self._event() for _ in range(count // 4)]
            self.sent += events
            self.driver.send("payments", events, partition=str(self.chance.randint(0, 1)))
            self.now_us += 90_000_000
            self.driver.advance_to(self.now_us)
            self.driver.settle()

    def _event(self) -> dict[str, object]:
        age_us = self.chance.choice((0, 1, self.chance.randint(0, 3_600_000_000)))
        amount = self.chance.uniform(-9, 9)
        at_us = self.now_us - age_us
        return {"card_id": self.chance.choice(CARDS), "amount": amount, "at": at_us}

    def checkpoint(self) -> Manifest:
        engine = self.driver.engine
        maker: Maker = Maker(engine, lambda folder: maker.link(folder))
        return maker.make(self.store).manifest

    def values(self) -> tuple[object, ...]:
        reply = self.driver.read(SPEND, {"card_id": CARDS})
        counts = self.driver.outcomes("spend")
        assert counts["folded"] == len(self.sent)
        return reply.values, reply.statuses, counts

    def lose(self, *, all_of_it: bool = False) -> Path:
        """The machine is gone; what a broker would hold, the log, is not. Returns what was lost."""
        self.driver.crash()
        self.driver.close()
        self.losses += 1
        lost = self.root / f"lost-{self.losses}"
        self.settings.home.rename(lost)
        if not all_of_it:
            self.settings.home.mkdir()
            shutil.copytree(lost / "log", self.settings.home / "log")
        return lost

    def restore(self, wanted: str = LATEST) -> list[int]:
        manifest = read_manifest(self.store, wanted)
        return restore(self.settings, self.store, manifest, lambda: self.now_us, nothing)


def nothing(done: int, total: int) -> None:
    assert done <= total
