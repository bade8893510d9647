"""`current_values`: the newest row of a key at an instant, and how many keys have which.

The first is `last` over `lifetime`, including the instant; a null is a value. The second counts
keys, which leave one group and join another: one key for everything holds a map that says of each
key of the case whether its newest value is the one, and those are counted. The cap of maps is its
bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

import tegula as tg
from tegula import agg
from tegula.schemas.validation.maps import CAP

from . import values
from .experiment import (
    MS,
    Arrival,
    Experiment,
    Needs,
    Probe,
    Reading,
    Translation,
    as_ms,
    in_order,
    only,
    rows_of,
    seen_by,
    type_of,
)

SEMANTICS = "latest count_by_value times"
EVERYTHING = "everything"
EVER = tg.lifetime(include_instant=True)


def translate(case: Mapping[str, Any], file: Mapping[str, Any]) -> Translation:
    """One experiment for the newest values, one for the counts over them."""
    only(case, "id origin events latest_expected count_by_value_expected note", "a case")
    done = Translation()
    rows = rows_of(case["events"])
    if case.get("latest_expected"):
        done.experiments.append(newest_of_keys(case["latest_expected"], rows))
    if case.get("count_by_value_expected"):
        try:
            done.experiments.append(keys_by_newest(case["count_by_value_expected"], rows))
        except Needs as need:
            done.need(str(need))
    return done


def newest_of_keys(
    expected: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> Experiment:
    """The newest value of each key, and whether there is any."""
    key, value = names_of(rows)
    arrivals = in_order(rows, "ts")
    probes = []
    for number, one in enumerate(expected):
        only(one, "key at found value", "an expected value")
        where = f"lookup {number} ({one['key']} at {one['at']})"
        of_key = (one["key"],)
        probes.append(probe(where, "latest", of_key, one, arrivals, (one["found"], one["value"])))
    return Experiment(
        columns={name: type_of([row[name] for row in rows], name) for name in (key, value)},
        keys=(key,),
        arrivals=arrivals,
        readings={"latest": values.newest(value, EVER)},
        probes=probes,
        of_history=True,
    )


def keys_by_newest(
    expected: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> Experiment:
    """How many keys have a value as their newest, and whether any ever had it."""
    key, value = names_of(rows)
    if len({row[key] for row in rows}) > CAP.most:
        raise Needs(f"a map of more than {CAP.most} keys (aggregates with retraction)")
    everything = [{**row, EVERYTHING: True} for row in rows]
    arrivals = in_order(everything, "ts")
    probes = []
    for number, one in enumerate(expected):
        only(one, "value at found count", "an expected count")
        where = f"count {number} ({one['value']} at {one['at']})"
        wanted = (one["found"], one["count"])
        probes.append(probe(where, f"of {one['value']}", (True,), one, arrivals, wanted))
    types = {name: type_of([row[name] for row in rows], name) for name in (key, value)}
    return Experiment(
        columns={**types, EVERYTHING: tg.Bool},
        keys=(EVERYTHING,),
        arrivals=arrivals,
        readings={f"of {one['value']}": keys_at(one["value"], key, value) for one in expected},
        probes=probes,
        of_history=True,
    )


def keys_at(wanted: Any, key: str, value: str) -> Reading:
    """The number of keys whose newest value this is: `(False, None)` if no key ever had it."""
    is_it = pl.col(value).is_null()
    if wanted is not None:
        is_it = (pl.col(value) == wanted).fill_null(value=False)
    parts = {
        "newest": agg.last(is_it, by=key, cap=CAP.most).over(EVER),
        "ever": agg.count(where=is_it).over(EVER),
    }
    return Reading(
        parts, lambda v: (True, sum(v["newest"].values())) if v["ever"] else (False, None)
    )


def names_of(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The columns of the key and of the value."""
    key, value = (name for name in rows[0] if name != "ts")
    return key, value


def probe(
    where: str,
    reading: str,
    key: tuple[Any, ...],
    expected: Mapping[str, Any],
    arrivals: Sequence[Arrival],
    value: tuple[bool, Any],
) -> Probe:
    """One expected value at its instant, after what has come by then."""
    at_us = as_ms(expected["at"], "an instant") * MS
    return Probe(where, reading, key, at_us, seen_by(arrivals, at_us), value)
