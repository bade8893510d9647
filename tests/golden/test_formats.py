"""Stored formats are for ever: bytes of every version that was released must open."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from tegula.schemas.errors import CheckpointDamaged
from tegula.state.checkpoint_manifest import (
    BuildPart,
    File,
    Manifest,
    Position,
    ShardPart,
    StreamPart,
    decode,
)
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
    Applied,
    Identity,
    Touched,
    decode_outbox,
    encode_outbox,
    hour_and_place,
    segment_number,
    segment_suffix,
)
from tegula.windows.geometry import Sliding
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
