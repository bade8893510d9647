"""What the simulated runs of a session did, all together, said at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # who only sums up must not import what a mutant changes
    from tests.simulation.world import World

TOLD = "simulated"
"""The property of a test's report that holds what its run did."""


def told(world: World, history: Iterable[str], compared: Mapping[str, int]) -> Mapping[str, int]:
    """What one run did: what happened in it, what its faults were, and what was compared."""
    counts = Counter(action.replace("_", " ") for action in history)
    for fate, count in world.faults.met.items():
        kind = "refused" if fate.startswith(("refused", "unsure")) else "died of"
        counts[f"durable writes {kind}"] += count
    counts["records sent"] = sum(map(len, world.records.values()))
    return {"runs": 1, **counts, **compared}


def lines(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """What all runs did, a line each; nothing if there were none."""
    happened: Counter[str] = Counter()
    for report in reports:
        happened.update(dict(report.user_properties).get(TOLD, {}))
    if happened:
        yield from (f"{count:>12,}  {what}" for what, count in sorted(happened.items()))
        yield "0 lost, 0 doubled in all these runs"
