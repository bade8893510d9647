from __future__ import annotations

import pytest

from tegula.schemas import agg
from tegula.schemas.agg import SIGNATURES
from tegula.schemas.errors import UnsupportedInput
from tegula.schemas.types import TYPES
from tegula.windows.aggregates import AGGREGATES


def test_every_registered_aggregate_can_be_named():
    assert set(SIGNATURES) == set(AGGREGATES)
    assert set(SIGNATURES) < set(agg.__all__)


@pytest.mark.parametrize("name", SIGNATURES)
def test_function_makes_the_aggregate_of_its_name(name):
    spec = getattr(agg, name)("amount")
    assert (spec.name, spec.input) == (name, "amount")
    assert set(spec.params) == set(SIGNATURES[name].params)


@pytest.mark.parametrize("dtype", [None, *TYPES.values()], ids=str)
@pytest.mark.parametrize("name", SIGNATURES)
def test_signature_says_what_the_aggregate_takes_and_gives(name, dtype):
    signature, aggregate = SIGNATURES[name], AGGREGATES[name]
    params = {param: allowed[0] for param, allowed in signature.params.items()}
    try:
        aggregate.needs(None if dtype is None else dtype.kind, params)
    except UnsupportedInput:
        taken = False
    else:
        taken = True
    assert taken == (signature.optional if dtype is None else dtype.kind in signature.kinds)
    if taken:
        assert signature.output(dtype) == aggregate.output(dtype, params)


def test_time_as_a_value_has_no_unit():
    at_ms = TYPES["Timestamp"].of("ms")
    assert SIGNATURES["last"].output(at_ms) == TYPES["Timestamp"]
