"""What is finished for a feature, and how order cuts the rows of its window.

A window is a range of the sorted rows of a key. One that is cut by order is a shorter range: the
last rows of it, those after the last match, those since the last gap. So what `windows.over` keeps
for such windows while it serves is not needed here: the aggregate itself is finished over the
range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..algebra import Aggregate, AggregateAt
from ..geometry import Window
from ..over import OverRows, OverSession
from ..shape import Shape, WindowedFeature
from .need import Need


@dataclass(frozen=True, slots=True)
class CutBy:
    """A window, and how order cuts it; two that compare equal count the same rows."""

    window: Window
    over: OverRows | OverSession | None = None
    marks: int | None = None

    @staticmethod
    def of(shape: Shape, feature: WindowedFeature) -> CutBy:
        """How the rows of a feature are cut; what it computes of them does not matter."""
        over = feature.aggregate
        if isinstance(over, OverSession):
            return CutBy(feature.window, replace(over, inner=_ANY, kind=None))
        if isinstance(over, OverRows):
            marks = shape.slots[feature.slots[0]].input if over.marked else None
            return CutBy(feature.window, replace(over, inner=_ANY, kind=None), marks)
        return CutBy(feature.window)

    @property
    def gap_us(self) -> int | None:
        """The gap of a session, in µs."""
        return self.over.gap_us if isinstance(self.over, OverSession) else None

    @property
    def newest(self) -> int | None:
        """How many of the newest rows of a key it looks at, whenever they were; None: no such
        number."""
        if not isinstance(self.over, OverRows) or self.window.reach_us is not None:
            return None
        # One more: more than are kept overflow.
        return self.over.cap + 1

    @property
    def is_whole(self) -> bool:
        """Whether it counts all rows of a key, or all of a session, however many there are."""
        return self.window.reach_us is None and not isinstance(self.over, OverRows)


_ANY: Any = None
"""Stands for whatever aggregate is taken over a cut."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is finished for a feature: an aggregate over states of the rows that count."""

    feature: WindowedFeature
    cut: CutBy
    aggregate: Aggregate | AggregateAt
    needs: tuple[Need, ...]

    @property
    def params(self) -> Mapping[str, Any]:
        """Those of the feature."""
        return self.feature.params


def task_of(shape: Shape, feature: WindowedFeature) -> Task:
    """What is finished for a feature of `shape`."""
    over, slots = feature.aggregate, [shape.slots[slot] for slot in feature.slots]
    cut = CutBy.of(shape, feature)
    if not isinstance(over, OverRows | OverSession):
        return Task(feature, cut, over, tuple(Need(s.monoid, s.input) for s in slots))
    inputs = [slot.input for slot in slots]
    wanted = over.inner.needs(over.kind, feature.params)
    if isinstance(over, OverRows):
        inputs = inputs * len(wanted)
    needs = tuple(
        Need(need.monoid, number if need.takes_input else None, cut.marks is not None)
        for need, number in zip(wanted, inputs, strict=True)
    )
    return Task(feature, cut, over.inner, needs)
