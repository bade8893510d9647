"""Lowering: what is taken over computes the same, what is not is refused with a remedy."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_series_equal

from tegula.schemas.errors import DefinitionFault, NotSeparable, UnsupportedExpression
from tegula.schemas.expressions import lower, result_type
from tegula.schemas.inputs import PAIR, VECTOR
from tegula.schemas.nodes import (
    OPERATORS,
    Column,
    Literal,
    Op,
    fingerprint,
    from_json,
    text,
    to_json,
    to_polars,
    to_run,
    walk,
)
from tegula.schemas.types import Bool, Float64, Int64, String, Timestamp

SCHEMA = {
    "i": Int64,
    "j": Int64,
    "f": Float64,
    "g": Float64,
    "s": String,
    "b": Bool,
    "t": Timestamp,
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANT = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
FRAME = pl.DataFrame(
    {
        "i": [1, -7, None, 0, 2**40, 3],
        "j": [0, 2, 5, None, -3, 3],
        "f": [0.5, -2.5, None, float("nan"), float("inf"), 1e300],
        "g": [0.0, -0.0, 3.25, None, 2.5, -1e-300],
        "s": ["a", "Ähm", None, "", "tegula", "A b"],
        "b": [True, False, None, True, False, None],
        "t": [EPOCH, INSTANT, None, EPOCH - timedelta(days=400), INSTANT, EPOCH],
    },
    schema={name: dtype.polars for name, dtype in SCHEMA.items()},
)

# Small: Polars computes constants among themselves in 32 bits, where products would wrap.
whole = st.integers(-100, 100).map(pl.lit)
broken = st.floats(-1e6, 1e6).map(pl.lit)
words = st.sampled_from(["a", "A", "", "teg", "Ähm"])
instants = st.integers(-(10**9), 2 * 10**9).map(lambda s: pl.lit(EPOCH + timedelta(seconds=s)))


def _numbers(inner):
    number, truth, word, time = inner
    two = st.tuples(number, number)
    return st.one_of(
        two.map(lambda ab: ab[0] + ab[1]),
        two.map(lambda ab: ab[0] - ab[1]),
        two.map(lambda ab: ab[0] * ab[1]),
        two.map(lambda ab: ab[0] / ab[1]),
        two.map(lambda ab: ab[0] // ab[1]),
        two.map(lambda ab: ab[0] % ab[1]),
        two.map(lambda ab: ab[0].fill_null(ab[1])),
        two.map(lambda ab: pl.coalesce(*ab)),
        number.map(lambda a: -a),
        number.map(lambda a: a.abs()),
        number.map(lambda a: a.cast(pl.Float64).floor()),
        number.map(lambda a: a.cast(pl.Float64).ceil()),
        number.map(lambda a: a.cast(pl.Float64).round(2)),
        number.map(lambda a: a.round(1, mode="half_away_from_zero")),
        number.map(lambda a: a.cast(pl.Int64, strict=False)),
        word.map(lambda a: a.cast(pl.Int64, strict=False)),
        word.map(lambda a: a.str.len_chars().cast(pl.Int64)),
        time.map(lambda a: a.dt.hour().cast(pl.Int64) * 100 + a.dt.minute().cast(pl.Int64)),
        time.map(lambda a: a.dt.weekday().cast(pl.Int64)),
        time.map(lambda a: a.dt.year().cast(pl.Int64) - a.dt.month().cast(pl.Int64)),
        st.tuples(truth, number, number).map(lambda p: pl.when(p[0]).then(p[1]).otherwise(p[2])),
        st.tuples(truth, number).map(lambda p: pl.when(p[0]).then(p[1])),
    )


def _truths(inner):
    number, truth, word, time = inner
    pairs = st.one_of(st.tuples(number, number), st.tuples(word, word), st.tuples(time, time))
    return st.one_of(
        pairs.map(lambda ab: ab[0] == ab[1]),
        pairs.map(lambda ab: ab[0] != ab[1]),
        pairs.map(lambda ab: ab[0] < ab[1]),
        pairs.map(lambda ab: ab[0] >= ab[1]),
        pairs.map(lambda ab: ab[0].eq_missing(ab[1])),
        st.tuples(number, number, number).map(lambda p: p[0].is_between(p[1], p[2], closed="left")),
        st.tuples(truth, truth).map(lambda ab: ab[0] & ab[1]),
        st.tuples(truth, truth).map(lambda ab: ab[0] | ab[1]),
        st.tuples(truth, truth).map(lambda ab: ab[0] ^ ab[1]),
        truth.map(lambda a: ~a),
        st.one_of(number, word, time).map(lambda a: a.is_null()),
        st.one_of(number, word, time).map(lambda a: a.is_not_null()),
        number.map(lambda a: a.cast(pl.Float64).is_nan()),
        number.map(lambda a: a.cast(pl.Float64).is_finite()),
        st.lists(st.integers(-9, 9), max_size=4).map(lambda m: pl.col("i").is_in(m)),
        st.tuples(word, st.lists(words, max_size=3)).map(lambda p: p[0].is_in(p[1])),
        st.tuples(word, words).map(lambda p: p[0].str.starts_with(p[1])),
        st.tuples(word, words).map(lambda p: p[0].str.contains(p[1], literal=True)),
    )


# Not `map(pl.col)`: Hypothesis asks a function for its name, and `pl.col` answers with a column.
_number = st.one_of(st.sampled_from("ijfg").map(lambda name: pl.col(name)), whole, broken)
_word = st.one_of(st.just(pl.col("s")), words.map(pl.lit))
_word = st.one_of(_word, _word.map(lambda a: a.str.to_lowercase()), _word.map(lambda a: a + "x"))
_leaves = (_number, st.just(pl.col("b")), _word, st.one_of(st.just(pl.col("t")), instants))
_deeper = (_numbers(_leaves), _truths(_leaves), _word, _leaves[3])
expressions = st.one_of(_numbers(_deeper), _truths(_deeper), _numbers(_leaves), _truths(_leaves))


@given(expressions)
def test_law_lowered_expression_computes_the_same(expr):
    node = lower(expr)
    frame = FRAME.select(expr.alias("x"), to_polars(node).alias("y"))
    # Constants alone are typed more narrowly by Polars than by us; values are what is promised.
    as_wide = frame["x"].cast(frame["y"].dtype)
    assert_series_equal(as_wide, frame["y"], check_names=False, check_exact=True)


@given(expressions)
def test_law_lowering_again_changes_nothing(expr):
    node = lower(expr)
    assert lower(to_polars(node)) == node


@given(expressions)
def test_law_stored_expression_comes_back(expr):
    node = lower(expr)
    again = from_json(json.loads(json.dumps(to_json(node))))
    assert again == node
    assert fingerprint(again) == fingerprint(node)


@given(expressions, st.integers(0, 6))
def test_law_value_of_a_row_does_not_depend_on_batch_cuts(expr, cut):
    run = to_run(lower(expr + pl.col("i") if expr.meta.root_names() == [] else expr))
    parts = [part.select(run.alias("x")) for part in (FRAME[:cut], FRAME[cut:]) if len(part)]
    whole_frame = FRAME.select(run.alias("x"))
    assert pl.concat(parts).equals(whole_frame)


DIVIDED = [0.3, 3.0, 7.0, -5.7, 1e300, None]
BY = [0.1, 10.0, -0.0, 404192.25, 10]


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("rows", [1, 2, len(DIVIDED)])
def test_quotient_is_rounded_once_in_a_batch_of_any_size(by, rows):
    frame = pl.DataFrame({"f": DIVIDED})
    run = to_run(lower(pl.col("f") / by))
    for start in range(0, len(DIVIDED), rows):
        got = frame[start : start + rows].select(run).to_series().to_list()
        with np.errstate(divide="ignore"):
            want = [
                None if x is None else np.float64(x) / by for x in DIVIDED[start : start + rows]
            ]
        assert got == want


@pytest.mark.parametrize(
    "expr",
    [
        pl.col("f") // 0.1,
        pl.col("f") % 0.1,
        pl.col("f") / pl.when(pl.col("b")).then(0.1).otherwise(0.3),
        pl.col("f") / pl.col("none").fill_null(0.1),
        pl.col("f") / (pl.lit(0.1) * 3),
    ],
    ids=str,
)
def test_quotient_by_constants_does_not_depend_on_the_rows_beside(expr):
    frame = pl.DataFrame(
        {"f": [0.3, 0.6, 0.7, 5.7, 0.3], "b": [True, True, False, False, True], "none": None},
        schema_overrides={"none": pl.Float64},
    )
    run = to_run(lower(expr))
    whole = frame.select(x=run)
    for cut in range(1, frame.height):
        assert pl.concat([frame[:cut].select(x=run), frame[cut:].select(x=run)]).equals(whole)
    assert pl.concat([frame[row].select(x=run) for row in range(frame.height)]).equals(whole)


@given(expressions)
def test_law_what_runs_has_the_type_of_what_was_written(expr):
    node = lower(expr)
    assert FRAME.select(x=to_run(node)).schema == FRAME.select(x=to_polars(node)).schema


EVERY_OPERATOR = {
    "add": pl.col("i") + 1,
    "subtract": pl.col("i") - 1,
    "multiply": pl.col("i") * 2,
    "divide": pl.col("i") / 2,
    "floor_divide": pl.col("i") // 2,
    "modulo": pl.col("i") % 2,
    "negate": -pl.col("i"),
    "abs": pl.col("i").abs(),
    "floor": pl.col("g").floor(),
    "ceil": pl.col("g").ceil(),
    "round": pl.col("g").round(1),
    "eq": pl.col("i") == 1,
    "ne": pl.col("i") != 1,
    "lt": pl.col("i") < 1,
    "le": pl.col("i") <= 1,
    "gt": pl.col("i") > 1,
    "ge": pl.col("i") >= 1,
    "eq_missing": pl.col("i").eq_missing(pl.col("j")),
    "ne_missing": pl.col("i").ne_missing(pl.col("j")),
    "is_between": pl.col("i").is_between(0, 3, closed="right"),
    "is_in": pl.col("i").is_in([3, 1]),
    "and": pl.col("b") & True,
    "or": pl.col("b") | True,
    "xor": pl.col("b") ^ True,
    "not": ~pl.col("b"),
    "is_null": pl.col("s").is_null(),
    "is_not_null": pl.col("s").is_not_null(),
    "is_nan": pl.col("f").is_nan(),
    "is_not_nan": pl.col("f").is_not_nan(),
    "is_finite": pl.col("f").is_finite(),
    "is_infinite": pl.col("f").is_infinite(),
    "fill_null": pl.col("f").fill_null(0),
    "coalesce": pl.coalesce("i", "j"),
    "when": pl.when(pl.col("b")).then(1).otherwise(pl.col("j")),
    "cast": pl.col("s").cast(pl.Float64, strict=False),
    "lowercase": pl.col("s").str.to_lowercase(),
    "uppercase": pl.col("s").str.to_uppercase(),
    "len_chars": pl.col("s").str.len_chars(),
    "starts_with": pl.col("s").str.starts_with("a"),
    "ends_with": pl.col("s").str.ends_with("a"),
    "contains": pl.col("s").str.contains("a", literal=True),
    "year": pl.col("t").dt.year(),
    "month": pl.col("t").dt.month(),
    "day": pl.col("t").dt.day(),
    "weekday": pl.col("t").dt.weekday(),
    "hour": pl.col("t").dt.hour(),
    "minute": pl.col("t").dt.minute(),
    "second": pl.col("t").dt.second(),
}


def test_every_operator_is_tried():
    # Pairs are made by aggregates over two columns; an expression gives one value.
    assert set(EVERY_OPERATOR) == set(OPERATORS) - {PAIR, VECTOR}


@pytest.mark.parametrize("name", EVERY_OPERATOR)
def test_operator_computes_what_polars_computes(name):
    node = lower(EVERY_OPERATOR[name])
    assert name in {part.name for part in walk(node) if isinstance(part, Op)}
    frame = FRAME.select(EVERY_OPERATOR[name].alias("x"), to_polars(node).alias("y"))
    assert_series_equal(frame["x"].cast(frame["y"].dtype), frame["y"], check_names=False)
    assert result_type(node, SCHEMA).polars == frame["y"].dtype


def test_name_is_a_column():
    assert lower("amount") == Column("amount") == lower(pl.col("amount").alias("other"))


def test_calendar_arithmetic_does_not_wrap_as_narrow_integers_would():
    node = lower(pl.col("t").dt.hour() * 100 + pl.col("t").dt.minute())
    assert FRAME.select(to_polars(node)).to_series()[1] == 1230


def test_strict_cast_gives_null_for_what_cannot_be_cast():
    node = lower(pl.col("s").cast(pl.Int64))
    values = pl.DataFrame({"s": ["7", "x"]}).select(to_polars(node)).to_series()
    assert values.to_list() == [7, None]


def test_members_of_is_in_have_no_order():
    assert lower(pl.col("i").is_in([3, 1, 3])) == lower(pl.col("i").is_in([1, 3]))


def test_constants_of_different_types_differ():
    nodes = [lower(pl.col("f") + value) for value in (1, 1.0)] + [lower(pl.col("f") + True)]
    assert len({fingerprint(node) for node in nodes}) == 3


def test_width_of_a_constant_does_not_matter():
    assert lower(pl.col("i") + pl.lit(1, dtype=pl.Int16)) == lower(pl.col("i") + 1)


def test_golden_fingerprint_of_a_stored_expression():
    # A changed value here means that every stored fingerprint changes with this version.
    node = Op("gt", (Column("amount"), Literal(Int64, 0)))
    assert lower(pl.col("amount") > 0) == node
    assert fingerprint(node) == "461079138be3005bd8abc0c430155d40"


def test_expression_is_printed_for_people():
    expr = (pl.col("f") > 0.5) & pl.col("s").is_in(["a", "b"]) | (pl.col("t") < INSTANT)
    assert text(lower(expr)) == (
        "((f > 0.5) and is_in(s, 'a', 'b')) or (t < 2024-05-01T12:30:00+00:00)"
    )


@pytest.mark.parametrize(
    "expr",
    [
        pl.col("i").sum(),
        pl.col("i") > pl.col("i").mean(),
        pl.col("i").cum_sum(),
        pl.col("i").shift(1).fill_null(0),
        pl.col("i").sum().over("s"),
        pl.col("i").rolling_mean(3),
        pl.col("i").sort(),
        pl.col("i").unique(),
        pl.col("i").fill_null(strategy="forward"),
        pl.len() > 3,
        pl.col("i").rank() > 3,
        pl.col("i").is_first_distinct(),
    ],
    ids=str,
)
def test_expression_over_other_rows_is_refused(expr):
    with pytest.raises(NotSeparable):
        lower(expr)


@pytest.mark.parametrize(
    "expr",
    [
        pl.all().is_null(),
        pl.col("i", "j"),
        pl.col("i").log(),
        pl.col("i").filter(pl.col("b")),
        pl.col("i").cast(pl.Int8),
        pl.col("s").str.contains("a.c"),
        pl.col("i").is_in([1, None]),
        pl.col("i").is_in(pl.col("j").implode()),
        pl.lit(2**64),
        pl.lit(float("inf")),
        pl.col("s").map_elements(len, return_dtype=pl.Int64),
        pl.struct("i", "j"),
        pl.col("t") + timedelta(days=1),
        5,
        None,
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::polars.exceptions.PolarsInefficientMapWarning")
def test_expression_without_normal_form_is_refused(expr):
    with pytest.raises(DefinitionFault):
        lower(expr)


@pytest.mark.parametrize(
    "expr",
    [
        pl.lit(1),
        pl.col("s") > 1,
        pl.col("i").str.to_lowercase(),
        pl.col("s").cast(pl.Datetime("us", "UTC")),
        pl.col("t") - pl.col("t"),
        pl.when(pl.col("b")).then(None),
    ],
    ids=str,
)
def test_expression_without_a_type_is_refused(expr):
    with pytest.raises(UnsupportedExpression):
        result_type(lower(expr), SCHEMA)
