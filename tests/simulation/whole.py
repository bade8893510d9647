"""What must hold of a whole installation at rest, whatever has happened to it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from tegula.engine.runtime.engine import Engine
from tegula.engine.runtime.housekeeping import outcomes
from tegula.schemas.time import MINUTE_US, parse_duration
from tegula.state.registry import BuildRow, Registry
from tests.oracle import naive
from tests.simulation.checks import check_archive
from tests.simulation.copies import Copies
from tests.simulation.redriving import driven
from tests.simulation.values import check_values
from tests.simulation.views import AHEAD_US, POOL, UNIQUE, ViewFacts

Records = dict[str, list[naive.Record]]


def check_whole(
    engine: Engine, registry: Registry, records: Records, copies: Copies, chance: random.Random
) -> Counter[str]:
    """Compare every live build with the raw records of each stream; then archive and dead letter.

    The engine has taken everything in. Notes in `records` what the archive says of copies. Returns
    how much was compared, by what it is.
    """
    settings, streams = engine.settings, list(records)
    facts = {one.fingerprint: one for one in POOL}
    live = registry.builds(("live",))
    assert set(registry.catalogue().active.values()) <= {row.id for row in live}
    waiting = registry.builds(("catching_up",))
    assert not waiting, f"still catching up: {waiting}"
    ordinals = {name: registry.partitions(name) for name in streams}
    redriven = {
        name: driven(settings.redriven_path(name), records[name], ordinals[name])
        for name in streams
    }
    copies.take(settings.lake_path, records, redriven, ordinals[UNIQUE])
    compared = Counter(builds=len(live))
    for row in live:
        mine = facts[row.structural]
        compared["values"] += _check_build(engine, row, mine, records, redriven, chance)
    for stream, reader in engine.streams.items():
        check_archive(reader, settings.lake_path, stream, records[stream], redriven[stream])
        compared["archived records"] += len(records[stream]) + len(redriven[stream])
    return Counter({f"{what} compared": count for what, count in compared.items()})


def _check_build(
    engine: Engine,
    row: BuildRow,
    facts: ViewFacts,
    records: Mapping[str, list[naive.Record]],
    redriven: Mapping[str, list[naive.Record]],
    chance: random.Random,
) -> int:
    mine = [*records[facts.stream], *redriven[facts.stream]]
    folded, expected = naive.judge(mine, facts.rules())
    nulls = sum(bool(record.row.get("tombstone")) for record in records[facts.stream])
    expected.update(filtered=nulls, dead_lettered=-nulls)
    found = dict(outcomes(engine.shards, row.id))
    assert found == {name: expected[name] for name in found}, f"build {row.id} of {facts}"
    # Where reading is exact from, at the latest: by the newest of all partitions.
    good = (r for r in records[facts.stream] if not naive.is_dead(r, AHEAD_US))
    newest_us = max((min(r.at_us or 0, r.log_us) for r in good), default=0)
    horizon_us = newest_us - parse_duration(facts.history)
    now_us = engine.now_us()
    instants = (now_us, now_us - chance.randint(0, MINUTE_US))
    return sum(check_values(engine, row, facts, folded, at, horizon_us) for at in instants)
