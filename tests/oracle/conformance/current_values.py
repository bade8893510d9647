"""`current_values`: the newest row of a key at an instant, and how many keys have which.

The first is `last` over `lifetime`, including the instant; a null is a value. The second counts
keys, which leave one group and join another: an aggregate over rows that are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tegula as tg

from . import values
from .experiment import (
    MS,
    Experiment,
    Probe,
    Translation,
    as_ms,
    in_order,
    only,
    rows_of,
    seen_by,
    type_of,
)

SEMANTICS = "latest count_by_value times"


def translate(case: Mapping[str, Any], file: Mapping[str, Any]) -> Translation:
    """One experiment for the newest values; counts over them are a need."""
    only(case, "id origin events latest_expected count_by_value_expected note", "a case")
    done = Translation()
    rows = rows_of(case["events"])
    key, value = (name for name in rows[0] if name != "ts")
    arrivals = in_order(rows, "ts")
    window = tg.lifetime(include_instant=True)
    probes = []
    for number, one in enumerate(case.get("latest_expected", ())):
        only(one, "key at found value", "an expected value")
        at_us = as_ms(one["at"], "an instant") * MS
        where = f"lookup {number} ({one['key']} at {one['at']})"
        expected = (one["found"], one["value"])
        after = seen_by(arrivals, at_us)
        probes.append(Probe(where, "latest", (one["key"],), at_us, after, expected))
    if probes:
        done.experiments.append(
            Experiment(
                columns={name: type_of([row[name] for row in rows], name) for name in (key, value)},
                keys=(key,),
                arrivals=arrivals,
                readings={"latest": values.newest(value, window)},
                probes=probes,
            )
        )
    if case.get("count_by_value_expected"):
        done.need("a count over the newest row of each key (aggregates with retraction)")
    return done
