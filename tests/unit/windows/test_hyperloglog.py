"""The estimator against true counts, and against the error of the `datasketches` package."""

from __future__ import annotations

import datasketches
import numpy as np
import pytest

from tegula.windows import hyperloglog
from tegula.windows.hashing import mix

STANDARD_ERROR = 1.04 / np.sqrt(hyperloglog.REGISTERS)


def different(count: int, seed: int) -> np.ndarray:
    return mix(np.arange(count, dtype=np.uint64) + np.uint64(seed << 40))


def relative_errors(count: int, trials: int) -> np.ndarray:
    hashes = np.concatenate([different(count, seed) for seed in range(trials)])
    ids = np.repeat(np.arange(trials), count)
    registers = hyperloglog.registers(hashes, ids, trials)
    return hyperloglog.estimate(registers) / count - 1


@pytest.mark.parametrize("count", [1, 600, 2_000, 5_000, 10_000, 20_000, 100_000])
def test_oracle_estimate_keeps_its_standard_error(count):
    """Over the whole range, the crossover of the classical estimators (2.5 m) among it."""
    errors = relative_errors(count, trials=100)
    assert np.sqrt(np.mean(errors**2)) < 1.2 * STANDARD_ERROR
    assert abs(errors.mean()) < 4 * STANDARD_ERROR / np.sqrt(100)
    assert np.abs(errors).max() < 4.5 * STANDARD_ERROR


def test_oracle_estimate_is_as_good_as_datasketches_of_the_same_size():
    ours = relative_errors(30_000, trials=40)
    theirs = []
    for seed in range(40):
        sketch = datasketches.hll_sketch(hyperloglog.INDEX_BITS, datasketches.HLL_8)
        for value in different(30_000, seed).tolist():
            sketch.update(value)
        theirs.append(sketch.get_estimate() / 30_000 - 1)
    # Fed in one stream, theirs may use the order of arrival and so do a little better.
    assert np.sqrt(np.mean(ours**2)) < 1.6 * np.sqrt(np.mean(np.square(theirs)))


def test_estimate_of_no_hash_is_none_and_of_full_registers_is_finite():
    registers = np.zeros((2, hyperloglog.REGISTERS), np.uint8)
    registers[1] = 49
    empty, full = hyperloglog.estimate(registers).tolist()
    assert empty == 0
    assert full > 10**18


def test_estimate_does_not_feel_how_many_are_estimated_at_once():
    registers = hyperloglog.registers(different(3000, 1), np.zeros(3000, np.int64), 1)
    many = hyperloglog.estimate(np.repeat(registers, 600, axis=0))
    assert set(many.tolist()) == set(hyperloglog.estimate(registers).tolist())
    assert hyperloglog.estimate(registers[:0]).tolist() == []


def test_registers_keep_the_greatest_rank_and_join_by_maximum():
    a, b = different(5000, 1), different(5000, 2)
    zeros = np.zeros(5000, np.int64)
    one, other = (hyperloglog.registers(hashes, zeros, 1) for hashes in (a, b))
    both = hyperloglog.registers(np.concatenate((a, b)), np.zeros(10_000, np.int64), 1)
    assert (np.maximum(one, other) == both).all()
    ranks = hyperloglog.registers(np.array([0, 1, 2**51], np.uint64), np.arange(3), 3)[:, 0]
    assert ranks.tolist() == [53, 52, 1]
