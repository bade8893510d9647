"""Driving records again in a simulated run, and what the file says was driven, as plain records."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import orjson

from tegula.backfill import redrive
from tegula.engine.deployed import Deployed
from tegula.engine.settings import Settings
from tegula.schemas.redriven import is_redriven
from tegula.schemas.time import DAY_US, SECOND_US
from tests.oracle import naive
from tests.simulation.records import KEYS, RUBBISH

START_US = 1_704_067_200_000_000


def mended(raw: bytes) -> bytes | None:
    """Rubbish becomes an event, stays rubbish or is left out, by its bytes; all else stays."""
    if raw not in RUBBISH:
        return raw
    number = int.from_bytes(sha256(raw).digest()[:8], "big")
    if number % 5 == 0:
        return None
    if number % 5 == 1:
        return raw
    at_us = START_US + number % (3 * DAY_US) // SECOND_US * SECOND_US
    row = {
        "id": number % 40,
        "k": KEYS[number % len(KEYS)],
        "w": "red",
        "x": 0.5,
        "n": 5,
        "at": at_us,
    }
    return orjson.dumps(row)


def drive(
    settings: Settings, deployed: Deployed, stream: str, view: str | None, now_us: int
) -> None:
    """Drive the dead letters of a stream again, or what a view found too old."""
    plan = deployed.streams[stream]
    builds = [build for build in deployed.builds if build.view == view and build.stream == stream]
    if view is None:
        found = list(redrive.dead(settings, plan, redrive.Choice()))
    elif builds and builds[-1].foldable_us != builds[-1].expiry_us:
        found = list(redrive.expired(settings, plan, builds[-1], redrive.Choice()))
    else:
        return
    done = redrive.redrive(settings, stream, found, now_us, mended if view is None else None)
    assert done.driven + done.before + done.left_out == len(found)
    again = redrive.redrive(settings, stream, found, now_us, None)
    assert again.driven == (done.left_out if view is None else 0)


def driven(
    path: Path, records: Sequence[naive.Record], ordinals: Mapping[str, int]
) -> list[naive.Record]:
    """The records in the file of what was driven again, after those that it was made from.

    `ordinals` are those that the registry gave to the stream's partitions: they say between which
    of the log's own this one stands where events of one instant meet.
    """
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as db:
        ((identity,),) = db.execute("SELECT identity FROM log").fetchall()
        rows = db.execute(
            "SELECT offset, partition, first_offset, was_good, log_us, payload FROM records"
            " ORDER BY offset"
        ).fetchall()
    name = f"redrive-{identity}"
    before = [one for one, ordinal in ordinals.items() if ordinal < ordinals.get(name, 0)]
    place = len(before) - 0.5
    known = {(str(one.partition), one.offset): one for one in records}
    assert len({row[1:3] for row in rows}) == len(rows)
    found = []
    for offset, partition, first_offset, was_good, log_us, payload in rows:
        origin = known[partition, first_offset]
        row, at_us, key = {}, None, None
        if payload not in RUBBISH:
            row = orjson.loads(payload)
            at_us, key = row["at"], row["k"]
        made = naive.Record(
            place, offset, log_us, key, at_us, row, origin=origin, was_good=bool(was_good)
        )
        known[name, offset] = made
        found.append(made)
    assert all(is_redriven(name) for name in ordinals if not name.isdigit())
    return found
