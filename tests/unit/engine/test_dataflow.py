"""The dataflow: order of its steps, and what becomes of a fault in each of them."""

from __future__ import annotations

from typing import Any

import pytest

from tegula.engine.runtime import dataflow
from tegula.engine.steps.worker import ALONE
from tegula.schemas.errors import StateError


class PanicException(BaseException):
    """As Rust's panics come to Python: caught by no `except Exception`."""


class Script:
    """Ports that take the given batches through, and fail when a step comes to a batch."""

    def __init__(
        self,
        batches: list[int],
        failing: tuple[str, int] = ("", 0),
        fault: type[BaseException] = StateError,
    ) -> None:
        self.fault = fault
        self.batches = list(batches)
        self.failing = failing
        self.pending: list[int] = []
        self.done: list[tuple[str, Any]] = []

    worker = ALONE

    def greeting(self) -> Any:
        raise AssertionError("alone, nobody is greeted")

    meet = farewell = part = greeting

    def _do(self, step: str, batch: int) -> int:
        if (step, batch) == self.failing:
            raise self.fault(f"{step} fails")
        self.done.append((step, batch))
        return batch

    @property
    def stopping(self) -> bool:
        return not self.batches

    def poll(self) -> Any:
        return self._do("poll", self.batches.pop(0))

    def lift(self, work: Any) -> Any:
        return [self._do("lift", work)]

    def add(self, lifted: Any) -> None:
        self.pending.append(self._do("add", lifted))

    @property
    def has_pending(self) -> bool:
        return bool(self.pending)

    is_commit_due = has_pending

    def rest(self) -> None:
        raise AssertionError("there was something to do")

    def commit(self) -> Any:
        committed, self.pending = self.pending, []
        return [self._do("commit", batch) for batch in committed]

    def committed(self, commits: Any) -> None:
        for batch in commits:
            self._do("committed", batch)

    def batches_of(self, step: str) -> list[int]:
        return [batch for name, batch in self.done if name == step]


def test_dataflow_takes_every_batch_through_every_step_in_order():
    script = Script([1, 2, 3])
    dataflow.run(script)
    for step in ("poll", "lift", "add", "commit", "committed"):
        assert script.batches_of(step) == [1, 2, 3]


@pytest.mark.parametrize("step", ["poll", "lift", "add", "commit", "committed"])
def test_dataflow_raises_what_a_step_raised_as_it_was_raised(step, capfd):
    with pytest.raises(StateError, match=f"{step} fails"):
        dataflow.run(Script([1, 2, 3], failing=(step, 2)))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("fault", [StateError, PanicException])
@pytest.mark.parametrize("step", ["poll", "lift", "add", "commit"])
def test_dataflow_commits_nothing_after_a_fault(step, fault):
    script = Script([1, 2, 3, 4, 5], failing=(step, 2), fault=fault)
    with pytest.raises(fault):
        dataflow.run(script)
    assert set(script.batches_of("commit")) <= {1}
