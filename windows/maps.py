"""Aggregates `by=` a second column: a map with the value of each category.

The plan keeps states by category (`windows.categories`) and *wraps* the aggregate: when the window
is read, the categories to be served are chosen, and the aggregate finishes each as it does a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.errors import UnsupportedInput
from ..schemas.types import DataType, map_of
from .aggregates.lists import bytes_of_one
from .aggregates.support import scalar_of_one
from .algebra import (
    NULL,
    OVERFLOW,
    VALUE,
    Aggregate,
    AggregateAt,
    Codes,
    Reading,
    StateNeed,
    States,
    Values,
    finish,
)
from .categories import Categories, categories


@dataclass(frozen=True, slots=True)
class ByCategory:
    """An aggregate whose value is a map: for each category the inner aggregate's value.

    `kind` is that of the inner input (None: events are counted), `category` that of the second
    column: `"string"`, `"int"` or `"bool"`. The `cap` categories with the most events are given,
    all others together as `__other__`. No categories: null. If a value overflows, or the state is
    past its bound, the map does.

    >>> from .aggregates.sums import SUM
    >>> from .algebra import Column, Order, Runs
    >>> shops = pa.array([b"a", b"b", b"a"], pa.large_binary())
    >>> by_shop = ByCategory(SUM, "float", "string", cap=100)
    >>> (need,) = by_shop.needs("float,string", {})
    >>> rows = Column(np.array([5.0, 1.0, 2.5]), None, shops)
    >>> state = need.monoid.lift(rows, Order(*[np.arange(3)] * 3), Runs(np.array([0]), 3))
    >>> by_shop.finish_at((state,), {}, Reading(0, 0, 0))[0].to_pylist()
    [[(b'a', 7.5), (b'b', 1.0)]]
    """

    inner: Aggregate | AggregateAt
    kind: str | None
    category: str
    cap: int

    @property
    def name(self) -> str:
        return self.inner.name

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return (StateNeed(self._states(params)[0]),)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return map_of(self.inner.output(None if self.kind is None else input_type, params))

    def finish_at(
        self, states: tuple[States, ...], params: Mapping[str, Any], reading: Reading
    ) -> tuple[Values, Codes]:
        size = len(states[0][0])
        monoid, places = self._states(params)
        chosen = monoid.chosen(states[0], self.cap, self.category == "bool")
        inner = tuple(chosen.inner[place] for place in places)
        entries = _of_entries(reading, size, chosen.ids)
        values, codes = finish(self.inner, inner, params, entries)
        held = np.bincount(chosen.ids, minlength=size)
        kinds = np.where(held > 0, VALUE, NULL).astype(np.uint8)
        kinds[chosen.ids[codes == OVERFLOW]] = OVERFLOW
        kinds[chosen.passed] = OVERFLOW
        if isinstance(values, np.ndarray):
            values = pa.array(values, mask=codes == NULL)
        ends = pa.array(np.concatenate(([0], np.cumsum(held))), pa.int32())
        return pa.MapArray.from_arrays(ends, chosen.names, values), kinds

    def finish_one_at(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any], reading: Reading
    ) -> Any:
        return scalar_of_one(self.finish_at((bytes_of_one(states[0]),), params, reading))

    def _states(self, params: Mapping[str, Any]) -> tuple[Categories, tuple[int, ...]]:
        """The states to keep, and where among them the inner aggregate's are."""
        needs = self.inner.needs(self.kind, params)
        for need in needs:
            if any(field.dtype == "bytes" for field in need.monoid.fields):
                raise UnsupportedInput(
                    f"`{self.name}` cannot be kept for each category",
                    got=f"a state of changing size ({need.monoid.name})",
                    expected="an aggregate whose state has a fixed size",
                    hint="take it without `by=`, with a `where=` for the category that matters",
                )
        return categories(needs, self.category == "string")


def _of_entries(reading: Reading, size: int, ids: np.ndarray) -> Reading:
    """The reading of `size` keys, for each of their categories."""
    instants = (reading.at_us, reading.start_us, reading.end_us)
    return Reading(*(np.broadcast_to(np.asarray(one), size)[ids] for one in instants))
