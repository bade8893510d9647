"""Receipts as text, and waiting for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.errors import BadRequest, NotReady
from tegula.serving.plan import Resolved
from tegula.serving.receipts import PushReceipt, Waiter
from tests.support.serving import SHARDS, MemoryStore

RESOLVED = Resolved(1, SHARDS)


@given(
    stream=st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True),
    positions=st.dictionaries(
        st.from_regex(r"[a-z0-9\-]{1,9}", fullmatch=True), st.integers(0, 2**53), min_size=1
    ),
)
def test_law_receipt_survives_being_text(stream, positions):
    receipt = PushReceipt(stream, positions)
    assert PushReceipt.parse(str(receipt)) == receipt


@pytest.mark.parametrize(
    "text", ["", "payments", "payments/", "payments/0", "payments/0:x", "/0:1"]
)
def test_text_that_is_no_receipt_is_refused(text):
    with pytest.raises(BadRequest, match="not a receipt"):
        PushReceipt.parse(text)


class Ticking:
    """A clock that moves on by 1 ms whenever it is read."""

    def __init__(self) -> None:
        self.at_us = 0

    def __call__(self) -> int:
        self.at_us += 1_000
        return self.at_us


def waiter(store: MemoryStore, ordinals: Mapping[str, int]) -> Waiter:
    return Waiter(store, lambda stream: ordinals, Ticking())


def test_waiting_ends_when_every_shard_has_passed_the_positions():
    store = MemoryStore(positions={4: 9, 5: 2})

    async def pushed_and_mirrored() -> None:
        waiting = asyncio.create_task(
            waiter(store, {"0": 4, "1": 5}).wait("payments/0:9,1:3", RESOLVED, 10**9)
        )
        await asyncio.sleep(0.02)
        assert not waiting.done()
        store.positions[5] = 3
        await asyncio.wait_for(waiting, 5)

    asyncio.run(pushed_and_mirrored())


@pytest.mark.parametrize(
    ("store", "ordinals", "got"),
    [
        (MemoryStore(positions={4: 8}), {"0": 4}, "shard 0 is at offset 8 of partition '0'"),
        (MemoryStore(empty=True), {"0": 4}, "shard 0 is at offset 0"),
        (MemoryStore(), {}, "partition '0' is not being read"),
    ],
)
def test_waiting_is_bounded_and_says_what_has_not_come(store, ordinals, got):
    with pytest.raises(NotReady) as caught:
        asyncio.run(waiter(store, ordinals).wait("payments/0:9", RESOLVED, 20_000))
    assert got in caught.value.got
    assert caught.value.retryable
