"""Features at regular instants, for a notebook: how they went over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from ...connectors.rfc3339 import parse_one
from ...engine.runtime.clock import now_us as wall_clock_us
from ...engine.settings import Settings, load_settings
from ...engine.steps.judge import Judge
from ...schemas.errors import BadDataset
from ...schemas.time import Duration, parse_duration
from .api import training_set
from .applied import applied_definitions
from .asked import Asked, Wanted, resolve
from .sources import StreamEvents

KEYS_MAX: Final = 10_000
ROWS_MAX: Final = 10_000_000


def features_in_range(
    features: Wanted | Sequence[Wanted],
    start: str,
    end: str,
    step: Duration,
    *,
    keys: Mapping[str, Sequence[Any]] | pl.DataFrame | None = None,
    project: str | Path | Settings | None = None,
    **options: Any,
) -> pl.DataFrame:
    """The features of each key at `start`, `start + step`, … before `end`: a row a key and instant.

    `keys` are columns of key values, one row a key; without them all keys that have an event before
    `end`, at most 10 000. `features` are of one entity. `options` are those of `training_set`.

    Raises `BadDataset` for a range that is empty, too long, or of too many keys.
    """
    settings = _settings(project)
    now_us = options.pop("now_us", None) or wall_clock_us()
    asked = resolve(features, None, applied_definitions(settings))
    begin_us, end_us, step_us = parse_one(start), parse_one(end), parse_duration(step)
    if begin_us is None or end_us is None or begin_us >= end_us or not step_us:
        raise BadDataset(
            "this is no range of instants",
            got=f"[{start}, {end}) by {step}",
            expected="instants such as 2024-05-01T00:00:00Z that ascend, and a step",
        )
    if len(asked.entities) > 1:
        raise BadDataset("the features are of several entities", expected="those of one entity")
    of_keys = _seen(asked, settings, end_us, now_us) if keys is None else pl.DataFrame(keys)
    count = -(-(end_us - begin_us) // step_us) * of_keys.height
    if count > ROWS_MAX:
        raise BadDataset("this is too much", got=f"{count} rows", expected=f"at most {ROWS_MAX}")
    instants = pl.DataFrame({"at": pl.Series(range(begin_us, end_us, step_us), dtype=pl.Int64)})
    spine = of_keys.join(instants.cast(pl.Datetime("us", "UTC")), how="cross")
    made = training_set(spine, features, project=settings, now_us=now_us, **options)
    return made.to_polars()


def _settings(project: str | Path | Settings | None) -> Settings:
    if isinstance(project, Settings):
        return project
    return load_settings(None if project is None else Path(project))


def _seen(asked: Asked, settings: Settings, end_us: int, now_us: int) -> pl.DataFrame:
    """All keys with an event before an instant, in order."""
    names = [name for name, _ in asked.entities[0]]
    schema = {name: type_.polars for name, type_ in asked.entities[0]}
    seen = pl.DataFrame(schema=schema)
    for stream in asked.streams:
        judges = [Judge(part.build) for part in asked.parts if part.build.stream == stream.name]
        for batch in StreamEvents(stream, settings, now_us).read():
            rows = batch.admitted
            for judge in judges:
                counts = judge.judge(rows).counts & (rows.event_us < end_us)
                new = rows.frame.select(names).filter(pl.Series(counts)).unique()
                seen = pl.concat([seen, new]).unique()
            if seen.height > KEYS_MAX:
                raise BadDataset(
                    "there are too many keys to take all",
                    got=f"more than {KEYS_MAX}",
                    hint="say which ones, with keys={…}",
                )
    return seen.sort(names)
