"""What the registry answers with: frozen rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

BuildStatus = Literal["planned", "catching_up", "live", "retired"]
STATUSES: Final[tuple[BuildStatus, ...]] = get_args(BuildStatus)
USABLE: Final[tuple[BuildStatus, ...]] = ("planned", "catching_up", "live")


@dataclass(frozen=True, slots=True)
class Version:
    """One applied set of definitions, as plain JSON; `number` counts from 1."""

    number: int
    definitions: dict[str, Any]
    author: str
    message: str
    created_us: int


@dataclass(frozen=True, slots=True)
class ViewPrint:
    """Fingerprints of a view: a new `structural` one needs a new build, `operational` does not."""

    structural: str
    operational: str


@dataclass(frozen=True, slots=True)
class BuildRow:
    """One build; `definition` is the whole version of definitions that it was made for."""

    id: int
    view: str
    version: int
    structural: str
    definition: dict[str, Any]
    status: BuildStatus
    created_us: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What serves: the build of each view, under the definitions of version `definitions`.

    `previous` is, for each view, the build that served before and could serve again. `version`
    grows with every change of any of these but `previous`; 0 before anything was applied.
    """

    version: int
    definitions: int
    active: Mapping[str, int]
    previous: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long operation has come; `payload` is its own plain JSON."""

    payload: dict[str, Any]
    updated_us: int
