"""Making a training set, from the spine to rows in its order.

1. the spine is read once: instants, keys and columns are checked, rows go to buckets;
2. the evidence is read once, from archive and log, or from what was served: what counts goes to
   its keys' buckets;
3. bucket by bucket, the values of all its rows are found, slice of time by slice where many
   events are in one;
4. they are put together in the spine's order, a piece at a time.

Nothing but one bucket, or slice, and one piece has to be in memory. The same spine, definitions,
positions and number of buckets give the same rows, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import polars as pl

from ...engine.progress import Report
from ...engine.settings import Settings
from .asked import Keys
from .assemble import Piece, assembled
from .buckets import SpineBuckets, bucket_count
from .from_answers import FromAnswers
from .from_events import FromEvents
from .intake import Intake, take_in
from .options import SERVED
from .order import Order
from .spool import Spool, Workspace

Spines = Mapping[Keys, SpineBuckets]


class Evidence(Protocol):
    """What values rest on: events that are kept, or answers that were."""

    @property
    def size_bytes(self) -> int:
        """About what all of it takes in buckets."""
        ...

    def read(self, spines: Spines, workspace: Workspace, progress: Report) -> None:
        """Hand all that counts to the buckets of its keys."""
        ...

    def frames(self, spines: Spines, bucket: int) -> list[pl.DataFrame]:
        """The columns of every part for the rows in one bucket; called by several threads."""
        ...

    def drop(self, bucket: int) -> None:
        """Forget what is in a bucket."""
        ...

    @property
    def notes(self) -> list[str]:
        """What whoever uses the set should know of it."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What was read, for the manifest."""
        ...


@dataclass
class Making:
    """A set while it is made, and what is known of it afterwards."""

    order: Order
    evidence: Evidence | None = None
    rows: int = 0
    spine_hash: str = ""
    spine_schema: dict[str, str] = field(default_factory=dict)
    late_rows: int = 0
    buckets: int = 1


def make(
    making: Making,
    settings: Settings,
    workspace: Workspace,
    progress: Report = lambda what, done, total: None,
) -> Iterator[Piece]:
    """The set's rows, in the spine's order; `making` is whole when all were taken.

    Raises `BadSpine` for rows that cannot be used, `NothingServed` where there are no answers, and
    what reading archive, log and served log raises.
    """
    order = making.order
    order.check()
    taken = take_in(order, workspace, progress)
    making.rows, making.spine_hash = taken.rows, taken.hash
    making.spine_schema = {name: str(dtype) for name, dtype in taken.schema.items()}
    evidence = making.evidence = _evidence(order, settings, taken)
    making.buckets = order.buckets or _buckets(order, evidence, taken)
    spines = _spine_buckets(making, taken, workspace)
    evidence.read(spines, workspace, progress)
    outputs = _compute(making, evidence, taken, spines, workspace, progress)
    for piece in assembled(order.asked, order.options, taken, outputs, order.now_us):
        making.late_rows += piece.late
        yield piece


def _evidence(order: Order, settings: Settings, taken: Intake) -> Evidence:
    if order.options.clock == SERVED:
        return FromAnswers(order, settings, taken.first_us, taken.last_us)
    return FromEvents(order, settings)


def _buckets(order: Order, evidence: Evidence, taken: Intake) -> int:
    asked = order.asked
    size = taken.rows * 64 * (len(asked.entities) + len(asked.columns))
    return bucket_count(evidence.size_bytes + size, order.options.memory_bytes)


def _spine_buckets(making: Making, taken: Intake, workspace: Workspace) -> dict[Keys, SpineBuckets]:
    spines = {keys: SpineBuckets(workspace, making.buckets) for keys in making.order.asked.entities}
    first = 0
    for frame in taken.keyed.read():
        beside = [column for column in frame.columns if not column.startswith("_key")]
        for number, buckets in enumerate(spines.values()):
            buckets.add(first, frame[f"_key{number}"], frame.select(beside))
        first += frame.height
    taken.keyed.drop()
    return spines


def _compute(
    making: Making,
    evidence: Evidence,
    taken: Intake,
    spines: Spines,
    workspace: Workspace,
    progress: Report,
) -> list[list[Spool]]:
    """For each part the spools of its buckets, each with a frame a piece of the spine."""
    parts, count = making.order.asked.parts, making.buckets
    outputs = [[workspace.spool() for _ in range(count)] for _ in parts]
    edges = np.cumsum([0, *taken.piece_rows])
    done = 0

    def one(bucket: int) -> list[pl.DataFrame]:
        return evidence.frames(spines, bucket)

    cores = min(making.order.options.cores, count)
    with ThreadPoolExecutor(cores, thread_name_prefix="tegula-dataset") as pool:
        # A few at a time: what has been computed waits in memory until it is taken.
        for first in range(0, count, cores):
            for bucket, frames in zip(
                range(first, count),
                pool.map(one, range(first, min(first + cores, count))),
                strict=False,
            ):
                for output, frame in zip(outputs, frames, strict=True):
                    cuts = np.searchsorted(frame["_row"].to_numpy(), edges)
                    for begin, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
                        output[bucket].append(frame[begin:end])
                done += frames[0].height
                progress("Computing rows", done, taken.rows)
                for spine in spines.values():
                    spine.spools[bucket].drop()
                evidence.drop(bucket)
    return outputs
