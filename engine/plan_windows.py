"""A window as a user wrote it, compiled to its geometry."""

from __future__ import annotations

from ..schemas.time import parse_duration
from ..schemas.windows import (
    AUTO,
    EXACT,
    HoppingSpec,
    SlidingSpec,
    TumblingSpec,
    WindowSpec,
)
from ..windows.geometry import Hopping, IncludingInstant, Lifetime, Sliding, Tumbling, Window
from ..windows.ladder import automatic_resolution_us


def window_of(spec: WindowSpec) -> Window:
    """The geometry of a validated window."""
    window = _window(spec)
    return IncludingInstant(window) if spec.include_instant else window


def _window(spec: WindowSpec) -> Window:
    if isinstance(spec, SlidingSpec):
        length_us = parse_duration(spec.length)
        return Sliding(length_us, _resolution_us(spec, length_us), parse_duration(spec.offset))
    if isinstance(spec, TumblingSpec):
        return Tumbling(parse_duration(spec.size), spec.current)
    if isinstance(spec, HoppingSpec):
        return Hopping(parse_duration(spec.size), parse_duration(spec.hop), spec.current)
    return Lifetime()


def _resolution_us(spec: SlidingSpec, length_us: int) -> int:
    if spec.resolution == AUTO:
        return automatic_resolution_us(length_us)
    return 1 if spec.resolution == EXACT else parse_duration(spec.resolution)
