"""The laws of finishing: what every `Aggregate` and `AggregateAt` of `windows.algebra` promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ..schemas.inputs import input_kind
from ..schemas.types import ITEM_TYPES, TYPES, DataType, List
from ..windows.algebra import (
    NOTHING,
    OVERFLOW,
    OVERFLOWED,
    VALUE,
    Aggregate,
    AggregateAt,
    Codes,
    OfNothing,
    Reading,
    States,
    Values,
    concat,
    finish,
)
from .law_rows import Draw, Rows, bits, frozen, locked, pick, thawed

READ_AT: Final = (7_000_003, -3_600_000_000, 7_000_003)
"""When states are read, and what they hold: instants in µs."""

_SCALARS: Final[Mapping[str, type]] = {
    "float": float,
    "int": int,
    "bool": int,
    "time": int,
    "string": bytes,
}


@dataclass(frozen=True)
class AggregateCase:
    """An aggregate, and the kind of input that it is taken over; None where it counts rows."""

    aggregate: Aggregate | AggregateAt
    kind: str | None
    given: tuple[tuple[str, Any], ...] = ()

    @property
    def params(self) -> dict[str, Any]:
        """The values of its parameters."""
        return dict(self.given)

    def states(self, rows: Rows) -> tuple[States, ...]:
        """The states of each run of rows, and the zero at their end."""
        needs = self.aggregate.needs(self.kind, self.params)
        lifted = (
            rows.lift(one.monoid, takes_input=one.takes_input) if rows.rows else one.monoid.zero(0)
            for one in needs
        )
        return tuple(
            locked(concat((states, locked(need.monoid.zero(1)))))
            for need, states in zip(needs, lifted, strict=True)
        )

    def finish(self, states: tuple[States, ...]) -> tuple[Values, Codes]:
        """What many keys finish as, at one instant."""
        count = len(states[0][0])
        at = Reading(*(frozen([instant] * count, np.int64) for instant in READ_AT))
        return finish(self.aggregate, states, self.params, at)

    def finish_one(self, states: tuple[States, ...], index: int) -> Any:
        """What one of these keys finishes as at the same instant."""
        needs = self.aggregate.needs(self.kind, self.params)
        one = tuple(
            need.monoid.reduce_one(pick(state, index))
            for need, state in zip(needs, states, strict=True)
        )
        if isinstance(self.aggregate, AggregateAt):
            return self.aggregate.finish_one_at(one, self.params, Reading(*READ_AT))
        return self.aggregate.finish_one(one, self.params)

    def __str__(self) -> str:
        return f"the aggregate {self.aggregate.name!r}, of input {self.kind or '(none)'}"


def one_key_finishes_as_many_do(case: AggregateCase, draw: Draw) -> None:
    """`finish` and `finish_one` give the same values, to the bit."""
    rows = draw.rows(case.kind, runs=3)
    states = case.states(rows)
    values, codes = case.finish(states)
    count = len(states[0][0])
    _must(codes.dtype == np.uint8, f"finish gave codes of {codes.dtype}, not uint8")
    right = len(values) == len(codes) == count
    _must(right, f"finish gave {len(values)} values and {len(codes)} codes for {count} states")
    many = values.to_pylist() if isinstance(values, pa.Array) else values.tolist()
    for index, code in enumerate(codes.tolist()):
        one = case.finish_one(states, index)
        expected = {OVERFLOW: OVERFLOWED, VALUE: many[index], NOTHING: OfNothing(many[index])}
        _must(
            one == expected.get(code),
            f"finish gave {many[index]!r} with code {code}, finish_one {one!r}",
        )


def finishing_changes_nothing(case: AggregateCase, draw: Draw) -> None:
    """States that were finished are afterwards what they were."""
    states = case.states(draw.rows(case.kind, runs=3))
    given = tuple(map(thawed, states))
    case.finish(given)
    left = [bits(field) for state in given for field in state]
    right = [bits(field) for state in states for field in state]
    _must(left == right, "finish changed the states that it was given")


def values_have_the_type_of_the_output(case: AggregateCase, draw: Draw) -> None:
    """A value is of the type that `output` gives; times and bools are integers, texts bytes."""
    states = case.states(draw.rows(case.kind, runs=3))
    _, codes = case.finish(states)
    output = _output(case)
    kind = (output.item or output).kind
    for index in np.flatnonzero(codes == VALUE).tolist():
        value = case.finish_one(states, index)
        scalars = value if isinstance(value, list) else [value]
        if output.kind == "map":
            scalars = [one for _, one in scalars]  # beside their names
        _must(isinstance(value, list) == (output.item is not None), f"{value!r} is no {output}")
        fits = all(type(scalar) is _SCALARS[kind] for scalar in scalars)
        _must(fits, f"{value!r} is no {output}: expected {_SCALARS[kind].__name__}")


def _output(case: AggregateCase) -> DataType:
    first = None if case.kind is None else case.kind.split(",")[0]
    known = {input_kind((one,)): one for one in (*TYPES.values(), *map(List, ITEM_TYPES))}
    dtype = None if first is None else known[first]
    return case.aggregate.output(dtype, case.params)


def _must(holds: bool, else_: str) -> None:
    if not holds:
        raise AssertionError(else_)


AGGREGATE_LAWS: Final[Mapping[str, Callable[[AggregateCase, Draw], None]]] = {
    law.__name__: law
    for law in (
        finishing_changes_nothing,
        one_key_finishes_as_many_do,
        values_have_the_type_of_the_output,
    )
}
"""Every law of finishing, by its name."""
