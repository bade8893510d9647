"""Aggregates of a user's own: the handle of one, made from what implements the protocol.

Everything that definitions have to know of an aggregate (which inputs it takes, the type of its
values, which states have no fixed size) is asked of the implementation itself, so nothing can be
declared that it does not keep. What is wrong is not raised: it stands in the handle's `faults`, for
validation to report with all other faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ..schemas.canonical import digest
from ..schemas.errors import BadParameter, DuplicateName, NotAnAggregate, UnsupportedInput, shown
from ..schemas.errors.definitions import DefinitionFault
from ..schemas.own import RESERVED, OwnAggregate
from ..schemas.params import Param
from ..schemas.signatures import Signature
from ..schemas.types import TYPES, DataType, Float64, Kind
from .aggregates import AGGREGATES, MONOIDS
from .aggregates.support import KINDS, PAIRS
from .algebra import Aggregate, AggregateAt, Monoid, StateNeed

Needs = Mapping[str | None, tuple[StateNeed, ...]]
"""What an aggregate keeps, by each kind of input that it takes."""


def own_aggregate(
    implementation: Aggregate | AggregateAt,
    *,
    version: int,
    module: str | None = None,
    params: Mapping[str, Param] | None = None,
    bounded: bool = False,
) -> OwnAggregate:
    """An aggregate of your own, to be called as those in `agg` are.

    Write it at the top of a module that engines and servers can import, and call what it returns:
    `hours_seen = tg.own_aggregate(HoursSeen(), version=1)`, then
    `hours_seen("at").over(tg.sliding("7d"))`.

    `implementation` keeps the protocol `Aggregate` of `tegula.windows.algebra`. `version` grows
    with every change of what it means: a view that uses it is then built anew. `module` is where
    the handle stands; without it, where the implementation's class is defined. `params` says what
    each of its parameters may be. With `bounded`, a window must have a length.
    """
    where = module or type(implementation).__module__
    given: Any = implementation
    name = getattr(given, "name", None)
    if not isinstance(given, Aggregate | AggregateAt) or not isinstance(name, str):
        return OwnAggregate(shown(name), version, where, "", faults=(_no_aggregate(given),))
    faults: list[DefinitionFault] = []
    params = MappingProxyType(dict(params or {}))
    examples = {param: one.example for param, one in params.items()}
    needs = needs_of(implementation, examples)
    faults += _faults(name, version, needs, params)
    faults += _unequal(implementation, examples, needs)
    if faults:
        return OwnAggregate(name, version, where, "", implementation, faults=tuple(faults))
    signature = _signature(implementation, needs, params, examples, bounded)
    states = _format(needs, params)
    return OwnAggregate(name, version, where, states, implementation, signature)


def needs_of(implementation: Aggregate | AggregateAt, params: Mapping[str, Any]) -> Needs:
    """The states that it keeps for each kind of input that it takes; None stands for no input."""
    found = {}
    for kind in (None, *KINDS, *PAIRS):
        try:
            found[kind] = tuple(implementation.needs(kind, params))
        except UnsupportedInput:
            continue
    return MappingProxyType(found)


def _signature(
    implementation: Aggregate | AggregateAt,
    needs: Needs,
    params: Mapping[str, Param],
    examples: Mapping[str, Any],
    bounded: bool,
) -> Signature:
    pairs = [kind.split(",") for kind in needs if kind is not None and "," in kind]
    alone = {kind for kind in needs if kind is not None and "," not in kind}
    kinds = frozenset(alone or {first for first, _ in pairs})
    return Signature(
        kinds=_kinds(kinds),
        output=_output(implementation, examples, kinds),
        optional=None in needs,
        params=params,
        second=None if alone or not pairs else _kinds({second for _, second in pairs}),
        bounded=bounded,
        varying=_kinds(
            {
                (kind or "").split(",")[0]
                for kind, states in needs.items()
                if any(f.dtype == "bytes" for need in states for f in need.monoid.fields)
            }
        ),
    )


def _kinds(kinds: set[str] | frozenset[str]) -> frozenset[Kind]:
    return frozenset(dtype.kind for dtype in TYPES.values() if dtype.kind in kinds)


def _output(
    implementation: Aggregate | AggregateAt, examples: Mapping[str, Any], kinds: frozenset[str]
) -> Callable[[DataType | None], DataType]:
    def output(input_type: DataType | None) -> DataType:
        if input_type is not None and input_type.kind not in kinds:
            return Float64  # its input is at fault already
        # The unit is how the log writes an instant; a served instant has none.
        plain = None if input_type is None else DataType(input_type.name)
        return implementation.output(plain, examples)

    return output


def _format(needs: Needs, params: Mapping[str, Param]) -> str:
    """A checksum over the user's own states, and the names of the parameters.

    Tegula's own states are left out: an upgrade may bring one for a new kind of input.
    """
    states = {
        need.monoid.name: [
            need.monoid.version,
            *(f"{field.name}:{field.dtype}" for field in need.monoid.fields),
        ]
        for of_kind in needs.values()
        for need in of_kind
        if need.monoid.name not in MONOIDS
    }
    return digest({"states": states, "params": sorted(params)})[:8]


def _no_aggregate(implementation: Any) -> NotAnAggregate:
    wanted = ("name", "needs", "output", "finish", "finish_one")
    missing = [one for one in wanted if not hasattr(implementation, one)]
    return NotAnAggregate(
        "this does not keep the protocol of an aggregate",
        got=f"{shown(implementation)} without {', '.join(missing) or 'a name that is text'}",
        expected="an object with name, needs, output, and finish with finish_one, or finish_at with"
        " finish_one_at",
        hint="`tegula.windows.algebra.Aggregate` says what each of them does",
    )


def _faults(
    name: str, version: Any, needs: Needs, params: Mapping[str, Param]
) -> Iterator[DefinitionFault]:
    if name in AGGREGATES:
        yield DuplicateName(
            f"Tegula has an aggregate {name!r} already",
            got=repr(name),
            hint="give your own another name",
        )
    if type(version) is not int or version < 1:
        yield BadParameter(
            "an aggregate's version is no number",
            got=f"version={shown(version)}",
            expected="1, 2, …: one more with every change of what it means",
        )
    for reserved in sorted(RESERVED & params.keys()):
        yield DuplicateName(
            f"a parameter cannot be called {reserved!r}, which every aggregate takes",
            got=repr(reserved),
            hint="give the parameter another name",
        )
    if not any(needs.values()):
        yield NotAnAggregate(
            "this aggregate takes no input at all",
            got="`needs` refuses every kind, or asks for no states",
            expected="a tuple of StateNeed for at least one kind of input",
        )
    known: dict[str, Monoid] = dict(MONOIDS)
    every: list[Any] = [need for states in needs.values() for need in states]
    for need in every:
        if not isinstance(need, StateNeed) or not isinstance(need.monoid, Monoid):
            yield NotAnAggregate(
                "this is not a state that can be kept",
                got=shown(need),
                expected="StateNeed(…) of an object that keeps tegula.windows.algebra.Monoid",
            )
            return
        if known.setdefault(need.monoid.name, need.monoid) != need.monoid:
            yield DuplicateName(
                f"there are two different formats of states called {need.monoid.name!r}",
                got=shown(need.monoid),
                hint="begin the name of a state with that of your aggregate",
            )
            return


def _unequal(
    implementation: Aggregate | AggregateAt, params: Mapping[str, Any], needs: Needs
) -> Iterator[DefinitionFault]:
    """States are kept once for all features that need them, which are found by comparing."""
    if needs != needs_of(implementation, params):
        yield NotAnAggregate(
            "states do not compare by what they compute",
            got="`needs` gave different states when it was asked twice",
            expected="equal states for equal questions",
            hint="make the class of the state a @dataclass(frozen=True)",
        )
