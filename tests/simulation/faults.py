"""Where a simulated process may die or be refused: before and after each durable write.

`Faults` puts itself before the functions that make something durable. While it is armed, each call
may die before it is made, die after it was made, or (where a store may refuse) raise the error that
a refusing store raises: without having made it, or having made it and not knowing so. What was
drawn is counted, so that a run can show that it met everything.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from tegula.connectors.redrive import RedriveFile
from tegula.schemas.errors import CheckpointStoreFault, OnlineStoreFull, SinkError, TegulaError
from tegula.state import outbox
from tegula.state.archive import Archive
from tegula.state.checkpoint_store import DirectoryStore
from tegula.state.dead_letter import DeadLetter
from tegula.state.delta import MarkedTable
from tegula.state.online.lmdb import LmdbWriter
from tegula.state.registry import Registry
from tegula.state.shard import Shard
from tegula.state.uniqueness import SeenIds
from tegula.state.upkeep import Upkeep
from tegula.state.verdicts import Verdicts


class Died(BaseException):
    """The process ends here. No handler of the engine's may catch it."""


@dataclass(frozen=True)
class Write:
    """A function that makes something durable; `refusal` is what it raises if it is refused.

    `weight` makes faults likelier of one that a run calls a few times only.
    """

    owner: type
    name: str
    refusal: Callable[[], TegulaError] | None = None
    weight: int = 1

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"


def _full() -> TegulaError:
    return OnlineStoreFull(where="simulated", detail="no space")


def _down() -> TegulaError:
    return SinkError("simulated: the storage does not answer", where="simulated")


def _away() -> TegulaError:
    return CheckpointStoreFault(where="simulated", detail="unplugged")


WRITES = (
    Write(Shard, "commit"),
    Write(Shard, "_write"),
    Write(Shard, "write_folded"),
    Write(Shard, "clear_outbox"),
    Write(Shard, "drop_build"),
    Write(Shard, "renew"),
    Write(Verdicts, "add"),
    Write(SeenIds, "add"),
    Write(LmdbWriter, "write", _full),
    Write(LmdbWriter, "publish"),
    Write(LmdbWriter, "keep_builds"),
    Write(MarkedTable, "append", _down, weight=10),
    Write(DeadLetter, "append"),
    Write(Archive, "flush"),
    Write(Upkeep, "_vacuum", _down),
    Write(Upkeep, "_write", _down),
    Write(Upkeep, "_replace", _down),
    Write(Upkeep, "_shorten_log", _down),
    Write(RedriveFile, "append"),
    Write(Registry, "take_over"),
    Write(Registry, "partition_ordinal"),
    Write(Registry, "next_incarnation"),
    Write(Registry, "set_log_identity"),
    Write(Registry, "copy_to"),
    Write(Shard, "link_to"),
    Write(DirectoryStore, "put_file", _away),
    Write(DirectoryStore, "put", _away),
    Write(DirectoryStore, "delete", _away),
)


_CREATION = Write(DeltaTable, "create", weight=5)


class Faults:
    """Lets durable writes fail by chance, while `armed`."""

    def __init__(self, chance: random.Random, patch: pytest.MonkeyPatch) -> None:
        self._chance = chance
        self.armed = False
        self.likelihood = 0.0
        self.met: Counter[str] = Counter()
        # A store that refuses for some commits then counts as one that does so for hours.
        patch.setattr(outbox, "KEYS_MAX", chance.choice((3, 10, 1_000_000)))
        for write in WRITES:
            patch.setattr(write.owner, write.name, self._around(write))
        patch.setattr(DeltaTable, "create", self._torn(DeltaTable.create))

    def _torn(self, create: Callable[..., Any]) -> Callable[..., Any]:
        """A table may be left with a folder for its log and no entry in it."""

        def made(place: str, *args: Any, **kwargs: Any) -> Any:
            if self._draw(_CREATION) == "before":
                log = Path(place) / "_delta_log"
                log.mkdir(parents=True, exist_ok=True)
                (log / "_commit_0.json.tmp").touch()
                raise Died(f"amid {_CREATION}")
            return create(place, *args, **kwargs)

        return made

    def _around(self, write: Write) -> Callable[..., Any]:
        made = getattr(write.owner, write.name)

        def call(*args: Any, **kwargs: Any) -> Any:
            fate = self._draw(write)
            if fate == "before":
                raise Died(f"before {write}")
            if fate == "refused" and write.refusal is not None:
                raise write.refusal()
            result = made(*args, **kwargs)
            if fate == "after":
                raise Died(f"after {write}")
            if fate == "unsure" and write.refusal is not None:
                raise write.refusal()
            return result

        return call

    def _draw(self, write: Write) -> str:
        if not self.armed or self._chance.random() >= self.likelihood * write.weight:
            return ""
        fate = self._chance.choice(("before", "after", "refused", "unsure"))
        if write.refusal is None:
            fate = {"refused": "before", "unsure": "after"}.get(fate, fate)
        self.met[f"{fate} {write}"] += 1
        return fate
