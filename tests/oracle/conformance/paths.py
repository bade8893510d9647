"""The ways by which a value can be had, each through the engine's own code.

* `stream`: events one by one through decoding, lifting and commits; the key's rows are read back
  from the state and finished at the instant.
* `replay`: the same log, taken in at once, archived, and replayed from the archive into a fresh
  build, whose state is read in the same way.
* `serving`: the online store that the mirror wrote, and the code that answers requests: a body of
  JSON in, a body of JSON out. What is past is asked for with `as_of`, as late as it still holds.
* `training`: log and archive, by `tegula.training_set`, when as much had come as for serving.

Where a case asks for what was at an instant there is a fifth, `history` (`history.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import polars as pl

import tegula as tg
from tegula.connectors import rfc3339
from tegula.schemas.outcomes import Status
from tegula.serving.answer import Answerer
from tegula.serving.metrics import Counters
from tegula.serving.plan import Resolved, resolve
from tegula.serving.protocol import Limits
from tegula.serving.read import FeatureReader
from tegula.serving.receipts import Waiter
from tegula.state.fold import gather
from tegula.state.keys import encode_key, shard_of
from tegula.state.shard import StoredKey
from tegula.windows.finish import finish
from tests.support.stores import segments_of

from .experiment import EVENT_TIME, Arrival, Experiment, Probe

SHARDS = 2
KEYS_A_REQUEST = 100
ONE_BY_ONE_MAX = 400
"""Up to so many events come one by one, each with a commit of its own; more in blocks."""

PATHS = ("stream", "replay", "serving", "training")

REFUSED = frozenset({"COARSE", "ERROR", "OVERFLOW", "STALE"})
"""Statuses of a value that is not the value."""


@dataclass(frozen=True)
class Got:
    """What one path gave for one probe: the reading's value, or a fault in words."""

    probe: Probe
    value: Any
    fault: str = ""


@dataclass(frozen=True)
class Found:
    """All that one path gave; `expired`: which arrivals, or (replayed) how many, were too late."""

    got: Sequence[Got]
    expired: tuple[int, ...] | int | None


def run(experiment: Experiment) -> dict[str, Found]:
    """What every path gives for every probe of an experiment."""
    return {**live(experiment), "replay": replayed(experiment)}


def live(experiment: Experiment) -> dict[str, Found]:
    """The stream path and the serving path: one engine, read at two ends."""
    views, arrivals = experiment.views(), experiment.arrivals
    streamed = by(experiment.probes, lambda probe: probe.after)
    served = by(experiment.probes, experiment.served_after)
    stops = sorted({*streamed, *served, len(arrivals)})
    single = len(arrivals) <= ONE_BY_ONE_MAX
    from_state: list[Got] = []
    from_store: list[Got] = []
    from_training: list[Got] = []
    expired: list[int] = []
    with tg.TestDriver(*views, at=start_us(experiment), shards=SHARDS) as driver:
        sent = 0
        for stop in stops:
            for block in _blocks(sent, stop, single):
                before = driver.outcomes("case")["expired"] if single else 0
                _send(driver, arrivals[block])
                driver.settle()
                if single and driver.outcomes("case")["expired"] > before:
                    expired.append(block.start)
            sent = stop
            from_state += _from_state(driver, experiment, streamed.get(stop, ()))
            if stop == len(arrivals):
                latest_us = max((p.at_us for p in served.get(stop, ())), default=0)
                driver.advance_to(max(driver.clock(), latest_us))
            from_store += _from_store(driver, experiment, served.get(stop, ()))
            from_training += from_events(driver, experiment, served.get(stop, ()))
    known = tuple(expired) if single else None
    return {
        "stream": Found(from_state, known),
        "serving": Found(from_store, None),
        "training": Found(from_training, None),
    }


def replayed(experiment: Experiment) -> Found:
    """The replay path: a fresh build from the archive for each stretch that a probe asks for."""
    views, arrivals = experiment.views(), experiment.arrivals
    wanted = by(experiment.probes, experiment.served_after)
    got: list[Got] = []
    with tg.TestDriver(*views, at=start_us(experiment), shards=SHARDS) as driver:
        sent = 0
        for stop in sorted({*wanted, len(arrivals)}):
            _send(driver, arrivals[sent:stop])
            sent = stop
            for view in views:
                before = _build(driver, view.name).id
                driver.backfill(view.name)
                assert _build(driver, view.name).id > before, "a replay makes a build of its own"
            got += _from_state(driver, experiment, wanted.get(stop, ()))
        return Found(got, driver.outcomes("case")["expired"])


def by(probes: Sequence[Probe], place: Any) -> dict[int, list[Probe]]:
    found: dict[int, list[Probe]] = defaultdict(list)
    for probe in probes:
        found[place(probe)].append(probe)
    return found


def start_us(experiment: Experiment) -> int:
    known = [arrival.known_us for arrival in experiment.arrivals]
    return min(known, default=0)


def _blocks(begin: int, end: int, single: bool) -> Iterator[slice]:
    if not single:
        yield slice(begin, end)
        return
    yield from (slice(place, place + 1) for place in range(begin, end))


def _send(driver: tg.TestDriver, arrivals: Sequence[Arrival]) -> None:
    """Append to one partition, so that the log's order is the order of arrival."""
    at_once: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for arrival in arrivals:
        known_us = max(driver.clock(), arrival.known_us)
        at_once[known_us].append({**arrival.row, EVENT_TIME: arrival.at_us})
    for known_us, rows in at_once.items():
        driver.advance_to(max(driver.clock(), known_us))
        driver.send("events", rows, partition="0")


def _build(driver: tg.TestDriver, view: str) -> Any:
    """The newest build of a view."""
    builds = [build for build in driver.engine.deployed.builds if build.view == view]
    return max(builds, key=lambda build: build.id)


def _from_state(
    driver: tg.TestDriver, experiment: Experiment, probes: Sequence[Probe]
) -> Iterator[Got]:
    """Probes read from the state: the key's rows gathered and finished at the probe's instant."""
    driver.settle()
    builds = [_build(driver, view.name) for view in experiment.views()]
    for probe in probes:
        parts: dict[str, tuple[Any, str]] = {}
        for build in builds:
            parts |= _of_build(driver, build, probe)
        yield _read(experiment, probe, parts)


def _of_build(driver: tg.TestDriver, build: Any, probe: Probe) -> dict[str, tuple[Any, str]]:
    """All features of a build for the probe's key at its instant: values and statuses."""
    kinds = [kind.kind for _, kind in build.entity_keys]
    # A null key belongs to no event, so there is nothing of it in the state.
    key, stored = b"", [StoredKey(None, None, (), ())]
    if None not in probe.key:
        key = encode_key(probe.key, kinds)
        stored = driver.engine.shards[shard_of(key, SHARDS)].read_keys(build.id, [key])
    found = gather(build.shape, [key], stored)
    segments = segments_of(driver.engine.shards, build.id, build.shape, [key])
    horizon_us = np.asarray(found.horizon_us)
    columns = finish(build.shape, found.tiles, probe.at_us, horizon_us, instants=segments)
    return {
        f"{build.view}:{feature.name}": (column.values[0], Status(int(column.statuses[0])).name)
        for feature, column in zip(build.shape.features, columns, strict=True)
    }


def _from_store(
    driver: tg.TestDriver, experiment: Experiment, probes: Sequence[Probe]
) -> Iterator[Got]:
    """Probes answered as requests, those of one instant together."""
    driver.settle()
    answerer, resolved = _answerer(driver)
    names = [f"{name}:{one}" for name, view in resolved.views.items() for one in view.known]
    instants = {
        f"{name}:{one}"
        for name, view in resolved.views.items()
        for one, feature in view.features.items()
        if feature.output.kind == "time"
    }
    for at_us, group in by(probes, lambda probe: probe.at_us).items():
        for begin in range(0, len(group), KEYS_A_REQUEST):
            some = group[begin : begin + KEYS_A_REQUEST]
            body: dict[str, Any] = {
                "features": names,
                "keys": {
                    name: [probe.key[place] for probe in some]
                    for place, name in enumerate(experiment.keys)
                },
            }
            if at_us != driver.clock():
                body["as_of"] = at_us
            answer = answerer.answer(orjson.dumps(body), "0" * 32)
            assert answer is not None, "few keys and no receipt: answered at once"
            assert answer.status == 200, answer.body
            content = orjson.loads(answer.body)
            for place, probe in enumerate(some):
                yield _read(experiment, probe, _parts(content, names, instants, place))


def from_events(
    driver: tg.TestDriver, experiment: Experiment, probes: Sequence[Probe], clock: str = "event"
) -> Iterator[Got]:
    """Probes as the rows of a training set."""
    if not probes:
        return
    keys = {
        name: pl.Series(
            [probe.key[place] for probe in probes], dtype=experiment.columns[name].polars
        )
        for place, name in enumerate(experiment.keys)
    }
    spine = pl.DataFrame({**keys, "probed": [probe.at_us for probe in probes]})
    made = tg.training_set(
        spine,
        experiment.views(),
        at="probed",
        clock=clock,
        include=["status"],
        project=driver.settings,
        now_us=max(driver.clock(), *(probe.at_us for probe in probes)),
    )
    names = made.manifest["columns"]
    columns = {name: one.to_list() for name, one in made.to_polars().to_dict().items()}
    for place, probe in enumerate(probes):
        parts = {
            name: (_in_us(columns[name][place]), columns[f"{name}|status"][place]) for name in names
        }
        if parts[names[0]][1] == "BEFORE_HISTORY":
            yield Got(probe, probe.expected)  # nobody knows what was before the first event
        else:
            yield _read(experiment, probe, parts)


def _in_us(value: Any) -> Any:
    """A value of a set as serving has it: instants in µs."""
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return value


def _parts(
    content: dict[str, Any], names: Sequence[str], instants: set[str], place: int
) -> dict[str, tuple[Any, str]]:
    """Values and statuses of one key in the body of an answer; instants in µs."""
    parts = {}
    for name in names:
        value = content["values"][name][place]
        if name in instants and value is not None:
            value = rfc3339.parse_one(value)
        statuses = content.get("status", {}).get(name)
        parts[name] = value, statuses[place] if statuses else "PRESENT"
    return parts


def _answerer(driver: tg.TestDriver) -> tuple[Answerer, Resolved]:
    """What a server has, over the driver's own online store and registry."""
    registry = driver.engine.registry
    catalogue, head = registry.catalogue(), registry.head()
    assert head is not None, "definitions were applied when the driver was made"
    resolved = resolve(
        catalogue.version, SHARDS, head.definitions, catalogue.active, registry.builds()
    )
    store = driver.engine.mirrors.reader()
    waiter = Waiter(store, registry.partitions, driver.clock)
    counters = Counters()
    answerer = Answerer(
        lambda: resolved, FeatureReader(store), waiter, Limits(), counters, driver.clock
    )
    return answerer, resolved


def _read(experiment: Experiment, probe: Probe, parts: dict[str, tuple[Any, str]]) -> Got:
    """A reading's value out of the values of all features."""
    values = {}
    for part, feature in experiment.features_of(probe.name).items():
        value, status = parts[feature]
        if status in REFUSED:
            return Got(probe, None, f"status {status}")
        values[part] = value
    return Got(probe, experiment.readings[probe.name].of(values))
