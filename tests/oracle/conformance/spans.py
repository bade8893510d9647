"""The edge rules of cases in our own windows. Cases count in ms, our instants are µs."""

from __future__ import annotations

from typing import Any

import tegula as tg
from tegula import agg
from tegula.schemas.validation.ordered import ROWS_MAX

from .experiment import CENTURY_US, MS, Needs


def window(name: str) -> Any:
    """One of our windows by name; `Needs` where there is none (yet)."""
    made = getattr(tg, name, None)
    if made is None:
        raise Needs(f"{name} windows")
    return made


def aggregate(name: str) -> Any:
    """One of our aggregates by name; `Needs` where there is none (yet)."""
    made = getattr(agg, name, None)
    if made is None or name not in agg.SIGNATURES:
        raise Needs(f"the aggregate {name}")
    return made


def between(size_ms: int | None, start: str, end: str, delay_ms: int = 0) -> Any:
    """The window from `size` before t - delay up to t - delay, each side `open` or `closed`.

    Ours is `[t - length, t)`, and with `include_instant` that of t + 1 µs. So an open start moves
    it by 1 µs, and a closed one with a closed end makes it 1 µs longer. `size_ms` None: no start.
    """
    if delay_ms < 0:
        raise Needs("a window that ends after the instant (a negative offset)")
    span_us = length_us(size_ms, start, end)
    if span_us is None:
        if delay_ms:
            raise Needs("an offset of a lifetime window")
        return tg.lifetime(include_instant=end == "closed")
    if span_us < 1:
        raise Needs("a window that no instant lies in")
    if span_us + delay_ms * MS > CENTURY_US:
        raise Needs("a window of more than 100 years")
    return tg.sliding(
        f"{span_us}us",
        resolution="exact",
        offset=f"{delay_ms * MS}us",
        include_instant=end == "closed",
    )


def newest(count: int, size_ms: int | None, start: str, end: str) -> Any:
    """The newest `count` events of the window that `between` gives."""
    span_us = length_us(size_ms, start, end)
    if span_us is not None and span_us < 1:
        raise Needs("a window that no instant lies in")
    if span_us is not None and span_us > CENTURY_US:
        raise Needs("a window of more than 100 years")
    if count > ROWS_MAX:
        raise Needs(f"the newest {count} rows")
    within = None if span_us is None else f"{span_us}us"
    return tg.last(count, within=within, include_instant=end == "closed")


def length_us(size_ms: int | None, start: str, end: str) -> int | None:
    """How many instants lie in a window of that size with these sides; None: no end of them."""
    if size_ms is None:
        return None
    return size_ms * MS - 1 + (start == "closed") + (end == "closed")


def complete_hop(size_ms: int, advance_ms: int, lookback_ms: int = 0) -> Any:
    """`[e - size, e)` with e = floor(t, advance) - lookback."""
    if lookback_ms == 0:
        if size_ms == advance_ms:
            return tg.tumbling(f"{size_ms}ms")
        if size_ms < advance_ms:
            raise Needs("a hop that is longer than the window")
        return tg.hopping(f"{size_ms}ms", f"{advance_ms}ms")
    if lookback_ms < 0 or lookback_ms % advance_ms or size_ms % advance_ms:
        raise Needs("an offset of a hopping window that is no multiple of its hop")
    # Both edges of a sliding window with an offset lie on its grid.
    return tg.sliding(f"{size_ms}ms", resolution=f"{advance_ms}ms", offset=f"{lookback_ms}ms")
