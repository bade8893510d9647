"""Deleting rows in Redis that no mark leads to, a page at a time.

They are of builds that were retired or written anew, and of engines that ended in the middle. No
reader finds them, so nobody waits for it: a sweep is a `SCAN` of each node, begun at every start
and whenever a generation was given up. What is deleted is deleted under the shard's mark, so that
an engine that was overtaken deletes nothing of another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ...schemas.errors import SinkError
from .redis_address import Node
from .redis_link import PAGE_KEYS, Link


class Owner(Protocol):
    """Whoever writes a shard."""

    generations: dict[int, str]

    def delete(self, keys: Sequence[bytes]) -> None:
        """Delete rows, by their whole keys."""
        ...


class Sweep:
    """A sweep over all nodes, step by step. `owners` are the writers by shard."""

    def __init__(self, link: Link, prefix: str, owners: Mapping[int, Owner]) -> None:
        self._link = link
        self._start = prefix.encode() + b"{"
        self._owners = owners
        self._nodes: list[Node] | None = None
        self._cursor = b"0"
        self._wanted = True

    def begin(self) -> None:
        """Sweep once more from the start, after what is under way."""
        self._wanted = True

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be looked at."""
        return not self._wanted and not self._nodes

    def step(self) -> None:
        """Look at one page; raises what the store raises."""
        if self.is_done:
            return
        try:
            self._step()
        except SinkError:
            self._nodes, self._cursor, self._wanted = None, b"0", True
            raise

    def _step(self) -> None:
        if not self._nodes:
            self._wanted = False
            self._nodes, self._cursor = self._link.nodes(), b"0"
        node = self._nodes[0]
        command = ("SCAN", self._cursor, "MATCH", self._start + b"*", "COUNT", PAGE_KEYS)
        ((self._cursor, keys),) = self._link.ask_node(node, [command])
        for shard, outdated in self._outdated(keys).items():
            self._owners[shard].delete(outdated)
        if self._cursor == b"0":
            del self._nodes[0]

    def _outdated(self, keys: Sequence[bytes]) -> dict[int, list[bytes]]:
        """The rows among `keys` that no mark leads to, by shard."""
        found: dict[int, list[bytes]] = {}
        for key in keys:
            number, _, rest = key[len(self._start) :].partition(b"}:")
            generation, colon, _ = rest.partition(b":")
            if not colon or not number.isdigit():
                continue  # a mark, or nothing of ours
            owner = self._owners.get(int(number))
            if owner is not None and generation.decode("latin-1") not in owner.generations.values():
                found.setdefault(int(number), []).append(key)
        return found
