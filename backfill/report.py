"""What verifying a state finds: checks with what they looked at, and faults with their places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..connectors.rfc3339 import format_instant
from ..engine.plan import Build
from ..schemas.errors import StateCorrupt
from ..state.keys import decode_key
from ..state.verifying import FAULTS_MAX
from .at_rest import AtRest
from .positions import Odd


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it should be; what does not apply is None."""

    check: str
    cause: str
    shard: int | None = None
    build: int | None = None
    view: str | None = None
    key: Mapping[str, Any] | None = None
    feature: str | None = None
    at: str | None = None
    stored: str | None = None
    recomputed: str | None = None


@dataclass
class Check:
    """What one check looked at, by name, what it found, and what it has to say beside."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class Report:
    """All checks in order, and up to some hundred faults of each."""

    seed: int
    checks: list[Check] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def fault_count(self) -> int:
        """How many faults there are, those that are not named too."""
        return sum(check.faults for check in self.checks)

    def begin(self, name: str) -> Check:
        """Begin a check."""
        self.checks.append(Check(name))
        return self.checks[-1]

    def blame(self, fault: Fault, count: int = 1) -> None:
        """Note a fault of the check that was begun last."""
        check = self.checks[-1]
        if check.faults < FAULTS_MAX:
            self.faults.append(fault)
        check.faults += count

    def odd(self, home: AtRest, odd: Odd) -> None:
        """Note something odd about positions or counts, as a fault of the last check."""
        build, _ = named(home, odd.build, None)
        view = None if build is None else build.view
        check, texts = self.checks[-1].name, (odd.stored, odd.recomputed)
        self.blame(
            Fault(
                check,
                odd.cause,
                odd.shard,
                odd.build,
                view,
                stored=texts[0],
                recomputed=texts[1],
            )
        )


def named(
    home: AtRest, build: int | None, key: bytes | None
) -> tuple[Build | None, Mapping[str, Any] | None]:
    """A build by its number, and a key's columns; None what is not known."""
    of = next((one for one in home.deployed.builds if one.id == build), None)
    if of is None or key is None:
        return of, None
    try:
        values = decode_key(key, [type_.kind for _, type_ in of.entity_keys])
    except StateCorrupt:
        return of, {"key": key.hex()}
    names = [(name, type_.kind) for name, type_ in of.entity_keys]
    return of, {
        name: format_instant(value) if kind == "time" else value
        for (name, kind), value in zip(names, values, strict=True)
    }
