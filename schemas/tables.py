"""Tables: rows that hold from an instant on, as features of their key.

A table is no third thing beside streams and views. Its rows are events of a stream, their validity
time is the event time, and a feature is a column of the newest row: `last(1)` including the instant
itself, where a null is a value like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .agg import last as last_of
from .definitions import Entity, FeatureView, Stream
from .ordered_windows import last
from .time import Duration
from .types import DataType, Timestamp


def Table(  # noqa: N802 - it stands among the definitions, and is named so
    name: str,
    *,
    entity: Entity,
    schema: Mapping[str, DataType],
    valid_from: str,
    within: Duration | None = None,
    ahead: Duration = "30d",
    history: Duration = "15m",
    owner: str = "",
    description: str = "",
) -> FeatureView:
    """A table source: at an instant, each column of the key's newest row that holds by then.

    `schema` are the columns that become features; the entity's keys and `valid_from`, the instant
    from which a row holds, need not be in it. Of rows of one key and instant the one that came last
    counts. Without a row of the key the value is null, `NOT_FOUND`; a null of the row is null,
    `EMPTY`. `within`: a row older than that holds no more. `ahead`: how far in the future a row may
    begin to hold. Rows come by `tegula materialize`, or by a push to the stream of this name.

    >>> from .types import Float64, String
    >>> shop = Entity("shop", keys={"shop_id": String})
    >>> daily = Table("daily", entity=shop, schema={"mean": Float64}, valid_from="day")
    >>> daily.stream.name, [*daily.stream.schema], [*daily.features]
    ('daily', ['shop_id', 'mean', 'day'], ['mean'])
    """
    given: Any = entity  # what is no entity is for validation to find
    keys = given.keys if isinstance(given, Entity) else {}
    columns = {column: kind for column, kind in schema.items() if column not in keys}
    stream = Stream(
        name,
        schema={**keys, **columns, valid_from: schema.get(valid_from, Timestamp)},
        event_time=valid_from,
        ahead=ahead,
        owner=owner,
        description=description,
    )
    newest = last(1, within=within, include_instant=True)
    return FeatureView(
        name,
        entity=entity,
        stream=stream,
        features={c: last_of(c).over(newest) for c in columns if c != valid_from},
        history=history,
        owner=owner,
        description=description,
    )
