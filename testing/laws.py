"""The laws of `windows.algebra`, to hold an aggregate of your own to: `laws.check(hours_seen)`.

Each law is tried on many drawn sets of rows. Where one is broken, `LawBroken` names it, the state
or aggregate that breaks it, the smallest rows that were found to show it, and the seed. Tegula's
own aggregates are held to the same laws by the same functions.

Wants the extra `testing` (Hypothesis).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ..schemas.errors import DefinitionErrors, SettingsError, UnsupportedInput
from ..schemas.own import OwnAggregate
from ..windows.aggregates import MONOIDS
from ..windows.aggregates.support import KINDS, LISTS, PAIRS
from ..windows.algebra import Aggregate, AggregateAt

try:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st
except ImportError:
    raise SettingsError(
        "the laws draw their examples with Hypothesis, which is not installed",
        where="Python package hypothesis",
        hint="pip install 'tegula[testing]'",
    ) from None

from .aggregate_laws import AGGREGATE_LAWS, AggregateCase
from .law_rows import EVERYTHING, Draw, Strategies
from .monoid_laws import MONOID_LAWS, MonoidCase

__all__ = [
    "AGGREGATE_LAWS",
    "MONOID_LAWS",
    "LawBroken",
    "aggregate_cases",
    "check",
    "monoid_cases",
    "try_law",
]

EXAMPLES: Final = 50
_ALL_KINDS: Final = (None, *KINDS, *LISTS, *PAIRS)

Case = MonoidCase | AggregateCase

# A machine may be slow, and what is drawn is as it is: neither is a fault of the aggregate.
_SLOW: Final = (
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.large_base_example,
    HealthCheck.filter_too_much,
    HealthCheck.differing_executors,
    HealthCheck.nested_given,
)


class LawBroken(AssertionError):
    """A law that does not hold: which, of what, shown by which rows, and found from which seed."""

    def __init__(self, law: str, subject: str, detail: str, drawn: str, seed: int) -> None:
        super().__init__(
            f"broken law: {law}\n  of {subject}\n  {detail}\n  shown by {drawn}\n"
            f"  again: laws.check(…, seed={seed})"
        )
        self.law = law
        self.subject = subject
        self.seed = seed


def check(
    aggregate: OwnAggregate | Aggregate | AggregateAt,
    *,
    examples: int = EXAMPLES,
    seed: int | None = None,
    values: Strategies | None = None,
) -> None:
    """Hold an aggregate, and every state of its own that it needs, to all laws.

    `examples` are drawn a law and kind of input. `seed` draws the same ones again; without it they
    are others each time. `values` gives strategies of Hypothesis, by kind of input, for what is
    drawn in place of everything that fits the type: `{"int": st.integers(0, 1000)}`.

    Raises `LawBroken` for the first law that does not hold, and `DefinitionErrors` if it is no
    aggregate in the first place.
    """
    params: Mapping[str, Any] = {}
    implementation: Any = aggregate
    if isinstance(aggregate, OwnAggregate):
        if aggregate.faults:
            raise DefinitionErrors(aggregate.faults)
        assert aggregate.signature is not None, "a handle without faults has a signature"
        params = {name: one.example for name, one in aggregate.signature.params.items()}
        implementation = aggregate.resolved()
    drawn = {**EVERYTHING, **(values or {})}
    seed = secrets.randbits(32) if seed is None else seed
    for case in monoid_cases(implementation, params):
        if MONOIDS.get(case.monoid.name) != case.monoid:  # Tegula's own states are known to
            for law in MONOID_LAWS.values():
                try_law(law, case, drawn, examples=examples, seed=seed)
    for one in aggregate_cases(implementation, params):
        for of_aggregate in AGGREGATE_LAWS.values():
            try_law(of_aggregate, one, drawn, examples=examples, seed=seed)


def monoid_cases(
    aggregate: Aggregate | AggregateAt, params: Mapping[str, Any]
) -> Iterator[MonoidCase]:
    """Each state that the aggregate needs, with each kind of input that it is lifted from."""
    cases = {
        MonoidCase(need.monoid, case.kind if need.takes_input else None): None
        for case in aggregate_cases(aggregate, params)
        for need in aggregate.needs(case.kind, params)
    }
    yield from cases


def aggregate_cases(
    aggregate: Aggregate | AggregateAt, params: Mapping[str, Any]
) -> Iterator[AggregateCase]:
    """The aggregate with each kind of input that it takes."""
    for kind in _ALL_KINDS:
        try:
            aggregate.needs(kind, params)
        except UnsupportedInput:
            continue
        yield AggregateCase(aggregate, kind, tuple(params.items()))


def try_law(
    law: Callable[[Any, Draw], None],
    case: Case,
    values: Strategies = EVERYTHING,
    *,
    examples: int,
    seed: int,
) -> None:
    """Try one law on drawn examples. Raises `LawBroken` with the smallest that was found."""
    drawn: list[Any] = []

    @seeded(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=_SLOW,
        phases=(Phase.generate, Phase.shrink),
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        drawn.clear()

        def draw(strategy: st.SearchStrategy[Any]) -> Any:
            drawn.append(data.draw(strategy))
            return drawn[-1]

        law(case, Draw(draw, values))

    try:
        run()
    except Exception as fault:
        name = law.__name__.replace("_", " ")
        kind = "" if isinstance(fault, AssertionError) else f"{type(fault).__name__}: "
        shown = "\n  ".join(map(str, drawn)) or "nothing at all"
        raise LawBroken(name, str(case), f"{kind}{fault}", shown, seed) from fault
