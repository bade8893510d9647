"""Parity, standing: what serving answered, held against what history says.

A sample of the served log is recomputed from the archive, event by event: no tiles, no state, no
commits and no online store take part, so what is wrong in any of these shows.

* `sample`: answers of the served log
* `events`: the archived events of their keys, judged
* `recompute`: the values that these events give
* `causes`: why a value differs
* `report`: what was found
* `checking`: the way in, `check`
"""

from __future__ import annotations

from .checking import check
from .report import CAUSES, Difference, Report

__all__ = ["CAUSES", "Difference", "Report", "check"]
