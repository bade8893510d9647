"""Reading every row of a shard: what is right is counted, and what is wrong is named."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tegula.schemas.errors import FormatUnknown, StateCorrupt
from tegula.state import bodies
from tegula.state.keys import encode_key
from tegula.state.own_rows import check_own, own_kind
from tegula.state.rows import (
    BODY_SUFFIX,
    COPY_PREFIX,
    HEAD_SUFFIX,
    ID_PREFIX,
    JUDGED_PREFIX,
    MIRRORED_KEY,
    OUTBOX_DROPPED_KEY,
    VERDICT_PREFIX,
    Touched,
    build_prefix,
    chunk_suffix,
    encode_outbox,
    outbox_key,
    part_suffix,
    position_key,
    segment_number,
    segment_suffix,
)
from tegula.state.verifying import FAULTS_MAX, Kept, Scan, scan
from tegula.windows.geometry import Sliding
from tests.support.shapes import HOUR, MINUTE, SECOND, shape_of
from tests.support.stores import Feeder, open_shard

SHAPE = shape_of(["count", "sum"], [Sliding(HOUR, 1)])
NOON = 12 * HOUR
KEYS = [encode_key((name,), ("string",)) for name in ("a", "b")]
A = build_prefix(1) + KEYS[0]


@pytest.fixture
def feeder(tmp_path: Path) -> Iterator[Feeder]:
    made = Feeder(open_shard(tmp_path / "shard"), SHAPE)
    made.commit([(key, NOON + i * MINUTE, 1.0) for i in range(70) for key in KEYS])
    made.fold(KEYS, NOON + 40 * MINUTE)
    made.commit([(KEYS[0], NOON + 80 * MINUTE, 1.0)])
    yield made
    made.shard.abandon()


def read(feeder: Feeder, shard_count: int = 1, seen: list[bytes] | None = None) -> Scan:
    looked: list[bytes] = [] if seen is None else seen
    kept = {1: Kept(SHAPE, ("string",))}
    return scan(feeder.shard, kept, shard_count, lambda build, key: looked.append(key))


def put(feeder: Feeder, row: bytes, value: bytes) -> None:
    feeder.shard._database.put(row, value)


def stored(feeder: Feeder, row: bytes) -> bytes:
    value = feeder.shard._database.get(row)
    assert value is not None
    return value


def test_rows_are_counted_by_kind_and_keys_are_told(feeder):
    seen: list[bytes] = []
    found = read(feeder, seen=seen)
    assert (found.faults, seen, found.keys[1]) == ([], KEYS, 2)
    assert found.rows["heads"] == found.rows["bodies"] == 2
    assert found.rows["chunks"] == 1
    assert found.rows["segments"] >= 2
    assert found.rows["identities"] == found.rows["positions"] == 1
    assert found.rows["outbox"] == 3
    assert found.size_bytes > 1000


def test_rows_of_builds_that_are_gone_are_no_fault(feeder):
    put(feeder, build_prefix(7) + b"k" + HEAD_SUFFIX, b"whatever")
    found = read(feeder)
    assert (found.faults, found.rows["of builds that are gone"]) == ([], 1)


@pytest.mark.parametrize("suffix", [HEAD_SUFFIX, BODY_SUFFIX])
@pytest.mark.parametrize("change", [lambda b: b[:-3], lambda b: b"xx" + b[2:], lambda b: b + b"x"])
def test_block_that_does_not_decode_is_named_with_its_key(feeder, suffix, change):
    put(feeder, A + suffix, change(stored(feeder, A + suffix)))
    faults = read(feeder).faults
    assert {fault.key for fault in faults} == {KEYS[0]}
    assert {fault.build for fault in faults} == {1}


def cases() -> dict[str, tuple[bytes, bytes | None, str]]:
    """A row that is put over A's (None: deleted), and what is said."""
    return {
        "no head": (A + HEAD_SUFFIX, None, "there is no head"),
        "no body": (A + BODY_SUFFIX, None, "there is no body"),
        "part": (A + part_suffix(3), b"", "parts that the body does not list"),
        "kind": (A + b"z" + bytes(8), b"", "a row of kind b'z'"),
        "chunk": (A + chunk_suffix(99), b"", "of commit 99, which was not made yet"),
        "key": (build_prefix(1) + b"\xff" + HEAD_SUFFIX, b"", "is no"),
    }


@pytest.mark.parametrize("case", cases())
def test_rows_that_contradict_each_other_are_named(feeder, case):
    row, value, said = cases()[case]
    if value is None:
        feeder.shard._database.delete(row)
    else:
        put(feeder, row, value)
    assert any(said in fault.detail for fault in read(feeder).faults)


def test_head_and_body_of_two_folds_are_named(feeder):
    head = stored(feeder, A + HEAD_SUFFIX)
    put(feeder, A + HEAD_SUFFIX, head[:32] + struct.pack("<Q", 1) + head[40:])
    assert any("not of one fold" in fault.detail for fault in read(feeder).faults)


def test_segment_of_another_hour_is_named(feeder):
    (number, *_) = feeder.shard.segments.numbers(1, KEYS[0], 0, 1 << 64)
    block = stored(feeder, A + segment_suffix(number))
    put(feeder, A + segment_suffix(segment_number(NOON // HOUR + 9, 0)), block)
    faults = read(feeder).faults
    assert [(one.kind, one.key) for one in faults] == [("segments", KEYS[0])]
    assert "not of the segment's hour" in faults[0].detail


def test_body_that_lost_a_part_is_named(feeder, monkeypatch):
    monkeypatch.setattr(bodies, "SPLIT_BYTES", 0)
    feeder.fold(KEYS, NOON + 60 * MINUTE)
    assert read(feeder).faults == []
    (part, *_) = [row for row, _ in feeder.shard.rows_of(1, KEYS[0]) if row[-9:-8] == b"b"][1:]
    feeder.shard._database.delete(part)
    assert any("is not what it was" in fault.detail for fault in read(feeder).faults)


def test_key_of_another_shard_is_named(feeder):
    faults = read(feeder, shard_count=2).faults
    assert {fault.kind for fault in faults} <= {"keys"}
    assert all("belongs to shard 1" in fault.detail for fault in faults)


def test_no_more_faults_are_named_than_people_read(feeder):
    for number in range(FAULTS_MAX + 20):
        put(feeder, bytes(4) + b"?" + bytes([number]), b"")
    found = read(feeder)
    assert (len(found.faults), found.fault_count) == (FAULTS_MAX, FAULTS_MAX + 20)


def test_damage_is_named_with_its_file_and_reading_goes_on_behind_it(tmp_path, seed):
    chance = np.random.default_rng(seed)  # what cannot be packed: most of the file is of keys
    feeder = Feeder(open_shard(tmp_path / "shard"), SHAPE)
    keys = [encode_key((f"k{number:03d}",), ("string",)) for number in range(40)]
    for half in (keys[:20], keys[20:]):
        feeder.commit(
            [(key, NOON + i * SECOND, chance.random()) for key in half for i in range(200)]
        )
        feeder.shard.flush()
    feeder.shard.close()
    first = min((tmp_path / "shard").glob("*.sst"))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 0x80
    first.write_bytes(content)
    feeder.shard = open_shard(tmp_path / "shard")
    found = read(feeder)
    with suppress(StateCorrupt):  # where RocksDB meets it by itself, closing tells
        feeder.shard.abandon()
    files = [fault for fault in found.faults if fault.kind == "file"]
    assert files
    assert all(first.name in fault.detail for fault in files)
    assert found.keys[1] >= 20


NUMBER = struct.Struct(">Q")
BAD_ROWS = [
    (bytes(4) + b"i", b"\x09" * 24),
    (MIRRORED_KEY, b"\x09" * 32),
    (OUTBOX_DROPPED_KEY, struct.pack("<Q", 12)),
    (position_key(1, 0), bytes(71)),
    (position_key(1, 0), struct.pack("<9q", -1, *[0] * 8)),
    (outbox_key(11), b""),
    (outbox_key(1), encode_outbox([Touched(1, [b"a"], rewrite=False)]) + b"x"),
    (ID_PREFIX + bytes(20), b""),
    (ID_PREFIX + bytes(20), bytes(9)),
    (bytes(4) + b"b" + bytes(28), b"x"),
    (COPY_PREFIX + bytes(4) + NUMBER.pack(3), struct.pack("<2Q", 3, 3)),
    (VERDICT_PREFIX + bytes(4) + NUMBER.pack(3), struct.pack("<Q", 4)),
    (VERDICT_PREFIX + bytes(4), b""),
    (JUDGED_PREFIX + bytes(4), bytes(7)),
    (bytes(4) + b"?", b""),
]


@pytest.mark.parametrize(("row", "value"), BAD_ROWS)
def test_own_row_that_is_wrong_raises(row, value):
    with pytest.raises((StateCorrupt, FormatUnknown)):
        check_own(row, value, commit=10)


def test_own_rows_that_are_right_pass():
    good = [
        (OUTBOX_DROPPED_KEY, struct.pack("<Q", 10), "marks"),
        (position_key(1, 0), struct.pack("<9q", *range(9)), "positions"),
        (outbox_key(10), encode_outbox([Touched(1, [b"a"], rewrite=True)]), "outbox"),
        (ID_PREFIX + bytes(20), bytes(8), "seen ids"),
        (COPY_PREFIX + bytes(4) + NUMBER.pack(3), struct.pack("<2Q", 3, 5), "copies"),
        (JUDGED_PREFIX + bytes(4), bytes(8), "copies"),
    ]
    for row, value, kind in good:
        check_own(row, value, commit=10)
        assert own_kind(row) == kind
