"""Records by chance: good ones of every age, and rubbish."""

from __future__ import annotations

import random
from typing import Any

from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tests.simulation.views import AHEAD_US

KEYS = ("a", "b", "c", "d")
RUBBISH = (b"nonsense", b"{}", b"[1]", b"", b'{"at": "x"}', None)


def drawn_row(chance: random.Random, now_us: int) -> dict[str, Any]:
    """A record that decodes: null or not in every field, dated before or a little after now."""
    return {
        "id": chance.choice((None, chance.randint(0, 30), chance.randint(0, 10**9))),
        "k": chance.choice((*KEYS, None)),
        "w": chance.choice((None, "", "red", "green", "blue")),
        "x": chance.choice((None, chance.uniform(-100, 100), float(chance.randint(-5, 5)))),
        "n": chance.choice((None, chance.randint(-3, 9))),
        "at": now_us - _age_us(chance, now_us),
    }


def stamp_us(chance: random.Random, now_us: int) -> int:
    """What a producer, whose clock may be wrong, says that it is."""
    return now_us + chance.choice(
        (
            0,
            0,
            0,
            -chance.randint(0, AHEAD_US),
            chance.randint(0, 2 * AHEAD_US),
            AHEAD_US + chance.choice((0, 1)),
            30 * HOUR_US,
            40_000 * DAY_US,
        )
    )


def _age_us(chance: random.Random, now_us: int) -> int:
    """How long before now a record is dated.

    Many fall on one instant, in several partitions, and many of these on the edge of a window.
    """
    return chance.choice(
        (
            0,
            chance.randint(0, 3 * SECOND_US),
            chance.randint(0, 3 * MINUTE_US),
            chance.randint(0, 2 * HOUR_US),
            chance.randint(0, 3 * DAY_US),
            chance.choice((SECOND_US, MINUTE_US, HOUR_US, DAY_US)),
            now_us % chance.choice((SECOND_US, MINUTE_US, HOUR_US)),
            -chance.randint(0, AHEAD_US + 1),
        )
    )
