"""Which log a stream is read from: its Kafka topic, or the embedded log of the project.

What was driven again of the stream, and what was imported, are partitions beside it.
"""

from __future__ import annotations

from ...connectors.imports import ImportFile
from ...connectors.kafka import KafkaLog
from ...connectors.local_log import LocalLog
from ...connectors.redrive import RedriveFile
from ...connectors.source import Log
from ...connectors.with_beside import LogWithBeside
from ...schemas.errors import SettingsError
from ..plan import StreamPlan
from ..settings import Settings


def open_log(stream: StreamPlan, settings: Settings) -> Log:
    """Open the log of `stream`, with what was driven again and imported.

    Raises `SettingsError` where a topic has no brokers, and what the log raises:
    `BrokerUnreachable` or `TopicMissing` for Kafka, `StateCorrupt` for a damaged embedded log.
    """
    return with_beside(_open(stream, settings), stream, settings)


def with_beside(log: Log, stream: StreamPlan, settings: Settings) -> Log:
    """A log of `stream`, with what was driven again and imported. Raises what these files raise."""
    redriven = RedriveFile(settings.redriven_path(stream.name), stream.name)
    imported = ImportFile(settings.imports_path(stream.name), stream.name)
    return LogWithBeside(log, (redriven, imported), stream.name)


def _open(stream: StreamPlan, settings: Settings) -> Log:
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
