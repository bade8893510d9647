"""The page of limits: every one is refused with something that exists, or has a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tegula.docs.limits import GROUPS, Limit, named, unknown
from tegula.engine.settings import Settings

TESTS = Path(__file__).parents[1]
_TEST = re.compile(r"^def (test_\w+)", re.MULTILINE)
LIMITS = [limit for group in GROUPS.values() for limit in group]


@pytest.fixture(scope="module")
def tests_there_are() -> set[str]:
    texts = [file.read_text() for file in TESTS.rglob("test_*.py")]
    return {name for text in texts for name in _TEST.findall(text)}


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.what.replace(" ", "-"))
def test_limit_is_refused_with_something_that_exists_or_has_a_test(limit: Limit, tests_there_are):
    assert named(limit) or limit.test, "what happens past it, and what shows it?"
    assert not unknown(named(limit))
    assert not limit.test or limit.test in tests_there_are


def test_every_setting_that_is_a_bound_stands_on_the_page():
    bounds = {name for name in Settings.model_fields if re.search(r"_max$|_min|bytes", name)}
    assert bounds - {limit.setting for limit in LIMITS} == set()
