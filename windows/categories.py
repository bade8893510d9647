"""States by category: what an aggregate keeps where it is taken `by=` a second column.

A state is a map from category to the inner states of its rows. It keeps every category up to a hard
bound and evicts none: past `CATEGORIES_MAX` different ones it is *past its bound*, which absorbs
whatever it is merged with. So a state is a function of the set of rows, whatever was merged with
what; which categories a reader sees apart is chosen when it is read (`Categories.chosen`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import items
from .aggregates.counts import COUNT_ROWS, COUNT_VALUES
from .aggregates.lists import one_by_many
from .aggregates.support import binary, column_of, empty_bytes
from .algebra import Bools, Column, Int64s, Lists, Order, Runs, StateField, StateNeed, States, take
from .items import Items, closed, opened

CATEGORIES_MAX: Final = 1024
"""Different categories that a state can hold."""

OTHER: Final = "__other__"
"""What the categories past a feature's cap are served as, together."""

_PASSED: Final = -1  # the count of the one item that a state past its bound holds


@dataclass(frozen=True, slots=True)
class Chosen:
    """The categories of k states that are served, those of a state after those of the one before.

    Within a state the one with the most events comes first, and `OTHER` last. `ids` int64 (n,) is
    the number of each one's state, `names` what it is served as, `inner` the states of each need.
    `passed` is bool (k,): states past their bound, of which no category is served.
    """

    ids: Int64s
    names: pa.LargeBinaryArray
    inner: tuple[States, ...]
    passed: Bools


@dataclass(frozen=True, slots=True)
class Categories:
    """Inner states by category; rows are pairs of a value and its category. Made by `categories`.

    A state is items (`windows.items`), ascending by category (texts by their UTF-8 bytes): the
    count of rows, the fields of the other inner states, the category or its text's length. Past
    the bound of `most` categories: one item of count -1, all else 0 (the empty text). `inner`
    begins with the count, and none of them has a field of bytes.
    """

    inner: tuple[StateNeed, ...]
    has_texts: bool
    most: int = CATEGORIES_MAX
    version: int = 1

    @property
    def name(self) -> str:
        """`by`, the kind of category, the bound, and the inner monoids with their versions."""
        inner = "_".join(f"{one.monoid.name}_{one.monoid.version}" for one in self.inner)
        return f"by_{'bytes' if self.has_texts else 'int'}_{self.most}_{inner}"

    @property
    def fields(self) -> tuple[StateField, ...]:
        return items.TEXTS if self.has_texts else items.ITEMS

    @property
    def width(self) -> int:
        """Words an item."""
        return 1 + sum(len(one.monoid.fields) for one in self.inner)

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        column = column_of(column)
        assert column.beside is not None, "categories were asked of single values"
        rows = np.arange(runs.size) if column.valid is None else np.flatnonzero(column.valid)
        if not len(rows):
            return self.zero(runs.count)
        (named,), ids = take((column.beside,), rows), runs.ids[rows]
        numbers = named if isinstance(named, np.ndarray) else items.ranks_of(named)
        place = _ascending(ids, numbers)
        same = Runs.of_changes(ids[place], numbers[place])
        rows, first = rows[place], place[same.starts]
        (values,) = take((column.values,), rows)
        sorted_order = Order(order.event_us[rows], order.ordinal[rows], order.offset[rows])
        lifted = [
            one.monoid.lift(Column(values) if one.takes_input else None, sorted_order, same)
            for one in self.inner
        ]
        (categories,) = take((named,), first)
        found = items.lifted(tuple(_words(lifted)), categories, None, ids[first])
        return closed(self._bounded(found, np.zeros(runs.count, bool)), runs.count)

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        parts = opened(states, self.width)
        rows = parts.of(runs.ids[parts.ids])
        passed = np.zeros(runs.count, bool)
        passed[rows.ids[rows.words[:, 0] == _PASSED]] = True
        if passed.any():
            rows = rows.take(np.flatnonzero(~passed[rows.ids]))
        numbers = rows.keys(-1)
        place = _ascending(rows.ids, numbers)
        same = Runs.of_changes(rows.ids[place], numbers[place])
        merged = self._merged(rows, place, same)
        return closed(self._bounded(merged, passed), runs.count)

    def reduce_one(self, states: States | Lists) -> tuple[Any, ...]:
        return one_by_many(self, states)

    def zero(self, count: int) -> States:
        return tuple(empty_bytes(count) for _ in self.fields)

    def chosen(self, states: States, cap: int, is_bool: bool = False) -> Chosen:
        """The `cap` categories with the most events of each state, and the rest merged as `OTHER`.

        Of equally frequent ones the lesser goes first. A category that is itself the text
        `__other__` counts with the rest. `is_bool`: the categories are 0 and 1.
        """
        count = len(states[0])
        rows = opened(states, self.width)
        passed = np.zeros(count, bool)
        passed[rows.ids[rows.words[:, 0] == _PASSED]] = True
        rows = rows.take(np.flatnonzero(~passed[rows.ids]))
        names = _names(rows, is_bool)
        is_rest = np.asarray(pc.equal(names, OTHER.encode()))
        # Items stand ascending by category, so that a stable sort leaves the lesser one first.
        place = np.lexsort((-rows.words[:, 0], is_rest, rows.ids))
        ids = rows.ids[place]
        is_rest = is_rest[place] | (np.arange(len(ids)) - np.searchsorted(ids, ids) >= cap)
        new = np.ones(len(ids), bool)
        new[1:] = ~(is_rest[1:] & is_rest[:-1]) | (ids[1:] != ids[:-1])
        same = Runs(np.flatnonzero(new), len(ids))
        merged = self._merged(rows, place, same)
        alone = pa.array(~is_rest[same.starts])
        taken = names.take(pa.array(place[same.starts]))
        shown = pc.if_else(alone, taken, pa.scalar(OTHER.encode(), pa.large_binary()))
        return Chosen(merged.ids, binary(shown), self._inner(merged.words), passed)

    def _merged(self, rows: Items, place: Int64s, same: Runs) -> Items:
        """One item for each run of the items at `place`, under its first one's category."""
        first = rows.take(place[same.starts])
        if same.count == same.size:
            return first
        inner = self._inner(rows.words[place])
        merged = [
            one.monoid.reduce(mine, same) for one, mine in zip(self.inner, inner, strict=True)
        ]
        words = np.stack((*_words(merged), first.words[:, -1]), axis=1)
        return Items(words, first.ids, first.tag, first.texts)

    def _bounded(self, rows: Items, passed: Bools) -> Items:
        """The items, with one mark for each state past its bound, now or already (`passed`)."""
        count = len(passed)
        passed = passed | (np.bincount(rows.ids, minlength=count) > self.most)
        if not passed.any():
            return rows
        kept = rows.take(np.flatnonzero(~passed[rows.ids]))
        marks = np.zeros((int(passed.sum()), rows.words.shape[1]), np.int64)
        marks[:, 0] = _PASSED
        ids = np.concatenate((kept.ids, np.flatnonzero(passed)))
        place = np.argsort(ids, kind="stable")
        texts = None
        if kept.texts is not None:
            texts = pa.concat_arrays([kept.texts, empty_bytes(len(marks))]).take(pa.array(place))
        return Items(np.concatenate((kept.words, marks))[place], ids[place], rows.tag, texts)

    def _inner(self, words: np.ndarray) -> tuple[States, ...]:
        """The states of each inner monoid, as columns."""
        states, begin = [], 0
        for one in self.inner:
            fields = one.monoid.fields
            states.append(
                tuple(
                    np.ascontiguousarray(words[:, begin + n]).view(field.dtype)
                    for n, field in enumerate(fields)
                )
            )
            begin += len(fields)
        return tuple(states)


def categories(
    needs: Iterable[StateNeed], has_texts: bool, most: int = CATEGORIES_MAX
) -> tuple[Categories, tuple[int, ...]]:
    """The states by category that hold all of `needs`, and the place of each need among the inner.

    Every row of a category has a value, so that counting rows and counting values are one.
    """
    wanted = list(needs)
    count = StateNeed(COUNT_VALUES)
    counts = (COUNT_ROWS, COUNT_VALUES)
    others = {one.monoid.name: one for one in wanted if one.monoid not in counts}
    names = sorted(others)
    places = tuple(
        0 if one.monoid in counts else 1 + names.index(one.monoid.name) for one in wanted
    )
    return Categories((count, *(others[name] for name in names)), has_texts, most), places


def _words(states: Iterable[States]) -> list[Int64s]:
    """The fields of some states, each as the words that an item has for it."""
    return [np.ascontiguousarray(field).view(np.int64) for state in states for field in state]


def _ascending(ids: Int64s, numbers: Int64s) -> Int64s:
    """Indices that sort rows by (id, number) and leave equal ones in their order."""
    if not len(ids):
        return np.empty(0, np.int64)
    least, most = int(numbers.min()), int(numbers.max())
    number_bits, row_bits = (most - least).bit_length(), len(ids).bit_length()
    if int(ids.max()).bit_length() + number_bits + row_bits > 63:
        return np.lexsort((numbers, ids))
    # All three in one integer: sorting that is several times as fast.
    packed = (((ids << number_bits) | (numbers - least)) << row_bits) | np.arange(len(ids))
    packed.sort()
    order: Int64s = packed & ((1 << row_bits) - 1)
    return order


def _names(rows: Items, is_bool: bool) -> pa.LargeBinaryArray:
    """What each item's category is served as, UTF-8."""
    if rows.texts is not None:
        return rows.texts
    numbers = pa.array(rows.values(-1))
    if is_bool:
        numbers = numbers.cast(pa.bool_())
    return binary(numbers.cast(pa.large_string()).cast(pa.large_binary()))
