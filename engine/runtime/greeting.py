"""What workers tell each other before they begin: what they are about to run, and where they stand.

Nobody reads before all have greeted. Who reads a partition must know how far every shard has
applied it, and what is lifted by one worker must be known to the one that commits it: workers that
found different definitions, because some were applied meanwhile, all begin anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...connectors.archive import ArchiveLog
from ...state.archive_files import ArchiveFiles
from ...state.registry import Registry
from ...state.shard import Shard
from ..deployed import Deployed
from ..lake import lake_of
from ..plan import StreamPlan
from ..settings import Settings
from ..steps.standing import Positions
from .home import boot_id


@dataclass(frozen=True, slots=True)
class Greeting:
    """One worker's: `token` names its start, `running` what it has found deployed, `home` its home.

    `positions` are those of its shards, by their numbers; `judged` says how far it is known which
    events are copies, by ordinal of the partitions whose streams' ids lie in its shards.
    """

    worker: int
    token: str
    running: tuple[tuple[int, str], ...]
    positions: Mapping[int, Positions]
    judged: Mapping[int, int] = field(default_factory=dict)
    home: str = ""


@dataclass(frozen=True, slots=True)
class Farewell:
    """A worker ends, and so all do: to `begin_anew` where what they run was redefined."""

    begin_anew: bool


def running(deployed: Deployed) -> tuple[tuple[int, str], ...]:
    """The builds of a deployment with their structure, in the form of a greeting."""
    return tuple(sorted((build.id, build.fingerprint) for build in deployed.builds))


def agree(greetings: Sequence[Greeting]) -> bool:
    """Whether all are about to run the same."""
    return len({greeting.running for greeting in greetings}) == 1


def home_name(home: Path) -> str:
    """What workers of one machine over one home call it alike, and nobody else."""
    there = home.stat()
    return f"{boot_id()}/{there.st_dev}/{there.st_ino}"


def sharing(greetings: Sequence[Greeting], worker: int) -> list[int]:
    """The workers that are over the same home as this one, itself among them, ascending."""
    homes = {greeting.worker: greeting.home for greeting in greetings}
    return sorted(one for one, home in homes.items() if home == homes[worker])


def run_of(greetings: Sequence[Greeting]) -> str:
    """The name of the run that these begin together: the first worker's token."""
    return min(greetings, key=lambda greeting: greeting.worker).token


def judged(
    shards: Sequence[Shard], streams: Iterable[StreamPlan], registry: Registry, settings: Settings
) -> dict[int, int]:
    """How far it is known which events are copies, for streams whose ids lie in one of `shards`.

    By the ids, or by the archive. Asked before anybody reads or archives: all workers must conclude
    the same from it.
    """
    own = {shard.number: shard for shard in shards}
    known: dict[int, int] = {}
    for stream in streams:
        home = own.get(registry.stream_ordinal(stream.name) % registry.shards())
        if stream.unique_by is None or home is None:
            continue
        files = ArchiveFiles(lake_of(settings), stream.name, stream.schema)
        archive = ArchiveLog(stream.name, files, stream.event_time)
        there = archive.partitions()
        for partition, ordinal in registry.partitions(stream.name).items():
            end = archive.bounds(partition)[1] if partition in there else 0
            known[ordinal] = max(home.seen_ids.judged(ordinal), end)
    return known
