"""The laws of `windows/algebra.py`, for every monoid and aggregate that is registered.

Nothing is listed here: monoids and aggregates are found through `AGGREGATES`, so a new one is under
test the moment it exists. The laws are those that users hold their own aggregates to
(`tegula.testing.laws`).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tegula.testing import laws
from tegula.testing.laws import AGGREGATE_LAWS, MONOID_LAWS, try_law
from tegula.windows.aggregates import AGGREGATES, MONOIDS
from tegula.windows.algebra import Monoid

EXAMPLES = 15
FEW = 5
"""For laws that do not depend on which rows are drawn, but for their kind."""
PLAIN = {
    "arguments_are_not_changed",
    "a_state_comes_back_from_storage",
    "states_have_the_fields_that_are_declared",
    "finishing_changes_nothing",
    "values_have_the_type_of_the_output",
}

MONOID_CASES = {
    case.monoid.name: case
    for aggregate in reversed(AGGREGATES.values())
    for case in reversed(list(laws.monoid_cases(aggregate, {})))
}
LIST_CASES = {
    f"{case.monoid.name} of {case.kind}": case
    for case in laws.monoid_cases(AGGREGATES["union"], {})
}
"""States that have their cases above, lifted from lists too."""
AGGREGATE_CASES = {
    f"{name}-{case.kind}": case
    for name, aggregate in AGGREGATES.items()
    for case in laws.aggregate_cases(aggregate, {})
}


@pytest.mark.parametrize("name", [*MONOID_CASES, *LIST_CASES])
@pytest.mark.parametrize("law", MONOID_LAWS)
def test_law(law, name, seed):
    few = FEW if law in PLAIN else EXAMPLES
    case = LIST_CASES[name] if name in LIST_CASES else MONOID_CASES[name]
    try_law(MONOID_LAWS[law], case, examples=few, seed=seed)


@pytest.mark.parametrize("name", AGGREGATE_CASES)
@pytest.mark.parametrize("law", AGGREGATE_LAWS)
def test_law_of_finishing(law, name, seed):
    few = FEW if law in PLAIN else EXAMPLES
    try_law(AGGREGATE_LAWS[law], AGGREGATE_CASES[name], examples=few, seed=seed)


def test_every_name_stands_for_one_format():
    assert set(MONOID_CASES) == set(MONOIDS)
    for name, monoid in MONOIDS.items():
        assert monoid.name == name
        assert isinstance(monoid, Monoid)
        assert monoid.version >= 1
        assert hash(monoid) == hash(replace(monoid))
