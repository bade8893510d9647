"""How far a reader runs ahead of those that take its parcels up."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from tegula.engine.runtime.credit import AHEAD_MAX, Credit, Taken
from tegula.engine.steps.worker import ALONE, Worker


def test_a_worker_that_is_alone_may_always_send_and_has_nobody_to_tell():
    credit = Credit(ALONE)
    for _ in range(3 * AHEAD_MAX):
        assert credit.may_send
        credit.sent()
        credit.received(0)
    assert credit.to_tell() == []


def test_a_reader_waits_for_the_slowest_worker():
    credit = Credit(Worker(0, 3))
    for _ in range(AHEAD_MAX):
        assert credit.may_send
        credit.sent()
    assert not credit.may_send
    credit.told(Taken(1, AHEAD_MAX))
    assert not credit.may_send
    credit.told(Taken(2, 1))
    assert credit.may_send


def test_what_was_taken_up_is_told_once_and_only_to_whom_it_concerns():
    credit = Credit(Worker(1, 3))
    for reader in (0, 0, 1, 2):
        credit.received(reader)
    assert credit.to_tell() == [(0, Taken(1, 2)), (2, Taken(1, 1))]
    assert credit.to_tell() == []
    credit.received(2)
    assert credit.to_tell() == [(2, Taken(1, 2))]


@given(
    st.integers(2, 4), st.lists(st.tuples(st.sampled_from("rt"), st.integers(0, 3)), max_size=99)
)
def test_law_no_more_lies_between_two_workers_than_the_bound_and_none_is_stuck(count, turns):
    """Workers read (r) and take up (t) in any order; whatever is said arrives in order."""
    credits = [Credit(Worker(index, count)) for index in range(count)]
    between = {(a, b): deque[Taken | None]() for a in range(count) for b in range(count)}

    def turn(kind: str, index: int) -> bool:
        own = credits[index]
        if kind == "r" and own.may_send:
            own.sent()
            for to in range(count):
                between[index, to].append(None)
        for reader in range(count) if kind == "t" else ():
            while between[reader, index]:
                item = between[reader, index].popleft()
                if item is None:
                    own.received(reader)
                else:
                    own.told(item)
        for to, told in own.to_tell():
            between[index, to].append(told)
        parcels = [
            sum(one is None for one in lane) for at, lane in between.items() if at[0] != at[1]
        ]
        assert max(parcels) <= AHEAD_MAX
        return own.may_send

    for kind, index in turns:
        turn(kind, index % count)
    for _ in range(2):
        for index in range(count):
            turn("t", index)
    assert all(one.may_send for one in credits)
