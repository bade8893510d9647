"""The laws notice what is wrong: each of these aggregates breaks one, and is caught by its name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

import tegula as tg
from tegula.schemas.errors import DefinitionErrors
from tegula.testing import laws
from tegula.testing.laws import AGGREGATE_LAWS, MONOID_LAWS, LawBroken
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import NULL, VALUE, Runs, StateField, StateNeed
from tests.support.own import HourBits, HoursSeen

SEED = 7


@dataclass(frozen=True)
class Largest:
    """The greatest of integers, done right; what is wrong is said by what overrides it."""

    name: str = "own_largest"
    version: int = 1
    fields: tuple[StateField, ...] = (StateField("most", "<i8"),)
    nothing: int = -(2**63)

    def lift(self, column, order, runs):
        values = column.values
        if column.valid is not None:
            values = np.where(column.valid, values, self.nothing)
        return (np.maximum.reduceat(values, runs.starts),)

    def reduce(self, states, runs):
        return (np.maximum.reduceat(states[0], runs.starts),)

    def reduce_one(self, states):
        return (max([self.nothing, *map(int, states[0])]),)

    def zero(self, count):
        return (np.full(count, self.nothing, np.int64),)


@dataclass(frozen=True)
class OfLargest:
    """An aggregate over such a state."""

    state: Any = Largest()
    name: str = "own_largest"

    def needs(self, input_kind, params):
        if input_kind != "int":
            raise tg.errors.UnsupportedInput("own_largest needs a column of integers")
        return (StateNeed(self.state),)

    def output(self, input_type, params):
        return tg.Int64

    def finish(self, states, params):
        ((most,),) = states
        return most, np.where(most == -(2**63), NULL, VALUE).astype(np.uint8)

    def finish_one(self, states, params):
        ((most,),) = states
        return None if most == -(2**63) else most


class WrongZero(Largest):
    """Its zero is larger than values may be."""

    def reduce_one(self, states):
        return (max([7, *map(int, states[0])]),)

    def zero(self, count):
        return (np.full(count, 7, np.int64),)


class OtherZero(Largest):
    """One key has another zero than many."""

    def zero(self, count):
        return (np.zeros(count, np.int64),)


class Middle(Largest):
    """Halfway between: whoever is merged last weighs most."""

    def reduce(self, states, runs):
        kept = states[0][runs.starts]
        for place in range(1, int(runs.lengths.max(initial=1))):
            some = np.flatnonzero(runs.starts + place < runs.ends)
            mine, other = kept[some], states[0][runs.starts[some] + place]
            halfway = (mine >> 1) + (other >> 1)
            nothing = np.where(other == self.nothing, mine, halfway)
            kept[some] = np.where(mine == self.nothing, other, nothing)
        return (kept,)

    def reduce_one(self, states):
        given = np.array([self.nothing, *states[0]], np.int64)
        return (int(self.reduce((given,), Runs(np.array([0]), len(given)))[0][0]),)


class ByArrival(Largest):
    """The state that was given last, whatever it holds."""

    def reduce(self, states, runs):
        return (states[0][runs.last],)


class Mutating(Largest):
    """Merges in place."""

    def reduce(self, states, runs):
        (most,) = states
        most[runs.starts] = np.maximum.reduceat(most, runs.starts)
        return (most[runs.starts],)


class LiftingInPlace(Largest):
    """Fills the column that it was given."""

    def lift(self, column, order, runs):
        if column.valid is not None:
            column.values[~column.valid] = self.nothing
        return (np.maximum.reduceat(column.values, runs.starts),)


class Garbled(Largest):
    """Takes what stands at a row without a value for one."""

    def lift(self, column, order, runs):
        return (np.maximum.reduceat(column.values, runs.starts),)


class FirstOnly(Largest):
    """Looks at the first row of each run only, so batches decide."""

    def lift(self, column, order, runs):
        (values,) = Largest.lift(self, column, order, Runs(np.arange(runs.size), runs.size))
        return (values[runs.starts],)


class Overlapping(Largest):
    """Each run sees what came before it."""

    def reduce(self, states, runs):
        return (np.maximum.accumulate(Largest.reduce(self, states, runs)[0]),)


class Narrow(Largest):
    """Gives 32 bits where 64 are declared."""

    def zero(self, count):
        return (np.full(count, self.nothing, np.int64).astype(np.int32),)


class NumpyScalars(Largest):
    """Gives numpy's scalars for one key."""

    def reduce_one(self, states):
        return (np.int64(super().reduce_one(states)[0]),)


class Backwards(Largest):
    """Its quick way is another one."""

    def merge(self, a, b):
        return (np.minimum(a[0], b[0]) if len(a[0]) else a[0],)

    def merge_one(self, a, b):
        return (min(a[0], b[0]),)


class QuickOne(Largest):
    """Its quick way for one key forgets the second."""

    def merge(self, a, b):
        return (np.maximum(a[0], b[0]),)

    def merge_one(self, a, b):
        return a


class NoGroup(Largest):
    """Offers to take back what it cannot."""

    def subtract(self, a, b):
        return a


@pytest.mark.parametrize(
    ("state", "law"),
    [
        (WrongZero(), "zero is the identity"),
        (OtherZero(), "states have the fields that are declared"),
        (Middle(), "merge is associative and commutative"),
        (ByArrival(), "zero is the identity"),
        (Mutating(), "arguments are not changed"),
        (LiftingInPlace(), "arguments are not changed"),
        (Garbled(), "invalid rows leave no trace"),
        (FirstOnly(), "lifting parts and merging is lifting the whole"),
        (Overlapping(), "a run does not feel its neighbours"),
        (Narrow(), "states have the fields that are declared"),
        (NumpyScalars(), "one key is reduced as many are"),
        (Backwards(), "zero is the identity"),
        (QuickOne(), "two states merge as many do"),
        (NoGroup(), "a group takes back what was merged"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Largest) else "",
)
def test_wrong_state_is_caught_by_the_law_that_it_breaks(state, law):
    with pytest.raises(LawBroken) as caught:
        laws.check(OfLargest(state), seed=SEED, examples=30)
    assert (caught.value.law, caught.value.seed) == (law, SEED)
    assert "the state 'own_largest', of input int" in str(caught.value)


@pytest.mark.parametrize(
    ("state", "law"),
    [
        (Middle(), "merge_is_associative_and_commutative"),
        (ByArrival(), "merge_is_associative_and_commutative"),
        (ByArrival(), "lifting_parts_and_merging_is_lifting_the_whole"),
        (NumpyScalars(), "one_key_is_reduced_as_many_are"),
        (Mutating(), "lifting_parts_and_merging_is_lifting_the_whole"),
    ],
)
def test_wrong_state_breaks_every_law_that_speaks_of_it(state, law):
    case = laws.MonoidCase(state, "int")
    with pytest.raises(LawBroken, match=law.replace("_", " ")):
        laws.try_law(MONOID_LAWS[law], case, examples=50, seed=SEED)


class Off(OfLargest):
    """One key more than many."""

    def finish_one(self, states, params):
        value = super().finish_one(states, params)
        return None if value is None else value - 1


class FinishingInPlace(OfLargest):
    """Writes into what it finishes."""

    def finish(self, states, params):
        values, codes = super().finish(states, params)
        values[codes == NULL] = 0
        return values, codes


class AsFloat(OfLargest):
    """Gives floats for integers."""

    def output(self, input_type, params):
        return tg.Float64


class Signed(OfLargest):
    """Gives codes of eight signed bits."""

    def finish(self, states, params):
        values, codes = super().finish(states, params)
        return values, codes.astype(np.int8)


@pytest.mark.parametrize(
    ("aggregate", "law"),
    [
        (Off(), "one key finishes as many do"),
        (FinishingInPlace(), "finishing changes nothing"),
        (AsFloat(), "values have the type of the output"),
        (Signed(), "one key finishes as many do"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, OfLargest) else "",
)
def test_wrong_finish_is_caught_by_the_law_that_it_breaks(aggregate, law):
    with pytest.raises(LawBroken) as caught:
        laws.check(aggregate, seed=SEED, examples=20)
    assert caught.value.law == law
    assert caught.value.subject == "the aggregate 'own_largest', of input int"


def test_right_aggregates_keep_all_laws(seed):
    laws.check(OfLargest(), seed=seed, examples=20)
    laws.check(tg.own_aggregate(HoursSeen(), version=1), seed=seed, examples=20)


def test_broken_law_shows_the_smallest_rows_and_the_seed():
    with pytest.raises(LawBroken) as caught:
        laws.check(OfLargest(Garbled()), seed=SEED)
    assert str(caught.value).splitlines() == [
        "broken law: invalid rows leave no trace",
        "  of the state 'own_largest', of input int",
        "  with other garbage is ([14],), with this is ([7],)",
        "  shown by rows (run, part, event_us, ordinal, offset, value):",
        "    (0, 0, 0, 0, 0, None)",
        f"  again: laws.check(…, seed={SEED})",
    ]


def test_values_can_be_narrowed_to_those_that_come():
    class Wraps(Largest):
        """A sum that is past its range with few large numbers."""

        def lift(self, column, order, runs):
            values = np.where(True if column.valid is None else column.valid, column.values, 0)
            return (np.add.reduceat(values, runs.starts),)

        def reduce(self, states, runs):
            return (np.add.reduceat(states[0], runs.starts),)

        def reduce_one(self, states):
            return (sum(map(int, states[0])),)

        def zero(self, count):
            return (np.zeros(count, np.int64),)

    summed = OfLargest(Wraps(nothing=0))
    with pytest.raises(LawBroken, match="OverflowError"):
        laws.check(summed, seed=SEED)
    laws.check(summed, seed=SEED, values={"int": st.integers(-1000, 1000)})


def test_shipped_states_are_not_tried_again(monkeypatch):
    class Known(OfLargest):
        def needs(self, input_kind, params):
            return AGGREGATES["max"].needs(input_kind, params)[:1]

        def output(self, input_type, params):
            return input_type

        def finish(self, states, params):
            values = states[0][0]
            return values, np.full(len(values), VALUE, np.uint8)

        def finish_one(self, states, params):
            return states[0][0]

    tried: list[str] = []
    monkeypatch.setattr(laws, "try_law", lambda law, case, *_, **__: tried.append(str(case)))
    laws.check(Known())
    assert set(tried) == {
        f"the aggregate 'own_largest', of input {kind}"
        for kind in ("float", "int", "bool", "time", "string")
    }


def test_faults_come_before_laws():
    with pytest.raises(DefinitionErrors, match="TG-102"):
        laws.check(tg.own_aggregate(HoursSeen("sum"), version=1))
    wide = replace(HourBits(), name="sum_int")
    with pytest.raises(DefinitionErrors, match="formats"):
        laws.check(tg.own_aggregate(HoursSeen(state=wide), version=1))


def test_every_law_has_a_sentence():
    for law in (*MONOID_LAWS.values(), *AGGREGATE_LAWS.values()):
        assert law.__doc__


def test_without_hypothesis_the_error_says_what_to_install():
    script = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import tegula\n"
        "try:\n    from tegula.testing import laws\n"
        "except tegula.TegulaError as fault:\n    print(fault)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "TG-601" in run.stdout
    assert "pip install 'tegula[testing]'" in run.stdout
