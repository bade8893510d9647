"""Serving and its served log over the engine of a test driver, on its scripted clock."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tegula.engine.settings import Settings
from tegula.serving.answer import Answerer
from tegula.serving.metrics import Counters
from tegula.serving.plan import resolve
from tegula.serving.protocol import Limits
from tegula.serving.read import FeatureReader
from tegula.serving.receipts import Waiter
from tegula.serving.served.recorder import Recorder
from tegula.testing.driver import TestDriver


def served(
    driver: TestDriver,
    keys: Mapping[str, Sequence[Any]],
    *,
    service: str = "fraud",
    trace_id: str = "ab" * 16,
    settle: bool = True,
    **request: Any,
) -> dict[str, Any]:
    """What serving answers now, which then is in the served log; the values by feature.

    Without `settle` what was sent is not taken in before.
    """
    if settle:
        driver.settle()
    settings: Settings = driver._settings.model_copy(update={"served_share": 1.0})
    registry = driver.engine.registry
    catalogue, head = registry.catalogue(), registry.head()
    assert head is not None
    resolved = resolve(
        catalogue.version,
        settings.shards,
        head.definitions,
        catalogue.active,
        registry.builds(),
        driver._own,
    )
    body = orjson.dumps({"service": service, "keys": keys, **request})
    store, counters = driver.engine.mirrors.reader(), Counters()
    recorder = Recorder(settings, counters, driver.clock)

    async def answer() -> bytes:
        answerer = Answerer(
            lambda: resolved,
            FeatureReader(store),
            Waiter(store, registry.partitions, driver.clock),
            Limits(),
            counters,
            driver.clock,
            recorder,
        )
        recorder.start()
        try:
            return (await answerer.answer_soon(body, trace_id)).body
        finally:
            await recorder.close()

    found = orjson.loads(asyncio.run(answer()))
    assert "error" not in found, found
    values: dict[str, Any] = found["values"]
    return values
