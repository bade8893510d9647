"""The names that users import. Adding one is a decision; removing one breaks somebody."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tegula

NAMES = [
    "Bool",
    "Client",
    "DefinitionErrors",
    "Entity",
    "Feature",
    "FeatureService",
    "FeatureView",
    "Float64",
    "Int64",
    "Kafka",
    "List",
    "Outcome",
    "Status",
    "Stream",
    "String",
    "Table",
    "TegulaError",
    "TestDriver",
    "Timestamp",
    "agg",
    "calendar",
    "errors",
    "features_in_range",
    "hopping",
    "last",
    "lifetime",
    "own_aggregate",
    "series",
    "session",
    "since",
    "sliding",
    "training_set",
    "tumbling",
]


def test_public_names_are_these():
    assert sorted(tegula.__all__) == NAMES
    assert dir(tegula) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_public_name_is_there_and_documented(name):
    value = getattr(tegula, name)
    assert value.__doc__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Freature'"):
        tegula.Freature  # noqa: B018


def test_definitions_load_without_the_libraries_of_engine_and_server():
    heavy = (
        "bytewax",
        "confluent_kafka",
        "deltalake",
        "fastapi",
        "lmdb",
        "rocksdict",
        "sqlalchemy",
    )
    script = f"import sys, tegula; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
