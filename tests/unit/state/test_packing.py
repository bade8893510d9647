"""Blocks: what is packed is read back; what is damaged or foreign is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.errors import FormatUnknown, StateCorrupt
from tegula.state import packing
from tegula.state.packing import (
    BODY,
    CHUNK,
    HEAD,
    ONLINE_BODY,
    ONLINE_HEAD,
    STAMPED_BYTES,
    Stamps,
    pack,
    record_dtype,
    unpack,
)
from tegula.windows.geometry import Sliding
from tests.support.shapes import HOUR, MINUTE, lift_events, shape_of

SHAPE = shape_of(["count", "sum", "mean", "max"], [Sliding(HOUR, MINUTE)])
WITH_BYTES = shape_of(["count", "approx_distinct", "last"], [Sliding(HOUR, MINUTE)])
events = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-(10**9), 10**9), st.floats(-1e6, 1e6)),
    min_size=1,
    max_size=40,
)
KEYS = [b"a", b"bb", b"", b"dddd"]


def stamps_for(count: int) -> Stamps:
    numbers = np.arange(count, dtype=np.uint64)
    return Stamps(numbers + 1, numbers + 2, numbers + 3, numbers.astype(np.int64) * MINUTE)


def same_columns(one, other) -> bool:
    return all(
        (a == b).all() if isinstance(a, np.ndarray) else a.equals(b)
        for a, b in zip(one, other, strict=True)
    )


@given(events)
@pytest.mark.parametrize("shape", [SHAPE, WITH_BYTES], ids=["fixed", "bytes"])
def test_law_unpack_gives_back_what_was_packed(shape, events):
    keyed = lift_events(shape, KEYS, events)
    kinds = {kind: stamps_for(4) for kind in (HEAD, BODY, ONLINE_HEAD, ONLINE_BODY)}
    for kind, stamps in ({CHUNK: None} | kinds).items():
        blocks = unpack(shape, pack(shape, keyed, kind, stamps), stamped=stamps is not None)
        assert blocks.bounds.tolist() == keyed.bounds.tolist()
        assert blocks.newest_us.tolist() == keyed.newest_us.tolist()
        assert blocks.tiles.start_us.tolist() == keyed.tiles.start_us.tolist()
        assert blocks.tiles.rung.tolist() == keyed.tiles.rung.tolist()
        assert blocks.tiles.rows.tolist() == keyed.tiles.rows.tolist()
        assert same_columns(blocks.tiles.columns, keyed.tiles.columns)
        if stamps is not None:
            assert blocks.stamps.horizon_us.tolist() == stamps.horizon_us.tolist()
            assert blocks.stamps.folded_through.tolist() == stamps.folded_through.tolist()


@pytest.mark.parametrize("piece_bytes", [0, 1 << 40], ids=["joined", "byte by byte"])
def test_bytes_are_the_same_however_they_are_brought_together(piece_bytes, monkeypatch):
    monkeypatch.setattr(packing, "PIECE_BYTES", piece_bytes)
    places = [(n % 4, n // 4 * 7_000_000, float(n)) for n in range(60)]
    keyed = lift_events(WITH_BYTES, KEYS, places)
    blocks = unpack(WITH_BYTES, pack(WITH_BYTES, keyed, CHUNK), stamped=False)
    assert same_columns(blocks.tiles.columns, keyed.tiles.columns)


def test_unpack_refuses_a_value_that_lies_past_the_heap(monkeypatch):
    monkeypatch.setattr(packing, "PIECE_BYTES", 0)
    block = bytearray(pack(WITH_BYTES, lift_events(WITH_BYTES, KEYS, [(0, 5, 1.0)]), CHUNK)[0])
    at = 24 + 16 + 8
    assert int.from_bytes(block[at + 4 : at + 8], "little") == 16, "a tag, and one hash"
    block[at + 4] += 8
    with pytest.raises(StateCorrupt, match="past the end"):
        unpack(WITH_BYTES, [bytes(block)], stamped=False)


@given(events, st.data())
def test_law_unpack_does_not_depend_on_which_blocks_stand_beside(events, data):
    blocks = pack(WITH_BYTES, lift_events(WITH_BYTES, KEYS, events), CHUNK)
    order = data.draw(st.permutations(range(4)))
    together = unpack(WITH_BYTES, [blocks[i] for i in order], stamped=False)
    for place, i in enumerate(order):
        alone = unpack(WITH_BYTES, [blocks[i]], stamped=False)
        begin, end = together.bounds[place], together.bounds[place + 1]
        assert same_columns(
            [column[begin:end] for column in together.tiles.columns], alone.tiles.columns
        )


def test_unpack_of_nothing_is_no_tiles():
    assert len(unpack(SHAPE, [], stamped=True).tiles) == 0


def test_blocks_are_aligned_to_eight_bytes_before_the_heap():
    assert STAMPED_BYTES % 8 == 0
    assert record_dtype(WITH_BYTES).itemsize % 8 == 0


@pytest.mark.parametrize("cut", [1, 8, 23, 30])
def test_unpack_refuses_a_block_cut_short(cut):
    block = pack(SHAPE, lift_events(SHAPE, KEYS, [(0, 5, 1.0)]), CHUNK)[0]
    with pytest.raises(StateCorrupt):
        unpack(SHAPE, [block[:-cut]], stamped=False)


def test_unpack_refuses_a_block_of_other_state_fields():
    block = pack(SHAPE, lift_events(SHAPE, KEYS, [(0, 5, 1.0)]), CHUNK)[0]
    with pytest.raises(FormatUnknown, match="state fields"):
        unpack(WITH_BYTES, [block], stamped=False)


def test_unpack_refuses_a_later_version_and_a_mode_that_it_does_not_know():
    block = bytearray(pack(SHAPE, lift_events(SHAPE, KEYS, [(0, 5, 1.0)]), CHUNK)[0])
    later, replacing = bytearray(block), bytearray(block)
    later[2] = 2
    replacing[24 + 9] = 1
    with pytest.raises(FormatUnknown, match="version 2"):
        unpack(SHAPE, [bytes(later)], stamped=False)
    with pytest.raises(FormatUnknown, match="mode"):
        unpack(SHAPE, [bytes(replacing)], stamped=False)
