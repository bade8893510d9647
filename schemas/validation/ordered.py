"""The faults of windows that are cut by order: `last`, `since`, `session`.

Arguments are `Any` where nothing about them is known yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import BadParameter, BadWindow, DefinitionFault, shown
from ..ordered_windows import LastSpec, SessionSpec, SinceSpec
from ..signatures import Signature
from .checks import span_faults

ROWS_MAX = 10_000
"""Events that `last` and `since` keep of a key at most; 40 bytes each."""


def ordered_faults(window: Any, place: str) -> Iterator[DefinitionFault]:
    """What is wrong with the numbers and spans of one such window."""
    if isinstance(window, LastSpec):
        yield from _last_faults(window, place)
    elif isinstance(window, SinceSpec):
        yield from _count_faults(window.cap, "cap", place)
    elif isinstance(window, SessionSpec):
        yield from span_faults(window.gap, f"{place}, gap", least_us=1)
        yield from span_faults(window.lateness, f"{place}, lateness")


def pair_faults(
    window: Any, name: str, signature: Signature, place: str
) -> Iterator[DefinitionFault]:
    """An aggregate over two columns, or lists, in a window that keeps one value an event."""
    if signature.second is not None and isinstance(window, LastSpec | SinceSpec):
        yield BadWindow(
            f"{name} reads two columns, and such a window keeps the values of one",
            where=place,
            got=shown(window),
            expected="sliding(…), session(…) or another window of time",
            hint="or aggregate one expression of both, as in pl.col('a') * pl.col('b')",
        )
    if "list" in signature.kinds and isinstance(window, LastSpec | SinceSpec):
        yield BadWindow(
            f"{name} reads lists, and such a window keeps a single value of an event",
            where=place,
            got=shown(window),
            expected="sliding(…), session(…) or another window of time",
        )


def _last_faults(window: LastSpec, place: str) -> Iterator[DefinitionFault]:
    count: Any = window.count
    skip: Any = window.skip
    faults = [
        *_count_faults(count, "count", place),
        *_count_faults(skip, "skip", place, least=0, most=ROWS_MAX - 1),
    ]
    if not faults and count + skip > ROWS_MAX:
        yield BadParameter(
            "count and skip are more events than are kept of a key",
            where=place,
            got=f"{count} after {skip}",
            expected=f"at most {ROWS_MAX} together",
        )
    yield from faults
    if window.within is not None:
        yield from span_faults(window.within, f"{place}, within", least_us=1)


def _count_faults(
    value: Any, name: str, place: str, *, least: int = 1, most: int = ROWS_MAX
) -> Iterator[DefinitionFault]:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        yield BadParameter(
            f"{name} is not a number of events",
            where=f"{place}, {name}",
            got=shown(value),
            expected=f"an integer from {least} to {most}",
        )
