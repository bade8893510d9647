"""How many different values, exactly while they are few and nearly so beyond."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.types import DataType, Int64
from .. import hyperloglog
from ..algebra import (
    VALUE,
    Codes,
    Column,
    Int64s,
    Lists,
    Order,
    Runs,
    StateField,
    StateNeed,
    States,
    UInt64s,
    Values,
)
from ..hashing import by_hash, hash_values
from .support import (
    KINDS,
    binary,
    binary_of,
    buffers_of,
    column_of,
    empty_bytes,
    family_of,
    scalars,
)

EXACT_MAX = 512
_EXACT, _REGISTERS = 1, 2
_HEADER_BYTES = 8
_REGISTER_WORDS = hyperloglog.REGISTERS // 8


@dataclass(frozen=True, slots=True)
class DistinctHashes:
    """The set of the values' hashes, or, past 512 of them, its HyperLogLog registers.

    Bytes, little-endian: nothing for no values; else a tag byte and seven zeros, and then

    - tag 1: the different hashes, 1 to 512, ascending, uint64 each: 8 + 8 x their number;
    - tag 2: 4096 registers, one byte each: 4104 in all.

    A state is a function of the set of hashes, however it was put together: exactly the sets of
    more than 512 hashes are registers, for a part can only be registers if the whole is.
    """

    name: str = "distinct_hashes"
    version: int = 1
    fields: tuple[StateField, ...] = (StateField("hashes", "bytes"),)

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        column = column_of(column)
        hashes, ids = hash_values(column.values), runs.ids
        if column.valid is not None:
            hashes, ids = hashes[column.valid], ids[column.valid]
        return (_union(hashes, ids, _no_registers(), _no_ids(), runs.count),)

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        words, starts, sizes = _words_of(binary(states[0]))
        ids = runs.ids
        full = sizes == 1 + _REGISTER_WORDS
        full[full] = words[starts[full]] == _REGISTERS
        few = (sizes > 0) & ~full
        # Every word of a small set but its header is a hash.
        is_hash = np.repeat(few, sizes)
        is_hash[starts[few]] = False
        hash_ids = np.repeat(ids, np.where(few, sizes - 1, 0))
        rows = (starts[full] + 1)[:, None] + np.arange(_REGISTER_WORDS)
        registers = words[rows].view(np.uint8).reshape(-1, hyperloglog.REGISTERS)
        return (_union(words[is_hash], hash_ids, registers, ids[full], runs.count),)

    def reduce_one(self, states: States | Lists) -> tuple[bytes]:
        parts = [part for part in scalars(states)[0] if part]
        if len(parts) <= 1:
            return (parts[0] if parts else b"",)
        few = b"".join(part[_HEADER_BYTES:] for part in parts if part[0] == _EXACT)
        hashes = np.unique(np.frombuffer(few, "<u8"))
        full = [part for part in parts if part[0] == _REGISTERS]
        if not full and len(hashes) <= EXACT_MAX:
            return (_header(_EXACT) + hashes.tobytes(),)
        registers = hyperloglog.registers(hashes, np.zeros(len(hashes), np.int64), 1)[0]
        for part in full:
            np.maximum(registers, _registers_of(part), out=registers)
        return (_header(_REGISTERS) + registers.tobytes(),)

    def zero(self, count: int) -> States:
        return (empty_bytes(count),)


DISTINCT_HASHES = DistinctHashes()


@dataclass(frozen=True, slots=True)
class ApproxDistinct:
    """How many different values a column has; nulls are no value, and an empty window has 0.

    Exact up to 512 different values, then with a standard error of 1.6 % (1.04 / sqrt(4096), Ertl
    2017): of 1000 answers about 997 lie within 5 %. The same set of values gives the same answer
    in every window, order and replay. 8 + 8 bytes a value, 4104 at most.

    >>> runs, order = Runs(np.array([0, 3]), 4), Order(*[np.arange(4)] * 3)
    >>> column = Column(pa.array([b"ada", b"bo", b"ada", b"bo"], pa.large_binary()))
    >>> state = DISTINCT_HASHES.lift(column, order, runs)
    >>> APPROX_DISTINCT.finish((state,), {})[0].tolist()
    [2, 1]
    """

    name: str = "approx_distinct"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return family_of(self.name, input_kind, dict.fromkeys(KINDS, (StateNeed(DISTINCT_HASHES),)))

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Int64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        words, starts, sizes = _words_of(binary(states[0][0]))
        numbers = np.maximum(sizes - 1, 0)
        full = np.flatnonzero(sizes)
        full = full[words[starts[full]] == _REGISTERS]
        rows = (starts[full] + 1)[:, None] + np.arange(_REGISTER_WORDS)
        registers = words[rows].view(np.uint8).reshape(-1, hyperloglog.REGISTERS)
        numbers[full] = hyperloglog.estimate(registers)
        return numbers, np.full(len(numbers), VALUE, np.uint8)

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> int:
        state: bytes = states[0][0]
        if state and state[0] == _REGISTERS:
            return int(hyperloglog.estimate(_registers_of(state)[None, :])[0])
        return max(len(state) // 8 - 1, 0)


APPROX_DISTINCT = ApproxDistinct()


def _union(
    hashes: UInt64s, ids: Int64s, registers: Codes, register_ids: Int64s, count: int
) -> pa.LargeBinaryArray:
    # The states of `count` sets from hashes (any order, repeated) and registers (ascending ids).
    hashes, ids = _different(hashes, ids, count)
    numbers = np.bincount(ids, minlength=count)
    full = numbers > EXACT_MAX
    full[register_ids] = True
    which = np.flatnonzero(full)
    dense = np.cumsum(full) - 1  # the row of each full set in `merged`
    spill = full[ids]
    merged = hyperloglog.registers(hashes[spill], dense[ids[spill]], len(which))
    parts = Runs.of_changes(register_ids)
    owners = dense[register_ids[parts.starts]]
    merged[owners] = np.maximum(merged[owners], np.maximum.reduceat(registers, parts.starts))

    sizes = np.where(full, 1 + _REGISTER_WORDS, np.where(numbers > 0, 1 + numbers, 0))
    ends = np.zeros(count + 1, np.int64)
    np.cumsum(sizes, out=ends[1:])
    words = np.empty(ends[-1], np.uint64)
    is_hash = np.repeat(~full, sizes)
    filled = np.flatnonzero(sizes)
    words[ends[filled]] = np.where(full[filled], _REGISTERS, _EXACT)
    is_hash[ends[filled]] = False
    words[is_hash] = hashes[~spill]
    words[(ends[which] + 1)[:, None] + np.arange(_REGISTER_WORDS)] = merged.view(np.uint64)
    return binary_of(ends * 8, words)


def _different(hashes: UInt64s, ids: Int64s, count: int) -> tuple[UInt64s, Int64s]:
    # The different (id, hash), sorted by both.
    order = by_hash(hashes, ids, count)
    hashes, ids = hashes[order], ids[order]
    again = (hashes[1:] == hashes[:-1]) & (ids[1:] == ids[:-1])
    kept = np.ones(len(hashes), bool)
    kept[1:] = ~again
    return hashes[kept], ids[kept]


def _words_of(states: pa.LargeBinaryArray) -> tuple[UInt64s, Int64s, Int64s]:
    # All states as uint64 words, and where each begins and how many it has: all are multiples of 8.
    offsets, data = buffers_of(states)
    words = data[offsets[0] : offsets[-1]].view(np.uint64)
    ends = (offsets - offsets[0]) // 8
    return words, ends[:-1], np.diff(ends)


def _registers_of(state: bytes) -> Codes:
    return np.frombuffer(state, np.uint8, offset=_HEADER_BYTES)


def _header(tag: int) -> bytes:
    return tag.to_bytes(_HEADER_BYTES, "little")


def _no_registers() -> Codes:
    return np.zeros((0, hyperloglog.REGISTERS), np.uint8)


def _no_ids() -> Int64s:
    return np.zeros(0, np.int64)
