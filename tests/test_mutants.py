"""The mutation check itself: in every run one of the mutants, which changes from run to run."""

from __future__ import annotations

import importlib
import inspect
import random

import pytest

from tests.mutants import mutants
from tests.mutants.__main__ import noticed_by
from tests.mutants.breaches import BREACHES
from tests.mutants.leaks import LEAKS


@pytest.mark.parametrize("name", LEAKS)
def test_what_a_leak_changes_stands_in_the_code_once(name):
    module, before, _ = LEAKS[name]
    assert inspect.getsource(importlib.import_module(f"tegula.{module}")).count(before) == 1


def test_every_kind_of_window_has_mutants():
    kinds = {name.partition(":")[0] for name in mutants()}
    assert {"Sliding", "Tumbling", "Hopping", "Calendar", "Lifetime", "IncludingInstant"} <= kinds
    assert {"last", "since", "session", "ZonedCalendar", "civil days"} <= kinds


@pytest.mark.slow
def test_a_moved_edge_is_noticed(seed):
    name = random.Random(seed).choice(list(mutants()))
    assert noticed_by(name) is not None, f"`python -m tests.mutants '{name}'` survives"


@pytest.mark.parametrize("name", BREACHES)
def test_what_a_breach_changes_stands_in_the_code_once(name):
    breach = BREACHES[name]
    module = importlib.import_module(f"tegula.{breach.module}")
    assert inspect.getsource(module).count(breach.before) == 1
