from __future__ import annotations

from inspect import signature as signature_of
from typing import Any

import pytest

from tegula.schemas import agg
from tegula.schemas.agg import SIGNATURES
from tegula.schemas.definitions import AggregateSpec
from tegula.schemas.errors import UnsupportedInput
from tegula.schemas.types import TYPES
from tegula.windows.aggregates import AGGREGATES


def test_every_registered_aggregate_can_be_named():
    assert set(SIGNATURES) == set(AGGREGATES)
    assert set(SIGNATURES) < set(agg.__all__)


def made(name: str, **options: Any) -> AggregateSpec:
    """The aggregate of its function: with its inputs, and what it cannot do without."""
    function, signature = getattr(agg, name), SIGNATURES[name]
    inputs = iter(["amount", "items"])
    for one in signature_of(function).parameters.values():
        if one.name in signature.params:
            if one.default is one.empty:
                options[one.name] = signature.params[one.name].example
        elif one.name == "columns":
            options["columns"] = list(inputs)
        elif one.kind is not one.KEYWORD_ONLY:
            options[one.name] = next(inputs)
    return function(**options)


@pytest.mark.parametrize("name", SIGNATURES)
def test_function_makes_the_aggregate_of_its_name(name):
    spec = made(name)
    if SIGNATURES[name].second is not None:
        assert spec.input == ("amount", "items")
    elif SIGNATURES[name].kinds:
        assert spec.input == "amount"
    assert spec.name == name
    assert set(spec.params) == set(SIGNATURES[name].params)
    for param, allowed in SIGNATURES[name].params.items():
        assert allowed.accepts(spec.params[param])


@pytest.mark.parametrize("name", SIGNATURES)
def test_function_takes_a_where(name):
    assert made(name).where is None
    assert made(name, where="ok").where == "ok"


@pytest.mark.parametrize("dtype", [None, *TYPES.values()], ids=str)
@pytest.mark.parametrize("name", SIGNATURES)
def test_signature_says_what_the_aggregate_takes_and_gives(name, dtype):
    signature, aggregate = SIGNATURES[name], AGGREGATES[name]
    params = {param: allowed.example for param, allowed in signature.params.items()}
    kind = None if dtype is None else dtype.kind
    if kind is not None and signature.second is not None:
        kind = f"{kind},{min(signature.second)}"
    try:
        needs = aggregate.needs(kind, params)
    except UnsupportedInput:
        taken = False
    else:
        taken = True
    assert taken == (signature.optional if dtype is None else dtype.kind in signature.kinds)
    if taken:
        assert signature.output(dtype) == aggregate.output(dtype, params)
        varies = any(one.dtype == "bytes" for need in needs for one in need.monoid.fields)
        assert varies == (dtype is not None and dtype.kind in signature.varying)


def test_time_as_a_value_has_no_unit():
    at_ms = TYPES["Timestamp"].of("ms")
    assert SIGNATURES["last"].output(at_ms) == TYPES["Timestamp"]


PAIRS = [name for name, signature in SIGNATURES.items() if signature.second is not None]


@pytest.mark.parametrize("dtype", TYPES.values(), ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_signature_says_what_the_second_input_may_be(name, dtype):
    signature, aggregate = SIGNATURES[name], AGGREGATES[name]
    params = {param: allowed.example for param, allowed in signature.params.items()}
    try:
        aggregate.needs(f"float,{dtype.kind}", params)
    except UnsupportedInput:
        taken = False
    else:
        taken = True
    assert signature.second is not None
    assert taken == (dtype.kind in signature.second)
