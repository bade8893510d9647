"""Values of a project's online store, read as a server reads them, without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tegula.engine.online import online_reader
from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import Settings
from tegula.serving.plan import resolve
from tegula.serving.protocol import Limits, parse_request
from tegula.serving.read import FeatureReader
from tegula.state.registry import Registry

_LIMITS = Limits(1 << 24, 100_000)


def values_online(
    settings: Settings, names: Sequence[str], keys: Mapping[str, Sequence[Any]]
) -> dict[str, list[Any]]:
    """The features `names` (`view:feature`) now, for the keys in `keys` (a column each)."""
    registry = Registry(settings.registry_url_or_default)
    catalogue, head = registry.catalogue(), registry.head()
    assert head is not None, "definitions are applied"
    resolved = resolve(
        catalogue.version, settings.shards, head.definitions, catalogue.active, registry.builds()
    )
    registry.close()
    body = orjson.dumps({"features": list(names), "keys": {k: list(v) for k, v in keys.items()}})
    request = parse_request(body, _LIMITS)
    plan = resolved.plan_of(request)
    encoded = [entity.encode(request.keys, request.key_count) for entity in plan.entities]
    store = online_reader(settings, now_us)
    try:
        reply = FeatureReader(store).read(
            plan, encoded, request.key_count, resolved.shards, now_us()
        )
    finally:
        store.close()
    return dict(reply.values)
