"""Tables with marks: what must be on the disk before an append may be believed."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tegula.state.delta import Mark, MarkedTable
from tegula.state.delta_files import Part
from tegula.state.lake import LocalLake

COLUMNS = pa.schema({"x": pa.int64(), "day": pa.string()})


class WatchedLake(LocalLake):
    """A lake that knows which of its files were made durable."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.synced: set[str] = set()

    def sync(self, path: str) -> None:
        super().sync(path)
        self.synced.add(path)

    def at_risk(self) -> set[str]:
        """Entries of the log that a loss of power might take."""
        return {
            f"_delta_log/{one.name}" for one in (self.root / "_delta_log").glob("*.json")
        } - self.synced


@pytest.fixture
def lake(tmp_path: Path) -> WatchedLake:
    return WatchedLake(tmp_path / "table")


def table(lake: WatchedLake, columns: pa.Schema = COLUMNS) -> MarkedTable:
    made = MarkedTable(lake, columns, partition_by=("day",), app="t", writer="test")
    made.refresh()
    return made


def append(to: MarkedTable, offset: int, day: str = "a") -> None:
    to.append([Part({"day": day}, pl.DataFrame({"x": [offset]}))], {"0": Mark(offset + 1)})


def test_append_makes_the_entry_durable_that_made_the_table(lake):
    append(table(lake), 0)
    assert lake.at_risk() == set()


def test_append_makes_entries_durable_that_changed_the_table_before_it(lake):
    older = table(lake)
    append(older, 0)
    wider = table(lake, COLUMNS.append(pa.field("y", pa.string())))
    append(wider, 1)
    wider.drop("day = 'a'")
    append(wider, 2, "b")
    assert lake.at_risk() == set()
    wider.drop("day = 'b'")
    older.refresh()  # others' entries are those that come before one's own
    append(older, 3)
    assert lake.at_risk() == set()


def test_append_makes_the_entry_durable_of_one_who_died_after_it(lake):
    made = table(lake)
    append(made, 0)
    made.drop("day = 'a'")
    append(table(lake), 1)
    assert lake.at_risk() == set()


def test_append_needs_no_entry_that_a_checkpoint_has_summed_up(lake):
    for offset in range(3):
        append(table(lake), offset)
    DeltaTable(lake.name).create_checkpoint()
    for version in range(3):
        (lake.root / f"_delta_log/{version:020}.json").unlink()
    append(table(lake), 3)
    assert lake.at_risk() == set()
