"""The lake of a project: where its Delta tables lie, by its settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..state.delta_files import opened
from ..state.lake import Lake, LocalLake
from .settings import Settings

ORDERS: Final = {"log": "_offset", "dead_letter": None, "features": None, "served": None}
"""The folders that hold tables, and by which column rows ascend in each of their files."""


def lake_of(settings: Settings) -> Lake:
    """The project's lake; nothing is touched yet. Raises `SettingsError` for one that is none."""
    if settings.lake_is_here:
        return LocalLake(settings.lake_path)
    from ..state.lake_s3 import open_lake  # which not everybody needs, and takes time

    return open_lake(settings.lake or "", settings.lake_options, settings.project)


def tables(lake: Lake) -> Iterator[tuple[str, str | None]]:
    """The paths of the tables that are there, and the column that their rows ascend by."""
    for folder, order in ORDERS.items():
        for name in lake.below(folder).folders():
            if opened(lake.below(f"{folder}/{name}")) is not None:
                yield f"{folder}/{name}", order
