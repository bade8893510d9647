"""Which worker bytewax sends a key to: asked of bytewax itself, because its hash is its own."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import cluster_main

_TRIES_A_WORKER: Final = 64


def labels(workers: int) -> list[str]:
    """For each of so many workers, by index, a key that bytewax sends to it.

    Found by a dataflow of as many threads: which worker a key falls to depends on their number, not
    on the processes that they are in (who receives an item checks that he is meant).
    """
    asked = _Asked([str(number) for number in range(_TRIES_A_WORKER * workers)])
    flow = Dataflow("labels")
    keys = op.input("keys", flow, asked)
    op.output("none", op.stateful_batch("came", keys, lambda _: _Came(asked)), _Nowhere())
    cluster_main(flow, [], 0, worker_count_per_proc=workers)  # type: ignore[no-untyped-call]
    key_of = {asked.worker_of[thread]: key for thread, key in asked.came}
    return [key_of[worker] for worker in range(workers)]


class _Asked(DynamicSource[tuple[str, str]]):
    """The keys to try, which thread is which worker, and which keys came to which thread."""

    def __init__(self, keys: list[str]) -> None:
        self._keys = keys
        self.worker_of: dict[int, int] = {}
        self.came: list[tuple[int, str]] = []

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Once:
        self.worker_of[threading.get_ident()] = worker_index
        return _Once([(key, key) for key in self._keys] if worker_index == 0 else [])


class _Once(StatelessSourcePartition[tuple[str, str]]):
    def __init__(self, items: list[tuple[str, str]]) -> None:
        self._items: list[tuple[str, str]] | None = items

    def next_batch(self) -> Iterable[tuple[str, str]]:
        if self._items is None:
            raise StopIteration
        items, self._items = self._items, None
        return items


class _Came(StatefulBatchLogic[str, None, None]):
    def __init__(self, asked: _Asked) -> None:
        self._asked = asked

    def on_batch(self, values: list[str]) -> tuple[Iterable[None], bool]:
        self._asked.came.extend((threading.get_ident(), key) for key in values)
        return [], self.DISCARD

    def snapshot(self) -> None:
        return None


class _Nowhere(DynamicSink[tuple[str, None]]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _NowherePart:
        return _NowherePart()


class _NowherePart(StatelessSinkPartition[tuple[str, None]]):
    def write_batch(self, items: list[tuple[str, None]]) -> None:
        """Nothing ever comes."""
