"""Receipts: where pushed events lie in their log, as text, and waiting until they can be read.

A receipt names a stream and, for each partition that got events, the position behind them:
`payments/0:57,2:9`. An answer that is asked for *after* a receipt waits until every shard's mark
has passed all of these positions, so that whoever pushed an event reads what it changed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..schemas.errors import BadRequest, NotReady
from ..state.online.rows import OnlineReader, marks_of

if TYPE_CHECKING:
    from .plan import Resolved

_TEXT: Final = re.compile(r"([a-z][a-z0-9_]*)/([^/,:\s]+:[0-9]{1,18}(?:,[^/,:\s]+:[0-9]{1,18})*)")
_LOOK_S: Final = 0.005

Ordinals = Callable[[str], Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class PushReceipt:
    """The positions, by partition, behind the events that a push appended to a stream."""

    stream: str
    positions: Mapping[str, int]

    def __str__(self) -> str:
        """The receipt as text.

        >>> str(PushReceipt("payments", {"2": 9, "0": 57}))
        'payments/0:57,2:9'
        """
        places = ",".join(f"{name}:{at}" for name, at in sorted(self.positions.items()))
        return f"{self.stream}/{places}"

    @classmethod
    def parse(cls, text: str) -> PushReceipt:
        """The receipt that `text` is. Raises `BadRequest`.

        >>> PushReceipt.parse("payments/0:57,2:9").positions["2"]
        9
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise BadRequest(
                "this is not a receipt",
                where="after",
                got=repr(text[:60]),
                expected="the text that a push returned, such as payments/0:57",
            )
        places = (place.rpartition(":") for place in match[2].split(","))
        return cls(match[1], {name: int(at) for name, _, at in places})


class Waiter:
    """Waits for receipts. `ordinals` gives the numbers of a stream's partitions in the marks."""

    def __init__(self, store: OnlineReader, ordinals: Ordinals, now_us: Callable[[], int]) -> None:
        self._store = store
        self._ordinals = ordinals
        self._now_us = now_us
        self._known: dict[str, Mapping[str, int]] = {}

    async def wait(self, text: str, resolved: Resolved, wait_us: int) -> None:
        """Return when what the receipt names can be read from every shard.

        Raises `BadRequest` if it is none, and `NotReady` after `wait_us`.
        """
        receipt = PushReceipt.parse(text)
        deadline_us = self._now_us() + wait_us
        while (behind := await self._behind(receipt, resolved)) is not None:
            if self._now_us() >= deadline_us:
                raise NotReady(
                    "the events of this receipt cannot be read yet",
                    where=f"after {text!r}",
                    got=behind,
                    expected=f"all positions within {wait_us / 1e6:g} s",
                    hint="try again; if this stays, `tegula status` tells how far the engine is",
                )
            await asyncio.sleep(_LOOK_S)

    async def _behind(self, receipt: PushReceipt, resolved: Resolved) -> str | None:
        """What has not come so far, in words; None if everything has."""
        ordinals = self._known.get(receipt.stream, {})
        if not receipt.positions.keys() <= ordinals.keys():
            ordinals = await asyncio.to_thread(self._ordinals, receipt.stream)
            self._known[receipt.stream] = ordinals
        marks = marks_of(self._store, resolved.shards)
        for partition, position in receipt.positions.items():
            ordinal = ordinals.get(partition)
            if ordinal is None:
                return f"partition {partition!r} is not being read"
            for shard, mark in enumerate(marks):
                at = 0 if mark is None else mark.positions.get(ordinal, 0)
                if at < position:
                    return f"shard {shard} is at offset {at} of partition {partition!r}"
        return None
