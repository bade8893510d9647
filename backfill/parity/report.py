"""What a check of parity finds, kept for people, for machines and for the servers' metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from ...engine.parity import keep_report

CAUSES: Final = ("late", "lag", "expired", "definition", "unexplained")
"""Why a served value is another one than history says.

`late`: events that came after it was served. `lag`: events that had come, and were not readable
yet. `expired`: events that came too late to be counted at all. `definition`: the definition is
another one since. `unexplained`: none of these, a fault of Tegula or of a store.
"""

SHOWN_MAX: Final = 50
EVENTS_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Event:
    """An event that makes the difference, or the value; instants are RFC 3339 text."""

    partition: str
    offset: int
    event_time: str | None
    log_time: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One served value that is not what history says, and why.

    `at` is the instant of the value. Statuses stand beside the values. `events` are those that
    make the difference where that can be told, else the newest that made the value; at most
    `EVENTS_MAX`.
    """

    cause: str
    feature: str
    key: Mapping[str, Any]
    at: str | None
    served: Any
    served_status: str
    recomputed: Any
    recomputed_status: str
    trace_id: str
    build: int
    events: Sequence[Event] = ()


@dataclass
class Report:
    """What a check of one service's served log found.

    `rows` were sampled of those since `since_us`; `pending` of them rest on events that are not
    archived yet, and were left for the next check. `compared` counts values, `floats` those that
    differ in last digits alone, which is within the bound that aggregates state. `skipped` counts
    values that say of themselves that they are not exact, by status. `faults` say what else could
    not be compared.
    """

    service: str
    at_us: int
    since_us: int
    seed: int
    rows: int = 0
    pending: int = 0
    compared: int = 0
    floats: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    by_feature: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def different(self) -> int:
        """Values that are not what history says."""
        return sum(self.causes.values())

    @property
    def share_equal(self) -> float | None:
        """The share of the compared values that history confirms; None if none was compared."""
        return None if not self.compared else 1 - self.different / self.compared

    def blame(self, difference: Difference) -> None:
        """Count a difference, and keep it if it is among the first; faults come before others."""
        self.causes[difference.cause] += 1
        self.by_feature[difference.feature] += 1
        self.differences.append(difference)
        if len(self.differences) > 2 * SHOWN_MAX:
            self.cut()

    def cut(self) -> None:
        """Keep what is worth showing: unexplained ones first."""
        self.differences.sort(key=lambda one: -CAUSES.index(one.cause))
        del self.differences[SHOWN_MAX:]

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "service": self.service,
            "at_us": self.at_us,
            "since_us": self.since_us,
            "seed": self.seed,
            "rows": self.rows,
            "pending": self.pending,
            "compared": self.compared,
            "different": self.different,
            "share_equal": self.share_equal,
            "floats": self.floats,
            "causes": {cause: self.causes[cause] for cause in CAUSES},
            "skipped": {what: count for what, count in sorted(self.skipped.items()) if count},
            "by_feature": dict(sorted(self.by_feature.items())),
            "differences": [asdict(one) for one in self.differences],
            "faults": list(self.faults),
        }

    def keep(self, folder: Path) -> None:
        """Keep it in a folder, in the place of the service's last one."""
        keep_report(folder, self.service, self.as_dict())
