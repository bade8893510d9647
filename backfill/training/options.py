"""How a training set is to be made, beside what it is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ...schemas.errors import BadDataset

CLOCKS: Final = ("event", "known")
INCLUDES: Final = ("status", "event_time", "bounds")
MEMORY_BYTES: Final = 1 << 30

Progress = Callable[[str, int, int | None], None]
"""Is told what goes on, how many units are done, and of how many if that is known."""


@dataclass(frozen=True, slots=True)
class Options:
    """The ways to make a set.

    `at` is the spine's column of instants, `zone` the time zone of those that name none; `keys`
    says which column stands for a key column, where the names differ. `clock`: an event counts at
    an instant if it had happened before (`event`), or if it was known before (`known`: its log
    timestamp + `landing_us`). `include` asks for columns beside the values. `memory_bytes` is
    about what is kept in memory, `cores` how many are used.
    """

    at: str = "at"
    zone: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    clock: str = "event"
    landing_us: int = 0
    include: tuple[str, ...] = ()
    memory_bytes: int = MEMORY_BYTES
    cores: int = 1

    def check(self) -> None:
        """Raises `BadDataset` for what has no meaning."""
        if self.clock not in CLOCKS:
            raise BadDataset("there is no such clock", got=repr(self.clock), expected=_of(CLOCKS))
        for one in self.include:
            if one not in INCLUDES:
                raise BadDataset("this cannot be included", got=repr(one), expected=_of(INCLUDES))
        if self.landing_us and self.clock != "known":
            raise BadDataset(
                "a landing delay has a meaning only by the clock `known`", got=f"clock {self.clock}"
            )
        if self.memory_bytes < 1 << 20 or self.cores < 1:
            raise BadDataset(
                "this is not enough to work with",
                got=f"{self.memory_bytes} bytes of memory, {self.cores} cores",
                expected="at least 1 MiB and 1 core",
            )


def _of(names: tuple[str, ...]) -> str:
    return f"one of {', '.join(names)}"
