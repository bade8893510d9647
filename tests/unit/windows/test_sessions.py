"""Sessions: a late event joins what it touches; merging in any order gives the same sessions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.windows.aggregates.counts import COUNT_ROWS
from tegula.windows.aggregates.sums import SUM_INT
from tegula.windows.algebra import Column, Order, Runs, concat, take
from tegula.windows.rows import NewestRows
from tegula.windows.sessions import Sessions

GAP = 10
MONOID = Sessions(GAP, SUM_INT)
events = st.lists(
    st.tuples(st.integers(-40, 120), st.integers(-9, 9), st.integers(0, 3)), max_size=20
)


def lift(monoid, events):
    """The state of events `(time, value, …)` as one run."""
    if not events:
        return monoid.zero(1)
    ordered = sorted(events)
    zeros = np.zeros(len(ordered), np.int64)
    order = Order(np.array([e[0] for e in ordered]), zeros, np.arange(len(ordered)))
    column = Column(np.array([e[1] for e in ordered]))
    return monoid.lift(column, order, Runs(np.zeros(1, np.int64), len(ordered)))


def sessions_of(events):
    """The definition: walk the events in order; a pause longer than the gap begins a session."""
    found = []
    for at, value, *_ in sorted(events):
        if found and at - found[-1][1] <= GAP:
            found[-1] = (found[-1][0], at, found[-1][2] + value)
        else:
            found.append((at, at, value))
    return found


def listed(state):
    records = np.frombuffer(state[0][0].as_py(), MONOID.record)
    totals = [(int(r["f0"]) << 64) + int(r["f1"]) for r in records]
    return list(zip(records["first_us"].tolist(), records["last_us"].tolist(), totals, strict=True))


@given(events, st.permutations(range(4)), st.integers(1, 3))
def test_law_sessions_do_not_depend_on_what_was_merged_with_what(events, order, split):
    parts = [lift(MONOID, [e for e in events if e[2] == part]) for part in range(4)]
    sides = [
        MONOID.reduce(concat(tuple(parts[i] for i in side)), Runs(np.zeros(1, np.int64), len(side)))
        for side in (order[:split], order[split:])
    ]
    merged = MONOID.reduce(concat(tuple(sides)), Runs(np.zeros(1, np.int64), 2))
    assert listed(merged) == sessions_of(events)
    assert listed(lift(MONOID, events)) == sessions_of(events)
    assert MONOID.reduce_one(concat(tuple(parts)))[0] == merged[0][0].as_py()


TEXTS = Sessions(GAP, NewestRows(2, "bytes"))
"""The newest two texts of each session: a state of bytes, of two fields, for each."""


@given(events, st.permutations(range(4)), st.integers(-40, 120))
def test_law_states_of_any_size_are_kept_for_each_session(events, order, before):
    def lifted(events):
        ordered = sorted((at, value, part, place) for place, (at, value, part) in enumerate(events))
        if not ordered:
            return TEXTS.zero(1)
        column = pa.array([b"x" * (value + 9) for _, value, *_ in ordered], pa.large_binary())
        zeros = np.zeros(len(ordered), np.int64)
        # Of one time the greater value comes later, in every part and in the whole.
        offsets = np.array([100 * (value + 9) + place for _, value, _, place in ordered])
        rows = Order(np.array([at for at, *_ in ordered]), zeros, offsets)
        return TEXTS.lift(Column(column), rows, Runs(np.zeros(1, np.int64), len(ordered)))

    numbered = [(at, value, part) for at, value, part in dict.fromkeys(events)]
    parts = [
        lifted([(at, value, part) for at, value, part in numbered if part == wanted])
        for wanted in order
    ]
    merged = TEXTS.reduce(concat(tuple(parts)), Runs(np.zeros(1, np.int64), 4))
    alone = TEXTS.reduce_one(concat(tuple(parts)))
    assert alone == (*(field[0].as_py() for field in merged[:-1]), merged[-1][0])
    walked = sessions_of(numbered)
    pruned = TEXTS.pruned(merged, np.array([before]))
    for state in (merged, pruned):
        newest = TEXTS.newest(state)
        assert (newest.found.tolist(), newest.cut.tolist()) == ([bool(walked)], [False])
        read = TEXTS.inner.rows(newest.inner)
        if walked:
            assert (newest.first_us[0], newest.last_us[0]) == walked[-1][:2]
            mine = sorted((at, value) for at, value, _ in numbered if at >= newest.first_us[0])[-2:]
            assert read.column.values.to_pylist() == [b"x" * (value + 9) for _, value in mine]
    assert len(pruned[0][0].as_py()) <= len(merged[0][0].as_py())


@pytest.mark.parametrize(("pause", "count"), [(GAP, 1), (GAP + 1, 2)])
def test_an_event_exactly_one_gap_later_joins_and_one_microsecond_more_does_not(pause, count):
    assert len(sessions_of([(0, 1), (pause, 1)])) == count
    assert len(listed(lift(MONOID, [(0, 1), (pause, 1)]))) == count
    both = concat((lift(MONOID, [(0, 1)]), lift(MONOID, [(pause, 1)])))
    assert len(listed(MONOID.reduce(both, Runs(np.zeros(1, np.int64), 2)))) == count


def test_a_late_event_makes_one_session_of_two():
    apart = lift(MONOID, [(0, 1), (18, 2)])
    assert len(listed(apart)) == 2
    late = concat((apart, lift(MONOID, [(9, 5)])))
    assert listed(MONOID.reduce(late, Runs(np.zeros(1, np.int64), 2))) == [(0, 18, 8)]


def test_sessions_of_many_keys_stay_apart():
    order = Order(np.array([0, 5, 3, 40]), np.zeros(4, np.int64), np.arange(4))
    column = Column(np.array([1, 2, 4, 8]))
    states = MONOID.lift(column, order, Runs(np.array([0, 2]), 4))
    twice = take(states, np.array([0, 0, 1, 1]))
    newest = MONOID.newest(MONOID.reduce(twice, Runs(np.array([0, 2]), 4)))
    assert (newest.first_us.tolist(), newest.last_us.tolist()) == ([0, 40], [5, 40])
    assert newest.found.tolist() == [True, True]
    assert newest.inner[1].tolist() == [6, 16]


def test_the_newest_of_no_sessions_is_the_zero_of_the_inner_state():
    newest = MONOID.newest(MONOID.zero(2))
    assert (newest.found.tolist(), newest.cut.tolist()) == ([False] * 2, [False] * 2)
    assert (newest.first_us.tolist(), newest.last_us.tolist()) == ([0, 0], [0, 0])
    assert [field.tolist() for field in newest.inner] == [[0, 0], [0, 0]]


@given(events, st.integers(-40, 120), st.integers(-9, 9), st.integers(0, 200))
def test_law_pruning_changes_nothing_that_later_events_can_reach(events, before, value, later):
    whole = lift(MONOID, events)
    pruned = MONOID.pruned(whole, np.array([before]))
    new = lift(MONOID, [(before + later, value)])
    pair = Runs(np.zeros(1, np.int64), 2)
    one = MONOID.newest(MONOID.reduce(concat((whole, new)), pair))
    other = MONOID.newest(MONOID.reduce(concat((pruned, new)), pair))
    assert told(one) == told(other)
    assert not other.cut.any()
    assert len(listed(pruned)) <= len(listed(whole))


def told(newest):
    """Where the newest sessions lie, and their states."""
    return [
        np.asarray(field).tolist() for field in (newest.first_us, newest.last_us, *newest.inner)
    ]


@given(events, st.integers(-40, 120), events, st.permutations(range(3)))
def test_law_a_session_is_cut_where_dropping_others_made_it_too_short(before_all, at, late, order):
    # Late events from anywhere, also from where none was expected any more, in any order.
    whole = lift(MONOID, before_all)
    pruned = MONOID.pruned(whole, np.array([at]))
    new = [lift(MONOID, [e for e in late if e[2] % 2 == half]) for half in (0, 1)]
    parts = [(pruned, *new)[place] for place in order]
    merged = MONOID.reduce(concat(tuple(parts)), Runs(np.zeros(1, np.int64), 3))
    assert MONOID.reduce_one(concat(tuple(parts)))[1] == merged[1][0]
    wanted = MONOID.newest(MONOID.reduce(concat((whole, *new)), Runs(np.zeros(1, np.int64), 3)))
    found = MONOID.newest(merged)
    gone = [last for _, last, _ in listed(whole) if last not in {s[1] for s in listed(pruned)}]
    is_cut = any(wanted.first_us[0] <= last for last in gone)
    assert found.cut.tolist() == [is_cut]
    assert is_cut or told(found) == told(wanted)


@pytest.mark.parametrize(("pause", "is_cut"), [(GAP, True), (GAP + 1, False)])
def test_a_session_is_cut_if_it_begins_within_a_gap_of_one_that_was_dropped(pause, is_cut):
    state = MONOID.pruned(lift(MONOID, [(0, 1), (100, 1)]), np.array([GAP + 1]))
    late = lift(MONOID, [(at, 1) for at in range(pause, 100, GAP)])
    merged = MONOID.reduce(concat((state, late)), Runs(np.zeros(1, np.int64), 2))
    assert MONOID.newest(merged).cut.tolist() == [is_cut]


@pytest.mark.parametrize(("before", "kept"), [(GAP, 2), (GAP + 1, 1)])
def test_pruning_keeps_a_session_as_long_as_an_event_may_join_it(before, kept):
    state = lift(MONOID, [(0, 1), (100, 1)])
    assert len(listed(MONOID.pruned(state, np.array([before])))) == kept


def test_counting_sessions_takes_no_column():
    order = Order(np.array([0, 5, 30]), np.zeros(3, np.int64), np.arange(3))
    counts = Sessions(GAP, COUNT_ROWS)
    state = counts.lift(None, order, Runs(np.zeros(1, np.int64), 3))
    (inner,) = counts.newest(state).inner
    assert inner.tolist() == [1]
