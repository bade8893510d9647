"""What a mirror left in its online store: how it knows its own work again, also after a start.

A store may be wiped, go back to an older copy of itself, or be written by others, while the engine
runs and while it does not; the state may be an older copy too. So every mark names the *session* of
the mirror that left it, random, and counts its writes; and the state keeps, in one row of the
shard, which session and how many writes the store is known to have taken. It is written together
with the outbox rows that those writes make needless: whatever a store has not taken that shows
less, the state has forgotten how to bring, and the store is not to be built upon.

    0 u32 | `m`   →   version u8 (1), 7 zero bytes, session u64, writes u64, next session u64

Keys are big-endian, values little-endian. The next session is that of an engine that has started
and perhaps written; it is the same as the session once the store is known to have taken something.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass, replace
from typing import Final, Protocol, Self

from ..schemas.errors import FormatUnknown
from .online.rows import Mark

_ROW: Final = struct.Struct("<B7xQQQ")
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Up to where the store is known to have taken what was written."""

    session: int
    writes: int
    next_session: int

    def encode(self) -> bytes:
        return _ROW.pack(_VERSION, self.session, self.writes, self.next_session)

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Raises `FormatUnknown` for a version that this one does not know."""
        if value[0] != _VERSION:
            raise FormatUnknown(where="mirrored", got=f"version {value[0]}", expected="version 1")
        return cls(*_ROW.unpack(value)[1:])

    def vouches(self, mark: Mark) -> bool:
        """Whether a store that has this mark has taken at least what it is known to have.

        >>> known = Mirrored(session=7, writes=3, next_session=9)
        >>> [known.vouches(Mark(1, 0, (), {}, *at)) for at in ((7, 2), (7, 3), (9, 1), (8, 5))]
        [False, True, True, False]
        """
        if mark.session == self.session:
            return mark.writes >= self.writes
        return mark.session == self.next_session


class State(Protocol):
    """Where the row is kept: a shard."""

    @property
    def incarnation(self) -> int:
        """Which state this is."""
        ...

    @property
    def commit_number(self) -> int:
        """Number of the last commit."""
        ...

    def mirrored(self) -> Mirrored | None:
        """The row; None before there is any."""
        ...

    def put_mirrored(self, mirrored: Mirrored) -> None:
        """Write the row."""
        ...


class Left:
    """What one mirror left in its store, and whether what lies there is that."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._known = state.mirrored()
        self._session = secrets.randbits(63) | 1
        self._writes = 0
        # The marks that the store may have: two after a write of which it is not known whether it
        # was done. None before the first look: then the state's row decides.
        self._marks: tuple[Mark, ...] | None = None

    def is_there(self, stored: Mark | None) -> bool:
        """Whether a store with this mark is as it was left; so it is taken to be before a look."""
        return self._marks is None or stored in self._marks

    def take(self, stored: Mark | None) -> bool:
        """Go on from a store with this mark; False if it is not to be built upon."""
        if stored is None or stored.incarnation != self._state.incarnation:
            return False
        if self._marks is None:
            known = self._known is not None and self._known.vouches(stored)
            trusted = known and stored.commit <= self._state.commit_number
        else:
            trusted = stored in self._marks
        if trusted:
            self._marks = (stored,)
        return trusted

    def lose(self) -> None:
        """Whatever lies there is not what was left."""
        self._marks = ()

    def next(self, mark: Mark) -> Mark:
        """The mark as it is about to be written."""
        if not self._writes:
            before = self._known or Mirrored(0, 0, 0)
            self._state.put_mirrored(replace(before, next_session=self._session))
        self._writes += 1
        mark = replace(mark, session=self._session, writes=self._writes)
        self._marks = (*(self._marks or ()), mark)
        return mark

    def taken(self, mark: Mark) -> Mirrored:
        """The store has taken this mark; what the state is to keep of it."""
        self._marks = (mark,)
        self._known = Mirrored(self._session, mark.writes, self._session)
        return self._known
