"""Telling the allocator to keep what it is given back, and the collector to look less often.

A micro-batch makes and frees hundreds of arrays of a megabyte. By default glibc maps and unmaps
each of them, and every first touch of a page is a fault: measured at half of the time of summing.
Large arrays are therefore taken from the heap, which is trimmed only past a bound.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_ARRAY_BYTES: Final = 64 << 20
_TRIM_BYTES: Final = 256 << 20


def keep_freed_memory() -> bool:
    """Serve arrays of up to 64 MiB from the heap, and keep up to 256 MiB of it when they go.

    Returns whether the allocator took it; without glibc nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _ARRAY_BYTES)) and bool(
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
    )


def collect_rarely() -> None:
    """Take what is there now out of the garbage collector's sight, and let it look less often.

    A step makes some hundred thousand small objects, none of them in a cycle: they go by their
    reference counts, and walking them on the way is a tenth of a mirror step (measured). Cycles
    are still found, after 100 000 objects instead of 700.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
