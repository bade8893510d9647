"""Barriers: every worker's moment holds what was sent before it, and nothing of what came after."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tegula.engine.runtime.barrier import Barriers, Linked
from tegula.engine.steps.parcel import Parcel
from tegula.engine.steps.worker import Worker

ROUNDS, WORKERS = 40, 3


def parcel(reader: int, number: int) -> Parcel:
    return Parcel(reader, 0, number, 0, 0, 1, {}, np.empty(0, np.int64))


@dataclass
class One:
    """A worker: what it has read, what it was given, and each moment that it took of both."""

    index: int
    moments: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    complete: list[list[Linked]] = field(default_factory=list)
    read: int = 0

    def __post_init__(self) -> None:
        self.given = [0] * WORKERS
        self.barriers = Barriers(Worker(self.index, WORKERS), self.take, self.complete.append)

    def take(self) -> tuple[Any, ...]:
        self.moments.append((self.read, tuple(self.given)))
        return ()


def test_moments_of_all_workers_cut_what_flows_between_them_at_one_place(seed):
    chance = random.Random(seed)
    workers = [One(index) for index in range(WORKERS)]
    between = {(a, b): deque[Any]() for a in range(WORKERS) for b in range(WORKERS)}
    begun = 0
    for _ in range(20_000):
        one = chance.choice(workers)
        if one.index == 0 and chance.random() < 0.02 and one.barriers.may_change:
            one.barriers.begin()
            begun += 1
        news = one.barriers.to_send()
        if news is not None:
            for other in workers:
                between[one.index, other.index].append(news)
        elif one.barriers.is_reading and chance.random() < 0.5:
            one.read += 1
            for other in workers:
                between[one.index, other.index].append(parcel(one.index, one.read))
        for at in chance.sample(list(between), 3):
            queue, to = between[at], workers[at[1]]
            for passed in to.barriers.passes(queue.popleft()) if queue else ():
                assert isinstance(passed, Parcel)
                assert passed.next_offset == to.given[passed.reader] + 1, "in order, none left out"
                to.given[passed.reader] = passed.next_offset
        if len(workers[0].complete) == ROUNDS:
            break
    assert len(workers[0].complete) >= ROUNDS, (begun, seed)
    for moments in list(zip(*(one.moments for one in workers), strict=False))[:ROUNDS]:
        read = tuple(read for read, _ in moments)
        assert all(given == read for _, given in moments)
    assert not workers[1].complete
    assert all(len(linked) == WORKERS for linked in workers[0].complete)


def test_a_worker_that_cannot_link_says_why_and_everything_goes_on():
    told: list[list[Linked]] = []

    def take() -> tuple[Any, ...]:
        raise OSError("no space")

    barriers = Barriers(Worker(0, 1), take, told.append)
    barriers.begin()
    barrier = barriers.to_send()
    assert barrier is not None
    assert not barriers.is_reading
    assert barriers.passes(barrier) == []
    assert barriers.is_reading
    assert not barriers.may_change
    while (news := barriers.to_send()) is not None:
        barriers.passes(news)
    assert barriers.may_change
    ((linked,),) = told
    with pytest.raises(OSError, match="no space"):
        raise linked.fault or AssertionError
