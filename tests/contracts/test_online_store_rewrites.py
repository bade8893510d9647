"""What every online store does so that its rows can be written anew over those that are there."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tegula.state.keys import encode_key
from tegula.state.online.lmdb import LmdbWriter, WritersAsReader
from tegula.state.online.redis_writer import RedisStore
from tegula.state.online.rows import Mark, OnlineWriter, RowWrites
from tegula.state.packing import ONLINE_HEAD, Stamps, pack
from tegula.state.rows import segment_number
from tegula.windows.geometry import Sliding
from tests.support.remote_store import RemoteStore
from tests.support.shapes import HOUR, MINUTE, lift_events, shape_of

MARK = Mark(1, 5, (1,), {0: 10, 3: 7})
SHAPE = shape_of(["count"], [Sliding(HOUR, MINUTE)])
NOON = 12 * HOUR


@pytest.fixture(params=["lmdb", "model", pytest.param("redis", marks=pytest.mark.services)])
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnlineWriter]:
    made: OnlineWriter
    if request.param == "lmdb":
        made = LmdbWriter(tmp_path, 0, 1, 1 << 24)
    elif request.param == "model":
        made = RemoteStore().open_writer(tmp_path, 0, 1)
    else:
        url = request.getfixturevalue("redis_server").url
        made = RedisStore(url, {}, f"t-{uuid.uuid4().hex}").open_writer(tmp_path, 0, 1)
    assert made.mark() is None
    yield made
    made.abandon()


def segment(count: int, label: bytes = b"") -> bytes:
    """What a store looks at of a segment, and a label."""
    return struct.pack("<4xI", count) + label


def stamped_head(commit: int) -> bytes:
    """What a store looks at of a head."""
    stamps = Stamps(*(np.array([n], np.uint64) for n in (1, commit, 0)), np.array([NOON]))
    tiles = lift_events(SHAPE, [b"k"], [(0, NOON, 1.0)])
    return pack(SHAPE, tiles, ONLINE_HEAD, stamps)[0]


def test_whole_keys_keep_no_segments_but_those_that_are_given(writer):
    many = [(key, segment_number(n, 0), segment(1)) for key in (b"a", b"b", b"c") for n in range(3)]
    writer.write([RowWrites(1, segments=many), RowWrites(2, segments=many)], MARK)
    given = [(b"a", segment_number(2, 0), segment(2)), (b"a", segment_number(5, 0), None)]
    change = RowWrites(1, [(b"a", b"H")], deletes=[b"b"], segments=given, whole=True)
    writer.write([change], MARK)
    reader, all_three = WritersAsReader([writer]), {n: [segment(1)] for n in range(3)}
    found = reader.read_with_segments(0, 1, [b"a", b"b", b"c"], range(6))[2]
    assert found == [{2: [segment(2)]}, {}, all_three]
    assert reader.read_with_segments(0, 2, [b"a", b"b"], range(6))[2] == [all_three, all_three]


def test_drop_older_takes_all_rows_of_keys_whose_head_is_of_an_earlier_commit(writer, monkeypatch):
    monkeypatch.setattr("tegula.state.online.lmdb._DROPPED_AT_ONCE", 2)
    keys = [encode_key((f"{n}" * length,), ("string",)) for n in range(6) for length in (1, 600)]
    many = [(key, segment_number(n, 0), segment(1)) for key in keys for n in range(3)]
    for build in (1, 2, 3):
        heads = [(key, stamped_head(place)) for place, key in enumerate(keys)]
        bodies = [(key, b"....body") for key in keys]
        writer.write([RowWrites(build, heads, bodies, segments=many)], MARK)
    writer.drop_older(2, 8)
    reader, gone = WritersAsReader([writer]), [True] * 8 + [False] * 4
    for build in (1, 2, 3):
        _, rows, segments = reader.read_with_segments(0, build, keys, range(3))
        wanted = gone if build == 2 else [False] * 12
        assert [row == (None, None) for row in rows] == wanted
        assert [found == {} for found in segments] == wanted
    assert reader.mark(0) == MARK
