"""Columns of lists in expressions: alone, or there on a condition; nothing looks into them."""

from __future__ import annotations

import polars as pl
import pytest

from tegula.schemas.errors import UnsupportedExpression
from tegula.schemas.expressions import lower, result_type
from tegula.schemas.types import Int64, List, String
from tests.unit.schemas.test_expressions import SCHEMA

LISTS = {**SCHEMA, "tags": List(String)}


def test_lists_stand_alone_or_as_what_is_there_on_a_condition():
    tags = pl.col("tags")
    assert result_type(lower(tags), LISTS) == List(String)
    assert result_type(lower(pl.when(pl.col("i") > 0).then(tags)), LISTS) == List(String)
    twice = pl.when(pl.col("b")).then(pl.when("b").then(tags))
    assert result_type(lower(twice), LISTS) == List(String)
    assert result_type(lower(pl.col("i") + 1), LISTS) == Int64


@pytest.mark.parametrize(
    "expr",
    [
        pl.col("tags").is_null(),
        pl.col("tags") == pl.col("tags"),
        pl.col("tags") + pl.col("tags"),
        pl.col("tags").fill_null("a"),
        pl.col("tags").cast(pl.String),
        pl.when(pl.col("tags").is_null()).then("tags"),
        pl.when("tags").then("tags"),
        pl.when("s").then("tags"),
        pl.when("b").then("tags").otherwise("tags"),
        pl.when("b").then(pl.lit(None)).otherwise("tags"),
        pl.when(pl.col("tags") == pl.col("tags")).then("i"),
    ],
    ids=str,
)
def test_expression_that_looks_into_lists_is_refused(expr):
    with pytest.raises(UnsupportedExpression, match="a column of lists can only be aggregated"):
        result_type(lower(expr), LISTS)
