"""How many different values a range of rows has.

A row's value is new in a range if the row before it with that value lies before the range. So the
different values of `[lo, hi)` are its rows i with `previous[i] < lo`: rows of two bounds, which a
wavelet matrix counts in log n steps, a level at a time (Claude, Navarro, Ordonez, "The wavelet
matrix", 2015).

The state of `approx_distinct` passes to registers at 513 values; so what it is worth then is asked
of the registers. How many of these are at least r is again a number of different values: of the
registers that hashes of rank r and more choose. There are half as many such hashes with each r, so
all ranks together cost twice the first one, and no registers are ever made.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from .. import hyperloglog
from ..aggregates.distinct import EXACT_MAX
from ..algebra import Bools, Column, Int64s, UInt64s
from ..hashing import hash_values
from ..lifting import expanded, take_rows
from .prefixes import valid_before

SHORT: Final = 48
"""Rows up to which those of a range are looked at one by one."""

_ROWS_MAX: Final = 1 << 23


def distinct(column: Column, lo: Int64s, hi: Int64s) -> Int64s:
    """The value of `approx_distinct` over each range of rows, int64 (q,).

    Rows of different keys must not be in one range. O((n + q) log n).
    """
    used, lo, hi = _in_use(len(column.values), lo, hi)
    if len(used) < len(column.values):
        column = take_rows(column, used)
    hashes = hash_values(column.values)
    if column.valid is not None:
        before = valid_before(column.valid)
        hashes, lo, hi = hashes[column.valid], before[lo], before[hi]
    if not len(hashes):
        return np.zeros(len(lo), np.int64)
    numbers = np.zeros(len(lo), np.int64)
    # Up to so many rows have no more values. Of the others, most are told by their registers.
    many = np.flatnonzero(hi - lo > EXACT_MAX)
    told = np.zeros(len(lo), bool)
    if len(many):
        numbers[many], told[many] = _estimated(hashes, lo[many], hi[many])
    few = np.flatnonzero(~told)
    used, begin, end = _in_use(len(hashes), lo[few], hi[few])
    codes = pa.array(hashes[used]).dictionary_encode().indices.to_numpy().astype(np.int64)
    exact = _different(_previous(codes), begin, end)
    numbers[few] = np.where(exact <= EXACT_MAX, exact, numbers[few])
    return numbers


def _in_use(size: int, lo: Int64s, hi: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Which of `size` rows lie in some range, and the ranges as ranges of them."""
    change = np.bincount(lo, minlength=size + 1) - np.bincount(hi, minlength=size + 1)
    is_used = np.cumsum(change[:-1]) > 0
    before = valid_before(is_used)
    return np.flatnonzero(is_used), before.take(lo), before.take(hi)


def _estimated(hashes: UInt64s, lo: Int64s, hi: Int64s) -> tuple[Int64s, Bools]:
    """What the registers of each range of hashes estimate, and whether so many of them are chosen
    that there must be more values than a state counts exactly."""
    register, rank = hyperloglog.places_of(hashes)
    reaching = np.zeros((len(lo), hyperloglog.RANKS + 1), np.int64)
    reaching[:, 0] = hyperloglog.REGISTERS
    small = register.astype(np.uint16)
    by_register = np.argsort(small, kind="stable")
    # Of the rows in that order.
    register_of, rank_of = small.take(by_register), rank.take(by_register)
    for least in range(1, hyperloglog.RANKS):
        is_reached = rank >= least
        if not is_reached.all():
            before = valid_before(is_reached)
            lo, hi = before.take(lo), before.take(hi)
            # The order by register of fewer rows is the same one, with the others left out.
            stays = rank_of >= least
            by_register = before.take(np.compress(stays, by_register))
            register_of, rank_of = np.compress(stays, register_of), np.compress(stays, rank_of)
            rank = np.compress(is_reached, rank)
        if not len(rank):
            break
        reaching[:, least] = _different(_linked(by_register, register_of), lo, hi)
    numbers = hyperloglog.estimate_of(reaching[:, :-1] - reaching[:, 1:])
    return numbers, reaching[:, 1] > EXACT_MAX


def _different(previous: Int64s, lo: Int64s, hi: Int64s) -> Int64s:
    """How many rows of each range have their previous one with the same value before it."""
    lengths = hi - lo
    numbers = np.zeros(len(lo), np.int64)
    is_short = lengths <= SHORT
    short, long = np.flatnonzero(is_short), np.flatnonzero(~is_short)
    numbers[short] = _looked_at(previous, lo[short], hi[short])
    if len(long):
        numbers[long] = _counted(previous, lo[long], hi[long])
    return numbers


def _previous(codes: Int64s) -> Int64s:
    """For each row, the last row before it with the same code, at least 0; -1 where there is
    none."""
    size = len(codes)
    row_bits = size.bit_length()
    if int(codes.max(initial=0)).bit_length() + row_bits > 63:
        order = np.argsort(codes, kind="stable")
        return _linked(order, codes.take(order))
    packed = (codes << row_bits) | np.arange(size)
    packed.sort()
    return _linked(packed & ((1 << row_bits) - 1), packed >> row_bits)


def _linked(order: Int64s, codes: np.ndarray) -> Int64s:
    """The previous row of each, from the rows in order of their codes, and these codes."""
    previous = np.empty(len(order), np.int64)
    previous[order[:1]] = -1
    previous[order[1:]] = np.where(codes[1:] == codes[:-1], order[:-1], -1)
    return previous


def _looked_at(previous: Int64s, lo: Int64s, hi: Int64s) -> Int64s:
    """How many rows of each range have their previous one before it, row by row."""
    owner, row = expanded(lo, hi)
    return np.bincount(owner[previous[row] < lo[owner]], minlength=len(lo)).astype(np.int64)


def _counted(previous: Int64s, lo: Int64s, hi: Int64s) -> Int64s:
    """The same by a wavelet matrix over the rows that lie in some range."""
    used, left, right = _in_use(len(previous), lo, hi)
    # Places count from the begin of each stretch of used rows: no range reaches past its stretch.
    begins = np.ones(len(used), bool)
    begins[1:] = np.diff(used) > 1
    begin = np.maximum.accumulate(np.where(begins, used, 0))
    place = np.maximum(previous.take(used) - begin + 1, 0).astype(np.uint32)
    # previous < lo, counted from the begin
    bound = (lo - begin[left] + 1).astype(np.uint32)
    bits = max(int(max(place.max(), bound.max())).bit_length(), 1)
    return _smaller(place, bits, left, right, bound)


def _smaller(
    values: np.ndarray, bits: int, left: Int64s, right: Int64s, bound: np.ndarray
) -> Int64s:
    """How many of `values[left:right]` lie below `bound`, for each triple; values have `bits`."""
    numbers = np.zeros(len(left), np.int64)
    zeros = np.zeros(len(values) + 1, np.int32)
    for bit in range(bits - 1, -1, -1):
        is_zero = values & np.uint32(1 << bit) == 0
        np.cumsum(is_zero, out=zeros[1:])
        total = int(zeros[-1])
        zeros_left, zeros_right = zeros.take(left), zeros.take(right)
        goes_right = bound & np.uint32(1 << bit) != 0
        numbers += np.where(goes_right, zeros_right - zeros_left, 0)
        left = np.where(goes_right, total + left - zeros_left, zeros_left)
        right = np.where(goes_right, total + right - zeros_right, zeros_right)
        if bit:
            # `compress` takes a quarter of the time of brackets.
            values = np.concatenate((np.compress(is_zero, values), np.compress(~is_zero, values)))
    return numbers
