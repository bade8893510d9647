"""Maintenance of the lake of a simulated home."""

from __future__ import annotations

from tegula.engine.lake import lake_of, tables
from tegula.engine.runtime.clock import Clock
from tegula.engine.settings import Settings
from tegula.state.upkeep import Upkeep, UpkeepPolicy


def maintain_lake(settings: Settings, clock: Clock) -> None:
    """Maintain every table; what was merged is deleted at the next time, however soon."""
    lake = lake_of(settings)
    for path, order in tables(lake):
        policy = UpkeepPolicy(retention_s=0)
        Upkeep(lake.below(path), policy, order=order, now_us=clock).run()
