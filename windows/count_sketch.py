"""How often each of very many values came, about, in 2560 counters.

CountSketch (Charikar, Chen, Farach-Colton, "Finding frequent items in data streams", 2002): five
rows of 512 counters. In each row the hash of a value names one counter and a sign, and each coming
adds the sign to it. A row's estimate of a count is its counter times the sign; the count is the
median of the five. All other values err the estimate of a row with mean 0 and a standard deviation
of sqrt(F / 512), F being the sum of the squares of their counts. By Chebyshev's inequality a row is
off by three times that in at most one case of nine, so three rows of five, and with them the
median, in at most 1.2 of a hundred.

Counters are sums: those of a union are the sum of both, in whatever order they meet.
"""

from __future__ import annotations

import numpy as np

from .algebra import Int64s, UInt64s

ROWS = 5
WIDTH = 512
COUNTERS = ROWS * WIDTH
_INDEX_BITS = 9
_BITS = _INDEX_BITS + 1  # of a hash that a row uses: a counter, and above it the sign


def counters(hashes: UInt64s, counts: Int64s, ids: Int64s, size: int) -> Int64s:
    """The counters of `size` sets, int64 of shape (size, 2560); `counts` of hash i in set `ids[i]`.

    >>> one = np.array([0], np.uint64), np.array([0])
    >>> sketch = counters(one[0], np.array([7]), one[1], 1)
    >>> sketch.shape, np.flatnonzero(sketch[0]).tolist(), estimates(sketch, *one).tolist()
    ((1, 2560), [0, 512, 1024, 1536, 2048], [7])
    """
    found = np.zeros(size * COUNTERS, np.int64)
    index, signs = _places(hashes)
    np.add.at(found, ids[:, None] * COUNTERS + index, counts[:, None] * signs)
    return found.reshape(size, COUNTERS)


def estimates(sketches: Int64s, hashes: UInt64s, ids: Int64s) -> Int64s:
    """About how often hash i came in sketch `ids[i]`, shape (n,); `sketches` (k, 2560)."""
    index, signs = _places(hashes)
    medians: Int64s = np.sort(sketches[ids[:, None], index] * signs, axis=1)[:, ROWS // 2]
    return medians


def _places(hashes: UInt64s) -> tuple[Int64s, Int64s]:
    # The counter in each row, and the sign, both int64 (n, ROWS); rows use different bits.
    parts = hashes[:, None] >> (np.arange(ROWS, dtype=np.uint64) * np.uint64(_BITS))
    index = (parts & np.uint64(WIDTH - 1)).astype(np.int64) + np.arange(ROWS) * WIDTH
    signs = 1 - 2 * ((parts >> np.uint64(_INDEX_BITS)) & np.uint64(1)).astype(np.int64)
    return index, signs
