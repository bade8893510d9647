"""How a training set is to be made, beside what it is of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ...schemas.errors import BadDataset

EVENT: Final = "event"
KNOWN: Final = "known"
SERVED: Final = "served"
CLOCKS: Final = (EVENT, KNOWN, SERVED)
MEMORY_BYTES: Final = 1 << 30
TRACE: Final = "_trace_id"
"""The column of trace ids that is kept beside a spine's own."""

_OF_EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "status": ("status",),
    "event_time": ("event_time",),
    "bounds": ("start", "end"),
}
_OF_ANSWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "status": ("status",),
    "event_time": ("served_at",),
    "request": ("request",),
    "trace": ("trace_id",),
}
_SERVICE: Final = re.compile(r"[^@]+(@\d+)?")


@dataclass(frozen=True, slots=True)
class Options:
    """The ways to make a set.

    `at` is the spine's column of instants, `zone` the time zone of those that name none; `keys`
    says which column stands for a key column, where the names differ. `clock`: an event counts at
    an instant if it had happened before (`event`), or if it was known before (`known`: its log
    timestamp + `landing_us`); or nothing is computed, and the newest answer counts that serving had
    given (`served`): of the service `served_by`, given at most `max_age_us` before, to a request of
    the trace that the column `trace` names; each of these as far as it is not None. `include` asks
    for columns beside the values. `memory_bytes` is about what is kept in memory, `cores` how many
    are used.
    """

    at: str = "at"
    zone: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    clock: str = EVENT
    landing_us: int = 0
    served_by: str | None = None
    max_age_us: int | None = None
    trace: str | None = None
    include: tuple[str, ...] = ()
    memory_bytes: int = MEMORY_BYTES
    cores: int = 1

    def check(self) -> None:
        """Raises `BadDataset` for what has no meaning."""
        if self.clock not in CLOCKS:
            raise BadDataset("there is no such clock", got=repr(self.clock), expected=_of(CLOCKS))
        for one in self.include:
            if one not in self._extras:
                raise BadDataset(
                    f"this cannot be included by the clock `{self.clock}`",
                    got=repr(one),
                    expected=_of(self._extras),
                )
        if self.landing_us and self.clock != KNOWN:
            raise BadDataset(
                "a landing delay has a meaning only by the clock `known`", got=f"clock {self.clock}"
            )
        self._check_answers()
        if self.memory_bytes < 1 << 20 or self.cores < 1:
            raise BadDataset(
                "this is not enough to work with",
                got=f"{self.memory_bytes} bytes of memory, {self.cores} cores",
                expected="at least 1 MiB and 1 core",
            )

    def _check_answers(self) -> None:
        given = {"served_by": self.served_by, "max_age": self.max_age_us, "trace": self.trace}
        named = [name for name, one in given.items() if one is not None]
        if named and self.clock != SERVED:
            raise BadDataset(
                f"`{named[0]}` has a meaning only by the clock `served`", got=f"clock {self.clock}"
            )
        if self.served_by is not None and not _SERVICE.fullmatch(self.served_by):
            raise BadDataset(
                "this is no service",
                where="served_by",
                got=repr(self.served_by),
                expected="such as fraud, or fraud@1",
            )

    @property
    def _extras(self) -> Mapping[str, tuple[str, ...]]:
        return _OF_ANSWERS if self.clock == SERVED else _OF_EVENTS

    @property
    def extras(self) -> tuple[str, ...]:
        """What stands behind the `|` in the names of the columns beside a feature's."""
        return tuple(
            one for asked, names in self._extras.items() if asked in self.include for one in names
        )


def _of(names: Iterable[str]) -> str:
    return f"one of {', '.join(names)}"
