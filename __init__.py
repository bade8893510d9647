"""Tegula, a streaming-first feature engine: events in once, right values everywhere.

Definitions are plain calls of the names below; `Client` reads and pushes over HTTP, `TestDriver`
runs the real engine in process, for tests; `own_aggregate` takes an aggregate that you wrote;
`training_set` and `features_in_range` give features at many instants of the past. These are
imported only when they are first used, so that a module of definitions loads without a server's or
an engine's libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .schemas import agg, errors
from .schemas.definitions import (
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    Kafka,
    Stream,
)
from .schemas.errors import DefinitionErrors, TegulaError
from .schemas.ordered_windows import last, session, since
from .schemas.outcomes import Outcome, Status
from .schemas.tables import Table
from .schemas.types import Bool, Float64, Int64, List, String, Timestamp
from .schemas.windows import calendar, hopping, lifetime, series, sliding, tumbling

if TYPE_CHECKING:
    from .backfill.training.api import training_set
    from .backfill.training.ranges import features_in_range
    from .serving.client import Client
    from .testing.driver import TestDriver
    from .windows.own import own_aggregate

__all__ = [
    "Bool",
    "Client",
    "DefinitionErrors",
    "Entity",
    "Feature",
    "FeatureService",
    "FeatureView",
    "Float64",
    "Int64",
    "Kafka",
    "List",
    "Outcome",
    "Status",
    "Stream",
    "String",
    "Table",
    "TegulaError",
    "TestDriver",
    "Timestamp",
    "agg",
    "calendar",
    "errors",
    "features_in_range",
    "hopping",
    "last",
    "lifetime",
    "own_aggregate",
    "series",
    "session",
    "since",
    "sliding",
    "training_set",
    "tumbling",
]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from .serving.client import Client

        return Client
    if name == "TestDriver":
        from .testing.driver import TestDriver

        return TestDriver
    if name == "own_aggregate":
        from .windows.own import own_aggregate

        return own_aggregate
    if name == "features_in_range":
        from .backfill.training.ranges import features_in_range

        return features_in_range
    if name == "training_set":
        from .backfill.training.api import training_set

        return training_set
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
