"""Which log a stream is read from: its Kafka topic, or the embedded log of the project."""

from __future__ import annotations

from ...connectors.kafka import KafkaLog
from ...connectors.local_log import LocalLog
from ...connectors.source import Log
from ...schemas.errors import SettingsError
from ..plan import StreamPlan
from ..settings import Settings


def open_log(stream: StreamPlan, settings: Settings) -> Log:
    """Open the log of `stream`.

    Raises `SettingsError` where a topic has no brokers, and what the log raises:
    `BrokerUnreachable` or `TopicMissing` for Kafka, `StateCorrupt` for a damaged embedded log.
    """
    source = stream.source
    if source is None:
        return LocalLog(settings.log_path(stream.name), stream.name)
    bootstrap = source.bootstrap or settings.kafka_bootstrap
    if bootstrap is None:
        raise SettingsError(
            "no brokers are named for a stream that reads a Kafka topic",
            where=f"stream {stream.name!r}, topic {source.topic!r}",
            hint="set `kafka.bootstrap` in tegula.toml, or `bootstrap=` of the source",
        )
    return KafkaLog(bootstrap, source.topic, settings.kafka_options)
