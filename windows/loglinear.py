"""Log-linear buckets, cut from the bits of doubles.

The bits of a double, its sign turned so that they sort as numbers do, are its *place*: 52 bits of
mantissa under 11 of exponent. Dropping the lowest `shift` bits leaves a *bucket*: of places that
agree in all others, so of values that differ by at most 2**(shift - 52) of their size. The same on
every machine, and a coarser bucket is a union of finer ones.

Which shift? The least at which at most `BUCKETS_MAX` different buckets are left. That is a function
of the set of values: a part of them never needs a greater shift than the whole, so a union begins
at the greatest shift of its parts and finds its own, in whatever order parts meet. (The idea of
coarsening all buckets at once: Epicoco et al., "UDDSketch", 2020. A shift that follows from the
least and the greatest value alone would be spoilt by one zero, which lies a thousand octaves below
everything.)
"""

from __future__ import annotations

import numpy as np

from .algebra import Float64s, Int64s, Runs, UInt64s

BUCKETS_MAX = 512
_SIGN = np.uint64(1 << 63)
_BITS = 65


def places_of(values: Float64s) -> UInt64s:
    """The places of finite doubles, which ascend as they do; -0.0 counts as 0.0.

    >>> places = places_of(np.array([-2.5, -0.0, 0.0, 5e-324, 1.0]))
    >>> np.diff(places.astype(object)).tolist()[1:3]
    [0, 1]
    """
    bits = (values + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def values_at(places: UInt64s) -> Float64s:
    """The doubles at these places; places past the greatest double stand for it.

    >>> values_at(places_of(np.array([-2.5, 1e300]))).tolist()
    [-2.5, 1e+300]
    """
    greatest, least = places_of(np.array([1.0, -1.0]) * np.finfo(np.float64).max)
    places = np.clip(places, least, greatest)
    return np.where(places & _SIGN, places ^ _SIGN, ~places).view(np.float64)


def middles(buckets: UInt64s, shifts: UInt64s) -> Float64s:
    """The value in the middle of each bucket; at shift 0 the one value that it holds.

    0.0 stands for the bucket that holds it, with values below 2.3e-308 as a rule.
    """
    halves = (np.uint64(1) << shifts) >> np.uint64(1)
    return np.where(buckets == _SIGN >> shifts, 0.0, values_at((buckets << shifts) + halves))


def coarsen(
    places: UInt64s, counts: Int64s, ids: Int64s, shifts: UInt64s
) -> tuple[UInt64s, Int64s, Int64s, UInt64s]:
    """Buckets with their counts of every run, and the shift of every run.

    `places` (n,) with `counts` and the numbers of their runs `ids`, in any order; `shifts` (k,) is
    what each run's shift is at least. Returns buckets, counts and ids of the buckets, in order of
    run and bucket, and the shifts (k,).
    """
    order = np.lexsort((places, ids)) if len(shifts) > 1 else np.argsort(places)
    buckets, counts, ids = places[order] >> shifts[ids[order]], counts[order], ids[order]
    buckets, counts, ids = _merged(buckets, counts, ids)
    crowded = np.flatnonzero(np.bincount(ids, minlength=len(shifts)) > BUCKETS_MAX)
    if len(crowded):
        more = np.zeros(len(shifts), np.uint64)
        chosen = np.isin(ids, crowded)
        more[crowded] = _missing_shift(buckets[chosen], np.searchsorted(crowded, ids[chosen]))
        buckets, counts, ids = _merged(buckets >> more[ids], counts, ids)
        shifts = shifts + more
    return buckets, counts, ids, shifts


def _missing_shift(buckets: UInt64s, ids: Int64s) -> UInt64s:
    # Neighbours fall together at the shift that drops the highest bit in which they differ. So at a
    # shift s there are 1 + (neighbours whose highest different bit is above s) buckets left.
    inside = ids[1:] == ids[:-1]
    highest = _bit_length((buckets[1:] ^ buckets[:-1])[inside])
    run_count = int(ids[-1]) + 1
    seen = np.bincount(ids[1:][inside] * _BITS + highest, minlength=run_count * _BITS)
    seen = seen.reshape(run_count, _BITS)
    above = seen.sum(axis=1)[:, None] - np.cumsum(seen, axis=1)
    shifts: Int64s = np.argmax(above + 1 <= BUCKETS_MAX, axis=1)
    return shifts.astype(np.uint64)


def _bit_length(words: UInt64s) -> Int64s:
    high, low = words >> np.uint64(32), words & np.uint64(0xFFFFFFFF)
    of_high = np.frexp(high.astype(np.float64))[1].astype(np.int64)
    of_low = np.frexp(low.astype(np.float64))[1].astype(np.int64)
    return np.where(high > 0, of_high + 32, of_low)


def _merged(buckets: UInt64s, counts: Int64s, ids: Int64s) -> tuple[UInt64s, Int64s, Int64s]:
    runs = Runs.of_changes(ids, buckets)
    if runs.count == runs.size:
        return buckets, counts, ids
    return buckets[runs.starts], np.add.reduceat(counts, runs.starts), ids[runs.starts]
