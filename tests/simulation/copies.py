"""Which records are copies of others: what the archive says, and what must be true of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from tegula.schemas.redriven import is_redriven
from tests.oracle import naive
from tests.simulation.views import AHEAD_US, UNIQUE, UNIQUE_WITHIN_US


class Copies:
    """Remembers, over a run, which records of the stream with ids are copies."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], bool] = {}

    def take(
        self,
        lake: Path,
        records: dict[str, list[naive.Record]],
        redriven: dict[str, list[naive.Record]],
        partitions: Iterable[str],
    ) -> None:
        """Note of the stream's records, and those driven again, what the archive says of them."""
        (name,) = [one for one in partitions if is_redriven(one)] or [""]
        records[UNIQUE] = self._told(lake, records[UNIQUE])
        if redriven[UNIQUE]:
            redriven[UNIQUE] = self._told(lake, redriven[UNIQUE], name)
        check_copies([*records[UNIQUE], *redriven[UNIQUE]])

    def _told(
        self, lake: Path, records: Sequence[naive.Record], name: str = ""
    ) -> list[naive.Record]:
        """The records with what the archive says of them, which it must say ever after.

        `name` is the partition where their own are not numbers.
        """
        table = lake / "log" / UNIQUE
        copies: set[tuple[str, int]] = set()
        if table.exists():
            rows = pl.read_delta(str(table)).filter(pl.col("_change") == "copy")
            copies = set(rows.select("_partition", "_offset").iter_rows())
        told = []
        for record in records:
            place = name or str(record.partition), record.offset
            is_copy = place in copies
            assert self._known.setdefault(place, is_copy) == is_copy, place
            told.append(replace(record, is_copy=is_copy))
        return told


def check_copies(records: Sequence[naive.Record]) -> None:
    """Every copy is one of an event that counts, within the span."""
    has_id = [not naive.is_dead(r, AHEAD_US) and r.row["id"] is not None for r in records]
    known = zip(records, has_id, strict=True)
    assert not any(r.is_copy for r, is_known in known if r.was_good or not is_known)
    ided = [r for r, is_known in zip(records, has_id, strict=True) if is_known]
    counting: dict[int, list[int]] = {}
    for record in ided:
        if not record.is_copy and not record.was_good:
            counting.setdefault(record.row["id"], []).append(record.at_us or 0)
    for record in ided:
        near = [abs(at - (record.at_us or 0)) for at in counting.get(record.row["id"], [])]
        assert not record.is_copy or min(near) <= UNIQUE_WITHIN_US, record
