"""Key columns of a request as encoded keys."""

from __future__ import annotations

import pytest

from tegula.schemas.errors import MissingKey, WrongKeyType
from tegula.serving.keys import KeyColumns
from tegula.state.keys import decode_key

KINDS = ("string", "int", "bool", "time")
COLUMNS = KeyColumns("thing", tuple((f"k_{kind}", kind) for kind in KINDS))


def test_keys_are_encoded_row_by_row_in_the_order_of_the_entity():
    keys = {
        "k_time": ["1970-01-01T00:00:01Z", 7],
        "k_bool": [True, False],
        "k_int": [-1, 2**63 - 1],
        "k_string": ["", "a\x00b"],
    }
    encoded = COLUMNS.encode(keys, 2)
    assert [decode_key(key or b"", KINDS) for key in encoded] == [
        ("", -1, True, 1_000_000),
        ("a\x00b", 2**63 - 1, False, 7),
    ]


def test_key_with_a_null_in_any_column_is_no_key():
    both = KeyColumns("pair", (("a", "string"), ("b", "int")))
    encoded = both.encode({"a": ["x", None, "x"], "b": [1, 1, None]}, 3)
    assert [key is None for key in encoded] == [False, True, True]
    assert both.encode({"a": [None], "b": [1]}, 1) == [None]


def test_keys_of_no_rows_are_none():
    assert COLUMNS.encode({f"k_{kind}": [] for kind in KINDS}, 0) == []


def test_missing_key_column_is_named_with_the_entity_that_needs_it():
    with pytest.raises(MissingKey, match="'k_int'") as caught:
        COLUMNS.encode({"k_string": ["x"]}, 1)
    assert "'thing'" in caught.value.expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", 7),
        ("string", ["x"]),
        ("int", "7"),
        ("int", 7.0),
        ("int", True),
        ("int", 2**63),
        ("bool", 1),
        ("bool", "true"),
        ("time", "yesterday"),
        ("time", 1.5),
        ("time", "2024-05-01T12:00:00"),
    ],
)
def test_key_value_of_another_type_is_refused_with_its_place(kind, value):
    columns = KeyColumns("thing", (("k", kind),))
    with pytest.raises(WrongKeyType) as caught:
        columns.encode({"k": [None, value]}, 2)
    assert caught.value.where == "keys.k[1]"
    assert caught.value.http_status == 422
