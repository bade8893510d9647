"""Mutants of training sets: one comparison between an instant and what was known is shifted.

Each lets the future leak by a microsecond, or forgets what was known by one. They lie where a
training set is made, and in the kernels that find values at many instants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from tests.mutants.rewriting import rewrite

TESTS = (
    "tests/integration/test_training_set_leaks.py",
    "tests/unit/windows/instants/test_rows.py",
    "tests/unit/backfill/training/test_compute.py",
    "tests/unit/backfill/training/test_instants_of.py",
    "tests/unit/windows/instants/test_values.py",
)
"""What must notice them; those that take longest come last."""

_UNTIL = (
    "until = replace(timeline, packed=np.maximum.accumulate(packed)).before("
    "\n            asked.key, asked.at_us\n"
)

LEAKS: Mapping[str, tuple[str, str, str]] = {
    "the window's newer edge +1 µs": (
        "windows.instants.windows",
        "np.maximum(lo, timeline.before(asked.key, end_us))",
        "np.maximum(lo, timeline.before(asked.key, end_us + 1))",
    ),
    "the window's newer edge -1 µs": (
        "windows.instants.windows",
        "np.maximum(lo, timeline.before(asked.key, end_us))",
        "np.maximum(lo, timeline.before(asked.key, end_us - 1))",
    ),
    "the window's older edge +1 µs": (
        "windows.instants.windows",
        "lo = timeline.before(asked.key, start_us)",
        "lo = timeline.before(asked.key, start_us + 1)",
    ),
    "the window's older edge -1 µs": (
        "windows.instants.windows",
        "lo = timeline.before(asked.key, start_us)",
        "lo = timeline.before(asked.key, start_us - 1)",
    ),
    "a key's zone is named 1 µs later": (
        "windows.instants.windows",
        "window.until(asked.at_us)",
        "window.until(asked.at_us + 1)",
    ),
    "a key's zone is named 1 µs sooner": (
        "windows.instants.windows",
        "window.until(asked.at_us)",
        "window.until(asked.at_us - 1)",
    ),
    "an event of the edge lies before it": (
        "windows.instants.timeline",
        "return np.searchsorted(self.packed, wanted)",
        'return np.searchsorted(self.packed, wanted, side="right")',
    ),
    "an event is known at the instant of landing": (
        "windows.instants.visible",
        "known_us[row] < asked.at_us[owner]",
        "known_us[row] <= asked.at_us[owner]",
    ),
    "an event is known 1 µs later, where others overtake it": (
        "windows.instants.visible",
        "known_us[row] < asked.at_us[owner]",
        "known_us[row] < asked.at_us[owner] - 1",
    ),
    "an event in turn is known at the instant of landing": (
        "windows.instants.visible",
        _UNTIL,
        _UNTIL.replace("at_us", "at_us + 1"),
    ),
    "session: a gap 1 µs shorter": (
        "windows.instants.visible",
        "event_us[1:] - event_us[:-1] > gap_us",
        "event_us[1:] - event_us[:-1] >= gap_us",
    ),
    "session: a gap 1 µs longer": (
        "windows.instants.visible",
        "event_us[1:] - event_us[:-1] > gap_us",
        "event_us[1:] - event_us[:-1] > gap_us + 1",
    ),
    "a key is found by an event of the instant": (
        "windows.instants.values",
        "hi = timeline.before(asked.key, asked.at_us)",
        "hi = timeline.before(asked.key, asked.at_us + 1)",
    ),
    "a key is found 1 µs past retention": (
        "windows.instants.values",
        "oldest_us = asked.at_us - shape.retention_us",
        "oldest_us = asked.at_us - shape.retention_us - 1",
    ),
    "a key is lost 1 µs before retention ends": (
        "windows.instants.values",
        "oldest_us = asked.at_us - shape.retention_us",
        "oldest_us = asked.at_us - shape.retention_us + 1",
    ),
    "last: within a span 1 µs longer": (
        "windows.instants.counted",
        "older_us = of.end_us - over.within_us",
        "older_us = of.end_us - over.within_us - 1",
    ),
    "last: within a span 1 µs shorter": (
        "windows.instants.counted",
        "older_us = of.end_us - over.within_us",
        "older_us = of.end_us - over.within_us + 1",
    ),
    "an event lands 1 µs sooner": (
        "backfill.training.buckets",
        "batch.log_us[rows] + landing_us",
        "batch.log_us[rows] + landing_us - 1",
    ),
    "an event lands 1 µs later": (
        "backfill.training.buckets",
        "batch.log_us[rows] + landing_us",
        "batch.log_us[rows] + landing_us + 1",
    ),
    "a label is read 1 µs later": (
        "backfill.training.compute",
        "at_us = pairs.at_us + part.delay_us",
        "at_us = pairs.at_us + part.delay_us + (part.delay_us > 0)",
    ),
    "a label is read 1 µs sooner": (
        "backfill.training.compute",
        "at_us = pairs.at_us + part.delay_us",
        "at_us = pairs.at_us + part.delay_us - (part.delay_us > 0)",
    ),
    "history begins 1 µs later": (
        "backfill.training.compute",
        "before = pairs.at_us + part.delay_us < begin.begins_us",
        "before = pairs.at_us + part.delay_us <= begin.begins_us",
    ),
    "history begins 1 µs sooner": (
        "backfill.training.compute",
        "before = pairs.at_us + part.delay_us < begin.begins_us",
        "before = pairs.at_us + part.delay_us < begin.begins_us - 1",
    ),
    "what comes late is late 1 µs longer": (
        "backfill.training.compute",
        "    later = end_us > event_us\n",
        "    end_us = end_us + 1\n    later = end_us > event_us\n",
    ),
    "a feature as label is known 1 µs late": (
        "backfill.training.assemble",
        "at_us + part.delay_us > now_us",
        "at_us + part.delay_us >= now_us",
    ),
    "a feature as label is known 1 µs early": (
        "backfill.training.assemble",
        "at_us + part.delay_us > now_us",
        "at_us + part.delay_us > now_us + 1",
    ),
    "a label is known 1 µs late": (
        "backfill.training.assemble",
        "at_us + delay_us > now_us",
        "at_us + delay_us >= now_us",
    ),
    "a label is known 1 µs early": (
        "backfill.training.assemble",
        "at_us + delay_us > now_us",
        "at_us + delay_us > now_us + 1",
    ),
    "a row may lie in the future": (
        "backfill.training.intake",
        "at_us > order.now_us",
        "at_us > order.now_us + 1",
    ),
    "a row of now is refused": (
        "backfill.training.intake",
        "at_us > order.now_us",
        "at_us >= order.now_us",
    ),
    "instants are not floored": (
        "backfill.training.instants",
        "physical // 1_000",
        "-(-physical // 1_000)",
    ),
    "split: the cut belongs to the part before": (
        "backfill.training.split",
        "(at_us >= begin) & (at_us < end)",
        "(at_us > begin) & (at_us < end)",
    ),
    "split: the gap begins 1 µs late": (
        "backfill.training.split",
        "(at_us >= begin) & (at_us < end)",
        "(at_us >= begin) & (at_us <= end)",
    ),
    "split: a gap may be 1 µs too short": (
        "backfill.training.split",
        "if embargo_us < outcome_us:",
        "if embargo_us < outcome_us - 1:",
    ),
}
"""In a module of `tegula`, what stands there once, and what stands there instead."""


def of_training_sets() -> Mapping[str, Callable[[], None]]:
    """Every one by name; calling it changes the modules as they are loaded."""
    return {f"training: {name}": partial(rewrite, *change) for name, change in LEAKS.items()}
