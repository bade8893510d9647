"""Rows and states for the laws: drawn, lifted, compared.

States are compared bit for bit, but for sums of floats in two words (their last fields are `hi` and
`lo`): these may differ by 2**-100 of the sum of magnitudes. All arrays that go into an aggregate
are read-only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from hypothesis import strategies as st

from ..windows.algebra import Column, Monoid, Order, Runs, States, Values, take

DTYPES: Final[Mapping[str, Any]] = {"<i8": np.int64, "<u8": np.uint64, "<f8": np.float64}
FLOAT_BOUND: Final = Fraction(1, 2**100)  # of the sum of magnitudes
_FLOATS_END: Final = Fraction(2) ** 1023

Strategies = Mapping[str, st.SearchStrategy[Any]]
"""What is drawn for each kind of input."""

EVERYTHING: Final[Strategies] = {
    "float": st.one_of(
        st.sampled_from([0.0, -0.0, 0.1, 1e16, -1e16, 5e-324, 1.0]),
        st.floats(-1e100, 1e100),
        st.integers(-1000, 1000).map(lambda cents: cents / 100),
    ),
    "int": st.one_of(
        st.integers(-3, 3),
        st.integers(-(2**63), 2**63 - 1),
        st.sampled_from([-(2**63), 2**63 - 1]),
    ),
    "bool": st.integers(0, 1),
    "time": st.integers(-(10**12), 2 * 10**15),
    "string": st.one_of(
        st.sampled_from([b"", b"a", b"a\x00", b"\x00", b"b"]), st.text().map(str.encode)
    ),
}
_GARBAGE: Final[Mapping[str, Any]] = {
    "float": float("nan"),
    "int": 7,
    "bool": 1,
    "time": -7,
    "string": b"\xff\x01",
}

Row = tuple[int, int, int, int, int, Any]


@dataclass(frozen=True)
class Rows:
    """Rows of some runs: (run, part, event_us, ordinal, offset, value or None), in total order.

    A value of a pair is a pair of values, of which either may be None; one of a column of lists is
    a list, whose elements may be None. Without a `kind` there is no column: rows are counted.
    """

    kind: str | None
    rows: list[Row]

    def part(self, *parts: int) -> Rows:
        """The rows of some parts."""
        return replace(self, rows=[row for row in self.rows if row[1] in parts])

    def run(self, run: int) -> Rows:
        """The rows of one run."""
        return replace(self, rows=[row for row in self.rows if row[0] == run])

    def with_values(self) -> Rows:
        """The rows that have a value."""
        return replace(self, rows=[row for row in self.rows if not _is_missing(row[5])])

    @property
    def runs(self) -> Runs:
        return Runs.of_changes(np.array([row[0] for row in self.rows], np.int64))

    @property
    def order(self) -> Order:
        return Order(*(frozen([row[i] for row in self.rows], np.int64) for i in (2, 3, 4)))

    def column(self, *, doubled: bool = False) -> Column | None:
        """The values; where there is none, garbage stands, and other garbage if `doubled`."""
        if self.kind is None:
            return None
        given = [row[5] for row in self.rows]
        if self.kind.startswith("list["):
            elements = [one for row in given for one in row or ()]
            column = _column_of(_item(self.kind), elements, doubled)
            lengths = frozen([len(row or ()) for row in given], np.int64)
            return replace(column, lengths=lengths)
        if "," not in self.kind:
            return _column_of(self.kind, given, doubled)
        first, second = (
            _column_of(kind, [None if pair is None else pair[i] for pair in given], doubled)
            for i, kind in enumerate(self.kind.split(","))
        )
        valids = [one.valid for one in (first, second) if one.valid is not None]
        valid = frozen(np.logical_and.reduce(valids), bool) if valids else None
        return Column(first.values, valid, second.values)

    def lift(self, monoid: Monoid, *, takes_input: bool = True, doubled: bool = False) -> States:
        """The state of each run."""
        column = self.column(doubled=doubled) if takes_input else None
        return locked(monoid.lift(column, self.order, self.runs))

    def lift_one(self, monoid: Monoid) -> States:
        """The state of all rows as one run; zero if there are none."""
        if not self.rows:
            return locked(monoid.zero(1))
        return replace(self, rows=[(0, *row[1:]) for row in self.rows]).lift(monoid)

    def lift_each(self, monoid: Monoid) -> States:
        """The state of each row alone."""
        return monoid.lift(
            self.column(), self.order, Runs(np.arange(len(self.rows)), len(self.rows))
        )

    def __repr__(self) -> str:
        shown = "".join(f"\n    {row}" for row in self.rows) or " none"
        return f"rows (run, part, event_us, ordinal, offset, value):{shown}"


def _column_of(kind: str, given: list[Any], doubled: bool) -> Column:
    garbage = _GARBAGE[kind] * (2 if doubled else 1)
    values = [garbage if one is None else one for one in given]
    valid = frozen([one is not None for one in given], bool)
    if kind == "string":
        return Column(pa.array(values, pa.large_binary()), valid)
    column = frozen(values, np.float64 if kind == "float" else np.int64)
    return Column(column, None if valid.all() else valid)


def _item(kind: str) -> str:
    """The kind of the elements of a kind of lists."""
    return kind.removeprefix("list[").removesuffix("]")


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, tuple) and None in value)


@st.composite
def rows_of(
    draw: st.DrawFn,
    kind: str | None,
    runs: int = 1,
    min_size: int = 0,
    values: Strategies = EVERYTHING,
) -> Rows:
    """Rows of a kind of input, in up to `runs` runs, each row in one of three parts."""
    drawn = draw(_drawn(kind, runs, min_size, tuple(values.items())))
    offsets = draw(st.permutations(range(len(drawn))))
    rows = [(*r[:4], offset, r[4]) for r, offset in zip(drawn, offsets, strict=True)]
    return Rows(kind, sorted(rows, key=lambda r: (r[0], r[2:5])))


@dataclass(frozen=True)
class Draw:
    """What a law draws its examples with; `values` are those for each kind of input."""

    one: Callable[[st.SearchStrategy[Any]], Any]
    values: Strategies

    def rows(self, kind: str | None, runs: int = 1, min_size: int = 0) -> Rows:
        """Rows, as `rows_of` gives them."""
        rows: Rows = self.one(rows_of(kind, runs, min_size, self.values))
        return rows


@lru_cache(maxsize=1024)
def _drawn(
    kind: str | None, runs: int, min_size: int, values: tuple[tuple[str, Any], ...]
) -> st.SearchStrategy[list[Any]]:
    """Rows without offsets. Made once: Hypothesis judges each strategy anew."""
    of = dict(values)
    if kind is not None and kind.startswith("list["):
        element = of[_item(kind)]
        of[kind] = st.lists(st.none() | element | element, max_size=4)
    alone = [st.none() | of[one] | of[one] for one in (kind or "bool").split(",")]
    value = alone[0] if len(alone) == 1 else st.tuples(*alone)
    row = st.tuples(
        st.integers(0, runs - 1), st.integers(0, 2), st.integers(-2, 2), st.integers(0, 1), value
    )
    return st.lists(row, min_size=min_size, max_size=24)


def frozen(values: Any, dtype: Any) -> npt.NDArray[Any]:
    """An array that nobody can write to."""
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def locked(states: States) -> States:
    """The same states, read-only from now on."""
    for field in states:
        if isinstance(field, np.ndarray):
            field.flags.writeable = False
    return states


def thawed(states: States) -> States:
    """Copies that can be written to."""
    return tuple(field.copy() if isinstance(field, np.ndarray) else field for field in states)


def pick(states: States, index: int) -> States:
    """One state."""
    return locked(take(states, np.array([index])))


def as_states(monoid: Monoid, scalars: tuple[Any, ...]) -> States:
    """One state in Python scalars as columns of length 1."""
    return tuple(
        pa.array([scalar], pa.large_binary())
        if field.dtype == "bytes"
        else np.array([scalar], DTYPES[field.dtype])
        for scalar, field in zip(scalars, monoid.fields, strict=True)
    )


def as_lists(states: States) -> tuple[list[Any], ...]:
    """States as lists of Python scalars, a list a field."""
    return tuple(
        field.to_pylist() if isinstance(field, pa.Array) else field.tolist() for field in states
    )


def bits(field: Values) -> Any:
    """What stands in a field, to the bit."""
    if isinstance(field, pa.Array):
        return field.to_pylist()
    return (field.dtype.str, field.shape, field.tobytes())


def are_same(monoid: Monoid, a: States, b: States, rows: Rows) -> bool:
    """Whether `a` and `b`, states of some of `rows`, are equal; float sums within their bound."""
    if not is_rounded(monoid):
        return len(a) == len(b) and all(bits(x) == bits(y) for x, y in zip(a, b, strict=True))
    magnitude = _magnitude(monoid, rows)
    if magnitude is None:
        return True  # past the range: what overflows is decided by how rows met
    return all(
        abs(_exact(a, i) - _exact(b, i)) <= FLOAT_BOUND * magnitude
        and all(x[i] == y[i] for x, y in zip(a[:-2], b[:-2], strict=True))
        for i in range(len(a[0]))
    )


def is_rounded(monoid: Monoid) -> bool:
    """Whether a state is a sum of floats in two words."""
    return [(field.name, field.dtype) for field in monoid.fields][-2:] == [
        ("hi", "<f8"),
        ("lo", "<f8"),
    ]


def _magnitude(monoid: Monoid, rows: Rows) -> Fraction | None:
    """The sum of what each row alone adds, without signs; None if it is past the range."""
    if not rows.rows:
        return Fraction(0)
    each = rows.lift_each(monoid)
    if not np.isfinite(np.asarray(each[-2])).all():
        return None
    total = sum((abs(_exact(each, i)) for i in range(len(rows.rows))), Fraction(0))
    return None if len(each) == 2 and total >= _FLOATS_END else total


def _exact(states: States, index: int) -> Fraction:
    """The number that a rounded state stands for: hi + lo, times 2**reference if it has one."""
    *reference, hi, lo = (field[index].item() for field in states)
    total = Fraction(hi) + Fraction(lo)
    return total * Fraction(2) ** reference[0] if reference and total else total
