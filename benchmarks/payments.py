"""What the benchmarks of ingest, memory and freshness run on: a view, a home, and its events.

Four aggregates over three windows each, of payments in JSON of about 90 bytes. Keys are zipf(1.2)
over at most 100 000, uniform over as many, or always the same one. Everything is made from a seed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

import tegula as tg
from tegula import agg, sliding
from tegula.connectors.local_log import LocalLog
from tegula.engine.apply import apply_definitions
from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import Settings
from tegula.schemas.codec import collect
from tests.services.kafka import Broker, installed_jars

STREAM = "payments"
KEY_COUNT = 100_000
PARTITIONS = 4
CHUNK_ROWS = 2_000
"""Events appended at once, as a busy server's group commit would."""


Features = Mapping[str, Any]


def every_window() -> Features:
    """Four aggregates over an hour, a day, and thirty days."""
    features = {}
    for length in ("1h", "24h", "30d"):
        window = sliding(length)
        features[f"count_{length}"] = agg.count().over(window)
        features[f"sum_{length}"] = agg.sum("amount").over(window)
        features[f"mean_{length}"] = agg.mean("amount").over(window)
        features[f"max_{length}"] = agg.max("amount").over(window)
    return features


def definitions(
    topic: str | None = None, features: Features | None = None, **stream: Any
) -> list[object]:
    """The stream (embedded, or a Kafka topic), its view, and a service of all features.

    `stream` is what else the stream says of itself.
    """
    card = tg.Entity("card", keys={"card_id": tg.String})
    payments = tg.Stream(
        STREAM,
        schema={
            "card_id": tg.String,
            "merchant": tg.String,
            "amount": tg.Float64,
            "at": tg.Timestamp.of("us"),
            **({"id": tg.Int64} if stream else {}),
        },
        event_time="at",
        disorder="5s",
        source=None if topic is None else tg.Kafka(topic=topic),
        **stream,
    )
    features = every_window() if features is None else features
    view = tg.FeatureView("spend", entity=card, stream=payments, features=features)
    return [card, payments, view, tg.FeatureService("fraud", version=1, features=[view])]


def make_home(
    folder: Path,
    *,
    topic: str | None = None,
    features: Features | None = None,
    stream: Mapping[str, Any] = MappingProxyType({}),
    **flags: object,
) -> Settings:
    """A project in `folder` with the definitions applied; `flags` are further settings."""
    settings = Settings(project=folder, in_file={}, **flags)  # type: ignore[call-arg, arg-type]
    found = collect(definitions(topic, features, **stream))
    apply_definitions(settings, found, author="benchmark", message="", now_us=now_us())
    return settings


def events(
    keys: str, count: int, seed: int, start_us: int, per_second: int, rows: int = CHUNK_ROWS
) -> Iterator[list[bytes]]:
    """Events in lists of `rows`: `per_second` in event time, up to two seconds out of order."""
    rng = np.random.default_rng(seed)
    for begin in range(0, count, 100 * rows):
        n = min(100 * rows, count - begin)
        if keys == "zipf":
            ids = np.minimum(rng.zipf(1.2, n), KEY_COUNT)
        elif keys == "hot":
            ids = np.zeros(n, dtype=np.int64)
        else:
            ids = rng.integers(0, KEY_COUNT, n)
        at_us = start_us + (begin + np.arange(n)) * 1_000_000 // per_second
        at_us -= rng.integers(0, 2_000_000, n)
        amounts = rng.integers(1, 100_000, n) / 100
        made = encode(ids, amounts, at_us)
        for first in range(0, n, rows):
            yield made[first : first + rows]


def encode(ids: np.ndarray, amounts: np.ndarray, at_us: np.ndarray) -> list[bytes]:
    """Events as JSON, made column by column."""
    merchants = (ids + np.rint(100 * amounts).astype(np.int64)) % 50
    columns = {"card": ids, "merchant": merchants, "amount": amounts, "at": at_us}
    words = ['{"card_id":"c', "card", '","merchant":"m', "merchant", '","amount":', "amount"]
    words += [',"at":', "at", "}"]
    text = pl.concat_str([pl.col(w) if w in columns else pl.lit(w) for w in words])
    encoded: list[bytes] = pl.DataFrame(columns).select(text.cast(pl.Binary)).to_series().to_list()
    return encoded


def fill_local(settings: Settings, batches: Iterator[list[bytes]]) -> None:
    """Append events to the stream's embedded log."""
    log = LocalLog(settings.log_path(STREAM), STREAM, PARTITIONS)
    for batch in batches:
        log.append(batch, now_us=now_us)
    log.close()


def fill_kafka(bootstrap: str, topic: str, batches: Iterator[list[bytes]]) -> None:
    """Produce events to a topic, partitions in turn, and wait until all are there."""
    from confluent_kafka import Producer

    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 2_000_000}
    )
    for number, batch in enumerate(batches):
        for event in batch:
            producer.produce(topic, event, partition=number % PARTITIONS)
        producer.poll(0)
        if len(producer) > 500_000:
            producer.flush()
    left = producer.flush(60)
    assert left == 0, f"{left} events were not acknowledged"


@contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    """A Kafka broker of one's own, gone with the block."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    assert not missing, f"a Kafka broker needs {' and '.join(missing)}"
    one = Broker(folder / "kafka", installed_jars())
    try:
        one.start()
        yield one
    finally:
        one.stop()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one run."""
    with TemporaryDirectory(prefix="tegula-bench-") as folder:
        yield Path(folder)


def anonymous_bytes(pid: int | str = "self") -> int:
    """Memory of a process without mapped files (RssAnon); 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
