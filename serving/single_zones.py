"""Where a window of one key begins that goes by the key's own time zone."""

from __future__ import annotations

from dataclasses import dataclass

from ..windows.aggregates.ordered import LAST
from ..windows.shape import Shape
from ..windows.zoned import ZonedCalendar
from .single_tiles import Tiles


@dataclass(frozen=True, slots=True)
class KeyZone:
    """Such a window, and the places of the fields that tell the zone."""

    window: ZonedCalendar
    fields: tuple[int, ...]

    def bounds(self, body: Tiles, head: Tiles, at_us: int) -> tuple[int, int] | None:
        """The window's bounds at an instant after all of these tiles; None without a zone."""
        latest = [one for one in (body.latest(self.fields), head.latest(self.fields)) if one]
        name = LAST.finish_one((max(latest),), {}) if latest else None
        return None if name is None else self.window.bounds_in(name.decode(), at_us)


def key_zone(shape: Shape, window: object) -> KeyZone | None:
    """How the zone is found for a window that goes by it; None for any other window."""
    if not isinstance(window, ZonedCalendar):
        return None
    span = shape.field_ranges[window.zone_slot]
    return KeyZone(window, tuple(range(span.start, span.stop)))
