"""The fifth way to a value: the rows as files, imported as history, and a training set of them.

No event is sent. What had come when a probe is asked is imported in pieces, one after the other;
each has whatever came since the one before. Where probes want exactly what was known before their
instant, all is imported once more with the delays after which it landed, and asked for by the clock
`known`: then no row may be missed, and none leak, by its instant of landing either.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import polars as pl

import tegula as tg

from .experiment import EVENT_TIME, Arrival, Experiment
from .paths import SHARDS, Found, Got, by, from_events, start_us


def imported(experiment: Experiment) -> Found:
    """What training sets of imported history give for every probe."""
    arrivals, wanted = experiment.arrivals, by(experiment.probes, experiment.served_after)
    got: list[Got] = []
    sent = 0
    with tg.TestDriver(*experiment.views(), at=start_us(experiment), shards=SHARDS) as driver:
        for stop in sorted(wanted):
            _import(driver, experiment, arrivals[sent:stop], f"until-{stop}")
            sent = stop
            got += from_events(driver, experiment, wanted[stop])
    if _is_by_known(experiment):
        got += _by_known(experiment)
    return Found(got, None)


def asked_for(experiment: Experiment) -> int:
    """How many values `imported` gives."""
    return len(experiment.probes) * (1 + _is_by_known(experiment))


def _is_by_known(experiment: Experiment) -> bool:
    """Whether every probe wants what was known before its instant, and some of it came late."""
    arrivals = experiment.arrivals
    return any(one.at_us is not None and one.known_us > one.at_us for one in arrivals) and all(
        probe.after == sum(one.known_us < probe.at_us for one in arrivals)
        for probe in experiment.probes
    )


def _by_known(experiment: Experiment) -> list[Got]:
    """The same from all rows at once, each with the instant at which it landed."""
    late: dict[int, list[Arrival]] = defaultdict(list)
    for one in experiment.arrivals:
        late[max(0, one.known_us - (one.at_us or 0))].append(one)
    with tg.TestDriver(*experiment.views(), at=start_us(experiment), shards=SHARDS) as driver:
        driver.advance_to(max(experiment.instants_us()) + 1)
        for delay_us, arrivals in sorted(late.items()):
            _import(driver, experiment, arrivals, f"after-{delay_us}", delay_us)
        return list(from_events(driver, experiment, experiment.probes, clock="known"))


def _import(
    driver: tg.TestDriver,
    experiment: Experiment,
    arrivals: Sequence[Arrival],
    name: str,
    delay_us: int = 0,
) -> None:
    """Import arrivals, in the order in which they came."""
    if not arrivals:
        return
    latest_us = max(max(one.known_us, one.at_us or 0) for one in arrivals)
    driver.advance_to(max(driver.clock(), latest_us + 1))
    rows = [{**one.row, EVENT_TIME: one.at_us} for one in arrivals]
    types = {name: dtype.polars for name, dtype in experiment.columns.items()}
    frame = pl.DataFrame(rows, schema={**types, EVENT_TIME: pl.Datetime("us")})
    with tempfile.TemporaryDirectory(prefix="tegula-") as folder:
        path = Path(folder) / "rows.parquet"
        frame.write_parquet(path)
        driver.import_rows("events", path, name=name, landing_delay=f"{delay_us}us")
