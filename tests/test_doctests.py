"""Every doctest in the package holds, imported as users import it."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import tegula

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(tegula.__path__, "tegula.")
    if module.name.split(".")[1] not in {"tests", "benchmarks", "examples", "docs", "deploy"}
    and not module.name.endswith("__main__")
)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", MODULES)
def test_doctests_of_module_hold(name, capsys):
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert not failed, capsys.readouterr().out
