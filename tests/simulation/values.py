"""What must hold of the values of a build, read as serving reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tegula.engine.deployed import build_of
from tegula.engine.runtime.engine import Engine
from tegula.schemas.definitions import Definitions
from tegula.schemas.outcomes import Status
from tegula.schemas.time import SECOND_US
from tegula.serving.keys import KeyColumns
from tegula.serving.plan import FeaturePlan, Part
from tegula.serving.read import FeatureReader
from tegula.serving.single import single_key
from tegula.serving.single_code import quick
from tegula.state.keys import encode_key
from tegula.state.registry import BuildRow
from tests.oracle import naive
from tests.simulation.records import KEYS
from tests.simulation.views import ViewFacts, matches


def check_values(
    engine: Engine,
    row: BuildRow,
    facts: ViewFacts,
    folded: Sequence[naive.Record],
    at_us: int,
    horizon_us: int,
) -> int:
    """Every feature of every key at an instant is what its raw records give; how many there were.

    Reading is exact from `horizon_us` on.
    """
    build = build_of(row, Definitions())
    features = build.shape.features
    names = tuple(f"{row.view}:{feature.name}" for feature in features)
    single = quick(single_key(build.shape, features))
    part = Part(row.view, build.id, build.shape, 0, names, features, single)
    columns = KeyColumns("name", (("k", "string"),))
    plan = FeaturePlan(names, (columns,), (part,), (), (), frozenset({"k"}))
    reader = FeatureReader(engine.mirrors.reader())
    keys = [[encode_key((key,), ("string",)) for key in KEYS]]
    reply = reader.read(plan, keys, len(KEYS), len(engine.shards), at_us, detailed=True)
    again = reader.read(plan, keys, len(KEYS), len(engine.shards), at_us)
    assert again.values == reply.values
    for number, name in enumerate(names):
        assert again.statuses.get(name, [0] * len(KEYS)) == reply.statuses[name]
        for place, key in enumerate(KEYS):
            mine = [record for record in folded if record.key == key]
            got = reply.values[name][place], Status(reply.statuses[name][place])
            _check_value(facts, number, mine, at_us, horizon_us, *got)
    return len(names) * len(KEYS)


def _check_value(
    facts: ViewFacts,
    number: int,
    mine: Sequence[naive.Record],
    at_us: int,
    horizon_us: int,
    got: Any,
    status: Status,
) -> None:
    aggregate, column, _ = facts.features[number]
    window = facts.window(number)
    events = [
        naive.Event(
            r.at_us or 0,
            r.partition,
            r.offset,
            r.row[column] if column else None,
            matches(r.row),
        )
        for r in mine
    ]
    later = any(event.at_us >= at_us for event in events)
    where = f"{facts.view} {facts.features[number]} at {at_us}: {got!r} {status.name}"
    if status is Status.COARSE and later and at_us % SECOND_US:
        return
    if status is Status.COARSE and at_us < horizon_us:
        return  # producers whose clocks are fast may move it past the instant
    expected = naive.value(aggregate, window, events, at_us)
    assert naive.same(got, expected), f"{where}, expected {expected!r}"
    wanted = naive.status(expected, window, events, at_us, facts.retained_us())
    if later and status is Status.EMPTY and wanted == "NOT_FOUND":
        return  # only the tile's second is known, which the newest event may share
    assert status.name == wanted, f"{where}, expected {wanted}"
