"""What an aggregate is: a commutative monoid over small states, applied to many groups at once.

Events are *lifted* into states, states are *merged*, and a state is *finished* into a value. All
three work on columns: the rows (or states) of one group stand next to each other and form a
**run**, and one call handles all runs. Nothing here or in `aggregates/` loops over rows.

What every `Monoid` promises (property tests find each registered one and hold it to this):

- `reduce` is associative and commutative and `zero` is its identity, so tiles may be merged in any
  order and any grouping; lifting two parts and merging equals lifting the whole.
- A state is a function of the *set* of rows that went in, bit for bit. Sums of floats promise
  less: states may differ in the last bits of their low word, finished values agree within the
  bound that the aggregate states.
- Arguments are never changed, and results never alias something that a caller will write to.

A `Group` can take back what was merged. A plan that must retract asks for a `Group`; there is no
flag to forget.

Capability to *read* is apart from the states: an `Aggregate` (what a user names) says which
monoids it needs and how their states finish, so `mean`, `sum` and `variance` of a column share
one sum in each tile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from ..schemas.types import DataType

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint8]

Values: TypeAlias = npt.NDArray[Any] | pa.LargeBinaryArray
States: TypeAlias = tuple[Values, ...]
"""One array a field, all of the same length; entry i of each makes state i. Never mutated."""

Lists = tuple[list[Any], ...]
"""The same with a list of Python scalars a field: what a few states of one key are quickest as."""

NULL: Final = 0
VALUE: Final = 1
OVERFLOW: Final = 2
NOTHING: Final = 3
"""What `Aggregate.finish` says of each value: there is none, it is right, it does not fit; it is
right, and that of no events."""


class Overflowed(Enum):
    """The type of `OVERFLOWED`, which `finish_one` returns for a value that does not fit."""

    OVERFLOWED = "overflowed"


OVERFLOWED: Final = Overflowed.OVERFLOWED


@dataclass(frozen=True, slots=True)
class OfNothing:
    """What `finish_one` returns for a value that is right, and that of no events (`NOTHING`)."""

    value: Any


@dataclass(frozen=True, slots=True)
class Runs:
    """How `size` rows fall into consecutive groups, each of at least one row.

    `starts` is int64, shape (k,), ascending from 0; run i is rows `[starts[i], starts[i + 1])` and
    the last one ends at `size`. No rows means no runs.

    >>> runs = Runs(np.array([0, 3, 4]), 6)
    >>> runs.count, runs.lengths.tolist(), runs.ids.tolist(), runs.last.tolist()
    (3, [3, 1, 2], [0, 0, 0, 1, 2, 2], [2, 3, 5])
    """

    starts: Int64s
    size: int

    @property
    def count(self) -> int:
        return len(self.starts)

    @property
    def ends(self) -> Int64s:
        """Index one past the last row of each run, shape (k,)."""
        ends = np.empty_like(self.starts)
        ends[:-1] = self.starts[1:]
        ends[-1:] = self.size
        return ends

    @property
    def last(self) -> Int64s:
        """Index of the last row of each run, shape (k,)."""
        return self.ends - 1

    @property
    def lengths(self) -> Int64s:
        return self.ends - self.starts

    @property
    def ids(self) -> Int64s:
        """Run number of each row, shape (n,)."""
        return np.repeat(np.arange(self.count), self.lengths)

    @staticmethod
    def of_lengths(lengths: Int64s) -> Runs:
        """Runs of the given lengths, all at least 1.

        >>> Runs.of_lengths(np.array([3, 1, 2])).starts.tolist()
        [0, 3, 4]
        """
        ends = np.cumsum(lengths, dtype=np.int64)
        return Runs(ends - lengths, int(ends[-1]) if len(ends) else 0)

    @staticmethod
    def of_changes(*columns: npt.NDArray[Any]) -> Runs:
        """A new run wherever any of the (sorted) columns changes from one row to the next.

        >>> Runs.of_changes(np.array([7, 7, 7, 9]), np.array([0, 0, 1, 1])).starts.tolist()
        [0, 2, 3]
        """
        size = len(columns[0])
        first = np.zeros(size, dtype=bool)
        first[:1] = True
        for column in columns:
            first[1:] |= column[1:] != column[:-1]
        return Runs(np.flatnonzero(first), size)


@dataclass(frozen=True, slots=True)
class Column:
    """One input column, its rows in the order of a `Runs`.

    `values` is float64; or int64 (integers, times in µs, bools as 0 and 1); or large binary
    (strings as UTF-8, without Arrow nulls). Shape (n,). `valid` is bool, shape (n,), or None where
    every row has a value. NaN and infinities are already invalid; what stands in `values` at an
    invalid row means nothing.

    A column of pairs has the second of each row in `beside`, and a row is valid where both are. One
    of vectors has their further elements in `more`, and a row is valid where all are.

    A column of lists has the elements of all rows in `values`, row after row, and how many each row
    has in `lengths`, int64, shape (n,); `valid` is about elements. A list that is null has none.
    """

    values: Values
    valid: Bools | None = None
    beside: Values | None = None
    more: tuple[Values, ...] = ()
    lengths: Int64s | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """The place of each row in the total order of events: int64, shape (n,), all non-negative but
    `event_us` (µs since the epoch, UTC). `ordinal` names the (stream, partition)."""

    event_us: Int64s
    ordinal: Int64s
    offset: Int64s


@dataclass(frozen=True, slots=True)
class StateField:
    """One column of a state: 8 bytes (`"<i8"`, `"<u8"`, `"<f8"`) or `"bytes"` (large binary)."""

    name: str
    dtype: Literal["<i8", "<u8", "<f8", "bytes"]


@runtime_checkable
class Monoid(Protocol):
    """States that merge. `(name, version)` names the format of a state for ever.

    Instances are frozen and compare by what they compute, so that a build can keep each
    (monoid, input) once.
    """

    @property
    def name(self) -> str:
        """Stored beside states, so never changed; names one format together with `version`."""
        ...

    @property
    def version(self) -> int:
        """Grows when the fields, or what they mean, change."""
        ...

    @property
    def fields(self) -> tuple[StateField, ...]:
        """The columns of a state."""
        ...

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        """The state of each run of rows. Rows stand in total order inside a run; invalid ones are
        skipped, and a run of nothing else gives the zero. `column` is None for counting rows."""
        ...

    def reduce(self, states: States, runs: Runs) -> States:
        """The merge of each run of states, which may stand in any order inside it."""
        ...

    def reduce_one(self, states: States | Lists) -> tuple[Any, ...]:
        """All given states merged into one, as plain Python scalars (int, float, bytes).

        The reader's path for one key: fast for up to some thousand states. No states give the
        zero. The result agrees with `reduce` as the laws above say.
        """
        ...

    def zero(self, count: int) -> States:
        """`count` times the state of no rows."""
        ...


@runtime_checkable
class Pairwise(Monoid, Protocol):
    """A monoid with a quicker way for two states than a `reduce` of runs of two.

    Both ways agree as the laws of merging say (tested for every monoid that has them).
    """

    def merge(self, a: States, b: States) -> States:
        """State by state, `a` and `b` together; both of length k."""
        ...

    def merge_one(self, a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
        """The merge of two states in Python scalars."""
        ...


@runtime_checkable
class Prunable(Monoid, Protocol):
    """A monoid whose states hold what no reader sees again once older events cannot come."""

    def pruned(self, states: States, before_us: Int64s) -> States:
        """The states without it; no event from before `before_us` (k,) can come any more."""
        ...


@runtime_checkable
class Group(Monoid, Protocol):
    """A monoid whose states can be taken back."""

    def subtract(self, a: States, b: States) -> States:
        """State by state, `a` without `b`: `subtract(merge(a, b), b)` is `a`."""
        ...


@dataclass(frozen=True, slots=True)
class StateNeed:
    """One state that an aggregate reads. `takes_input` is False where it counts rows."""

    monoid: Monoid
    takes_input: bool = True


Kind = Literal["float", "int", "bool", "time", "string"]


class Named(Protocol):
    """What a user names, and the states that it reads.

    An aggregate is an `Aggregate` or an `AggregateAt`, by how it finishes. Strings leave either as
    UTF-8 bytes, bools and times as integers, lists as lists of these; who answers a request turns
    them into the type that `output` gives.
    """

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        """The states to keep for an input of this `Kind`; None where the user gave no input.

        For an input of pairs it is both kinds with a comma between: `"float,int"`. Raises
        `UnsupportedInput` where the aggregate has no meaning for it.
        """
        ...

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        """The type of its values, for the type of its (first) input."""
        ...


@runtime_checkable
class Aggregate(Named, Protocol):
    """An aggregate whose states alone become its value."""

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        """Values of k keys, shape (k,), and for each of them `NULL`, `VALUE` or `OVERFLOW`.

        `states` holds one entry a need, in the order of `needs`.
        """
        ...

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        """The same for one key in Python scalars: a value, None, or `OVERFLOWED`."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """When states are read, and what they hold: instants in µs, one or int64 of shape (k,).

    The states are those of the events in `[start_us, end_us)`, as read at `at_us`.
    """

    at_us: Any
    start_us: Any
    end_us: Any


@runtime_checkable
class AggregateAt(Named, Protocol):
    """An aggregate whose value depends on the instant of reading too, or on the window's bounds."""

    def finish_at(
        self, states: tuple[States, ...], params: Mapping[str, Any], reading: Reading
    ) -> tuple[Values, Codes]:
        """As `Aggregate.finish`; instants of shape (k,)."""
        ...

    def finish_one_at(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any], reading: Reading
    ) -> Any:
        """As `Aggregate.finish_one`; instants as ints."""
        ...


def finish(
    aggregate: Aggregate | AggregateAt,
    states: tuple[States, ...],
    params: Mapping[str, Any],
    reading: Reading,
) -> tuple[Values, Codes]:
    """The values of k keys, whichever way the aggregate finishes."""
    # `isinstance` of a protocol asks the same, and costs as much as finishing some keys.
    if hasattr(aggregate, "finish_at"):
        return aggregate.finish_at(states, params, reading)
    return aggregate.finish(states, params)


@runtime_checkable
class Cut(Protocol):
    """An aggregate over a window that is cut by order: it knows which events count in it."""

    def counted(
        self, states: tuple[States, ...], params: Mapping[str, Any], reading: Reading
    ) -> tuple[Reading, Bools]:
        """`reading` with the bounds of what counts, and whether anything does. Shape (k,).

        Where nothing does, the bounds are those of the window.
        """
        ...


def cut_of(aggregate: Aggregate | AggregateAt) -> Cut | None:
    """The aggregate as one that is cut by order; None if it is not."""
    given: Any = aggregate
    return given if hasattr(given, "counted") else None


def take(states: States, indices: Int64s) -> States:
    """States in the order of `indices`, shape of `indices`."""
    return tuple(
        field.take(pa.array(indices) if isinstance(field, pa.Array) else indices)
        for field in states
    )


def concat(parts: tuple[States, ...]) -> States:
    """The states of all parts, one part after the other. At least one part."""
    return tuple(
        pa.concat_arrays(fields) if isinstance(fields[0], pa.Array) else np.concatenate(fields)
        for fields in zip(*parts, strict=True)
    )


def merge(monoid: Monoid, a: States, b: States) -> States:
    """State by state, `a` and `b` together; both of length k."""
    if isinstance(monoid, Pairwise):
        return monoid.merge(a, b)
    count = len(a[0])
    pairs = np.arange(2 * count).reshape(2, count).T.ravel()
    return monoid.reduce(take(concat((a, b)), pairs), Runs(np.arange(0, 2 * count, 2), 2 * count))
