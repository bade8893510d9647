"""Stored formats are for ever: bytes of every version that was released must open."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tegula.schemas.errors import CheckpointDamaged
from tegula.state import bodies
from tegula.state.checkpoint_manifest import (
    BuildPart,
    File,
    Manifest,
    Position,
    ShardPart,
    StreamPart,
    decode,
)
from tegula.state.mirrored import Mirrored
from tegula.state.online.redis_layout import StoredMark
from tegula.state.online.rows import Mark
from tegula.state.packing import (
    BODY,
    CHUNK,
    HEAD,
    ONLINE_BODY,
    ONLINE_HEAD,
    ONLINE_SEGMENT,
    SEGMENT,
    Stamps,
    layout_of,
    pack,
    unpack,
)
from tegula.state.rows import (
    BODY_SUFFIX,
    MIRRORED_KEY,
    OUTBOX_DROPPED_KEY,
    Applied,
    Identity,
    Touched,
    count_outbox_keys,
    decode_dropped,
    decode_outbox,
    encode_dropped,
    encode_outbox,
    hour_and_place,
    part_suffix,
    segment_number,
    segment_suffix,
)
from tegula.windows.geometry import Sliding
from tegula.windows.ladder import HOUR as HOUR_RUNG
from tegula.windows.ladder import MINUTE as MINUTE_RUNG
from tegula.windows.ladder import SECOND as SECOND_RUNG
from tegula.windows.tiles import NEVER_US
from tests.support.shapes import HOUR, MINUTE, lift_events, shape_of

SHAPE = shape_of(["count", "approx_distinct", "last"], [Sliding(HOUR, MINUTE)])
ONE = np.ones(1, dtype=np.uint64)
STAMPS = Stamps(ONE, ONE * np.uint64(2), ONE * np.uint64(3), np.array([MINUTE]))
HERE = Path(__file__).parent


KINDS = {
    "chunk": CHUNK,
    "head": HEAD,
    "body": BODY,
    "online_head": ONLINE_HEAD,
    "online_body": ONLINE_BODY,
    "segment": SEGMENT,
    "online_segment": ONLINE_SEGMENT,
}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_golden_block_of_version_1_is_still_written_and_still_opens(name, kind, golden):
    keyed = lift_events(SHAPE, [b"k"], [(0, 61_000_000, 1.5), (0, 125_000_001, -2.0)])
    stamps = None if kind in (CHUNK, SEGMENT, ONLINE_SEGMENT) else STAMPS
    block = pack(SHAPE, keyed, kind, stamps)[0]
    golden(f"formats/v1/{name}", base64.encodebytes(block).decode())
    stored = base64.decodebytes((HERE / "formats" / "v1" / f"{name}.txt").read_bytes())
    read = unpack(SHAPE, [stored], stamped=stamps is not None)
    assert read.tiles.start_us.tolist() == [61_000_000, 125_000_000]
    assert read.tiles.rows.tolist() == [1, 1]
    assert layout_of(SHAPE) == int.from_bytes(stored[12:16], "little")


def test_golden_split_body_of_version_1_is_still_written_and_still_opens(golden, monkeypatch):
    events = [(0, at_us, 1.5) for at_us in (61_000_000, 3_600_000_000, 125_000_001)]
    keyed = lift_events(SHAPE, [b"k"], events)
    rung = np.array([MINUTE_RUNG, SECOND_RUNG, HOUR_RUNG], np.uint8)
    keyed = replace(keyed, tiles=replace(keyed.tiles, rung=rung))
    monkeypatch.setattr(bodies, "SPLIT_BYTES", 0)
    changes = bodies.change_bodies(SHAPE, keyed, STAMPS, [{}])
    rows = [(part_suffix(part), block or b"") for _, part, block in changes.parts]
    rows.insert(0, (BODY_SUFFIX, changes.rows[0]))
    golden("formats/v1/split_body", "\n".join(f"{at.hex()} {row.hex()}" for at, row in rows))
    lines = (HERE / "formats" / "v1" / "split_body.txt").read_text().splitlines()
    stored = dict(tuple(map(bytes.fromhex, line.split())) for line in lines)
    directory = stored[BODY_SUFFIX]
    assert bodies.is_directory(directory)
    assert bodies.parts_in(directory) == [1 + SECOND_RUNG, 1 + MINUTE_RUNG, 1 + HOUR_RUNG]
    parts = {part: stored[part_suffix(part)] for part in bodies.parts_in(directory)}
    assert bodies.check_parts(directory, parts) == parts
    read = unpack(SHAPE, list(parts.values()), stamped=False)
    assert read.tiles.start_us.tolist() == [125_000_000, 61_000_000, 3_600_000_000]
    assert read.newest_us.tolist() == [NEVER_US] * 3
    stamps = unpack(SHAPE, [directory], stamped=True)
    assert (len(stamps.tiles), stamps.newest_us.tolist()) == (0, [3_600_000_000])
    assert stamps.stamps.horizon_us.tolist() == [MINUTE]


def test_golden_small_rows_of_version_1_are_still_written_and_still_open(golden):
    applied = Applied(10, 20, 9, 5, 1, 0, 2, 1, 3)
    identity = Identity(7, 42, "boot", clean=True)
    touched = [Touched(1, [b"a", b"bc"], rewrite=False), Touched(2, [b""], rewrite=True)]
    rows = (applied.encode(), identity.encode(), encode_outbox(touched))
    golden("formats/v1/rows", "\n".join(row.hex() for row in rows))
    stored = [
        bytes.fromhex(line)
        for line in (HERE / "formats" / "v1" / "rows.txt").read_text().splitlines()
    ]
    assert Applied.decode(stored[0]) == applied
    assert Identity.decode(stored[1]) == identity
    assert decode_outbox(stored[2]) == touched


def test_golden_segment_rows_of_version_1_are_still_written_and_still_open(golden):
    number = segment_number(473_364, 2)
    touched = [Touched(1, [b"a", b"bc"], rewrite=True, segments=((), (number, number + 1)))]
    rows = (segment_suffix(number), encode_outbox(touched))
    golden("formats/v1/segment_rows", "\n".join(row.hex() for row in rows))
    lines = (HERE / "formats" / "v1" / "segment_rows.txt").read_text().splitlines()
    stored = [bytes.fromhex(line) for line in lines]
    assert hour_and_place(int.from_bytes(stored[0][1:], "big")) == (473_364, 2)
    assert decode_outbox(stored[1]) == touched
    assert count_outbox_keys(stored[1]) == 2


def test_golden_checkpoint_manifest_of_version_1_is_still_written_and_still_opens(golden):
    files = (File("000008.sst", 1234, "0" * 31 + "1"), File("CURRENT", 16, "f" * 32))
    manifest = Manifest(
        id="20240501T120000.000000Z",
        home="0123456789abcdef",
        created_us=1_714_564_800_000_000,
        formats={"block": 1, "identity": 1, "registry": 1},
        catalogue=3,
        builds=(BuildPart(1, "spend", "live", "aa"), BuildPart(2, "spend", "catching_up", "bb")),
        streams={"payments": StreamPart("log-1", {"0": 0, "1": 1}), "new": StreamPart(None, {})},
        shards=(
            ShardPart(0, 7, 42, (Position(1, 0, 100, 99), Position(1, 1, 5, -(2**63))), files),
            ShardPart(1, 1, 0, (), ()),
        ),
        registry=File("registry.db", 4096, "a" * 32),
    )
    golden("formats/v1/checkpoint_manifest", manifest.encode().decode())
    stored = (HERE / "formats" / "v1" / "checkpoint_manifest.txt").read_bytes()
    assert decode(stored, "here") == manifest
    with pytest.raises(CheckpointDamaged):
        decode(stored.replace(b"42", b"43"), "here")


def test_golden_row_of_an_outbox_that_was_dropped_is_still_written_and_still_read(golden):
    golden("formats/v1/outbox_dropped", f"{OUTBOX_DROPPED_KEY.hex()}\n{encode_dropped(42).hex()}")
    lines = (HERE / "formats" / "v1" / "outbox_dropped.txt").read_text().splitlines()
    assert bytes.fromhex(lines[0]) == OUTBOX_DROPPED_KEY
    assert decode_dropped(bytes.fromhex(lines[1])) == 42


def test_golden_row_of_what_the_store_has_taken_is_still_written_and_still_read(golden):
    taken = Mirrored(session=7, writes=42, next_session=9)
    golden("formats/v1/mirrored", f"{MIRRORED_KEY.hex()}\n{taken.encode().hex()}")
    lines = (HERE / "formats" / "v1" / "mirrored.txt").read_text().splitlines()
    assert bytes.fromhex(lines[0]) == MIRRORED_KEY
    assert Mirrored.decode(bytes.fromhex(lines[1])) == taken


def test_golden_mark_in_redis_is_still_written_and_still_read(golden):
    stored = StoredMark(Mark(3, 42, (1, 2), {0: 10, 4: 7}, 9, 5), {1: "0123456789ab"})
    golden("formats/v1/mark_in_redis", stored.encode().decode())
    value = (HERE / "formats" / "v1" / "mark_in_redis.txt").read_bytes()
    assert StoredMark.decode(value) == stored
    before = b'{"version":1,"incarnation":3,"commit":42,"builds":[1,2],"positions":{"0":10,"4":7}}'
    assert Mark.decode(before) == replace(stored.mark, session=0, writes=0)
