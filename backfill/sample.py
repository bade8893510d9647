"""Which keys of a build are looked at: the ones that were named, or a sample by their hash.

The sample are the keys with the least hashes under a seed, so it is the same wherever they are met
(in the state, in the archive), and another seed takes others. Memory holds the sample alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from ..windows.algebra import Bools


@dataclass(frozen=True, slots=True)
class Chosen:
    """The keys of one build to be looked at: `keys`, or those whose hash is at most `hash_max`."""

    keys: frozenset[bytes] = frozenset()
    hash_max: int = -1
    seed: int = 0

    def of(self, keys: Sequence[bytes]) -> Bools:
        """Which of these encoded keys are chosen."""
        if self.hash_max < 0:
            return np.fromiter((key in self.keys for key in keys), np.bool_, len(keys))
        hashes = (xxhash.xxh3_64_intdigest(key, seed=self.seed) for key in keys)
        return np.fromiter((one <= self.hash_max for one in hashes), np.bool_, len(keys))


class Sample:
    """Takes the keys that there are, and keeps the `count` of each build with the least hashes.

    >>> sample = Sample(2, seed=7)
    >>> names = [b"a", b"b", b"c"]
    >>> for name in names:
    ...     sample.offer(1, name)
    >>> chosen = sample.of(1)
    >>> len(chosen.keys), chosen.of(names).tolist() == [name in chosen.keys for name in names]
    (2, True)
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._least: dict[int, list[tuple[int, bytes]]] = {}
        self._more: set[int] = set()

    def offer(self, build: int, key: bytes) -> None:
        """A key that a build has."""
        least = self._least.setdefault(build, [])
        entry = -xxhash.xxh3_64_intdigest(key, seed=self._seed), key
        if len(least) < self._count:
            heapq.heappush(least, entry)
        else:
            self._more.add(build)
            if least and entry > least[0]:
                heapq.heapreplace(least, entry)

    def of(self, build: int) -> Chosen:
        """The sample of a build; all keys, also those that were not offered, if it has no more."""
        least = self._least.get(build, [])
        hash_max = -least[0][0] if build in self._more and least else (1 << 64) - 1
        if not self._count:
            hash_max = -1
        return Chosen(frozenset(key for _, key in least), hash_max, self._seed)


def named(keys: Mapping[int, Iterable[bytes]]) -> Mapping[int, Chosen]:
    """Exactly these keys of each build."""
    return {build: Chosen(frozenset(of_build)) for build, of_build in keys.items()}
