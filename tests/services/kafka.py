"""A real Kafka broker for tests: one node, KRaft, started once a test run.

    def test_something(kafka: Broker):
        topic = kafka.create_topic(partitions=4)

Needs `java` and `mvn`; without them the tests that ask for a broker are skipped, and fail where
`CI=true`. The jars (46, 44 MB) are copied by Maven once and kept in the user's cache folder. Ports
are free ones on 127.0.0.1, the process is stopped by its id, and its log stays in pytest's folder
of temporary files, named in the failure if the broker does not come up.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
)

from tests.services.started import Started

HERE = Path(__file__).parent
VERSION = "4.3.1"
USER, PASSWORD = "alice", "alice-secret"
_START_TIMEOUT_S = 120.0
_REQUEST_TIMEOUT_S = 60.0

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""  # noqa: E501  (a properties file has no line breaks inside a value)

_LOG4J = """\
status=warn
appender.c.type=Console
appender.c.name=C
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d{ISO8601} %p %c{1} %m%n
rootLogger.level=WARN
rootLogger.appenderRef.c.ref=C
"""


class Broker(Started):
    """A broker in `folder`: its data, its `kafka.log`, its ports; may be stopped and started."""

    def __init__(self, folder: Path, jars: Path) -> None:
        super().__init__(folder, "Kafka")
        self._jars = jars
        self._ports = dict(zip(("plain", "sasl", "controller"), free_ports(3), strict=True))
        self._properties = folder / "server.properties"

    @property
    def bootstrap(self) -> str:
        """Where clients connect without a password."""
        return f"127.0.0.1:{self._ports['plain']}"

    @property
    def sasl_bootstrap(self) -> str:
        """Where clients must be `USER` with `PASSWORD` (SASL PLAIN)."""
        return f"127.0.0.1:{self._ports['sasl']}"

    def start(self) -> None:
        """Start the broker and wait until it answers; formats its storage the first time."""
        if not self._properties.exists():
            self._format()
        command = [*self._java(), "kafka.Kafka", str(self._properties)]
        self._run(command, self._answers, _START_TIMEOUT_S)

    def create_topic(
        self,
        name: str | None = None,
        *,
        partitions: int = 4,
        config: Mapping[str, str] | None = None,
    ) -> str:
        """Create a topic and wait until it can be used; returns its name."""
        name = name or f"t-{uuid.uuid4().hex[:12]}"
        topic = NewTopic(
            name, num_partitions=partitions, replication_factor=1, config=dict(config or {})
        )
        admin = self.admin()  # held: its answers are cancelled when it goes
        self._done(admin.create_topics([topic]))
        self._wait_for_partitions(name, partitions)
        return name

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until it is gone."""
        admin = self.admin()
        self._done(admin.delete_topics([name]))
        deadline_s = time.monotonic() + _REQUEST_TIMEOUT_S
        while name in admin.list_topics(timeout=_REQUEST_TIMEOUT_S).topics:
            assert time.monotonic() < deadline_s, f"topic {name} is still there"

    def add_partitions(self, name: str, partitions: int) -> None:
        """Let a topic have `partitions` partitions from now on."""
        admin = self.admin()
        self._done(admin.create_partitions([NewPartitions(name, partitions)]))
        self._wait_for_partitions(name, partitions)

    def alter_topic(self, name: str, config: Mapping[str, str]) -> None:
        """Set some of a topic's options."""
        entries = [
            ConfigEntry(option, value, incremental_operation=AlterConfigOpType.SET)
            for option, value in config.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
        admin = self.admin()
        self._done(admin.incremental_alter_configs([resource]))

    def admin(self) -> AdminClient:
        """A client for what else a test wants done."""
        return AdminClient({"bootstrap.servers": self.bootstrap})

    def _wait_for_partitions(self, name: str, partitions: int) -> None:
        admin = self.admin()
        deadline_s = time.monotonic() + _REQUEST_TIMEOUT_S
        while True:
            topic = admin.list_topics(name, timeout=_REQUEST_TIMEOUT_S).topics[name]
            if topic.error is None and len(topic.partitions) == partitions:
                return
            assert time.monotonic() < deadline_s, (
                f"topic {name} does not get {partitions} partitions"
            )

    def _done(self, futures: Mapping[str, object]) -> None:
        for future in futures.values():
            future.result(_REQUEST_TIMEOUT_S)  # type: ignore[attr-defined]

    def _answers(self) -> bool:
        fast = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100, "log_level": 0}
        try:
            client = AdminClient({"bootstrap.servers": self.bootstrap, **fast})
            return bool(client.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def _format(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "log4j2.properties").write_text(_LOG4J)
        text = _PROPERTIES.format(
            data=self._folder / "data", user=USER, password=PASSWORD, **self._ports
        )
        draft = self._folder / "server.properties.new"
        draft.write_text(text)
        command = [*self._java(), "kafka.tools.StorageTool", "format"]
        command += ["-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", str(draft)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"Kafka's storage tool failed:\n{done.stdout}{done.stderr}"
        draft.rename(self._properties)

    def _java(self) -> list[str]:
        return [
            "java",
            *("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Xshare:auto"),
            f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}",
            *("-cp", f"{self._jars}/*"),
        ]


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def installed_jars() -> Path:
    """The folder with the broker's jars; Maven copies them there the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tegula"
    jars = cache / f"kafka-{VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    # Several test processes may want it at once; one installs, the others wait for it.
    with (cache / f"kafka-{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.exists():
            draft = cache / f"kafka-{VERSION}.new"
            shutil.rmtree(draft, ignore_errors=True)
            command = ["mvn", "-q", "-B", "-f", str(HERE / "kafka_pom.xml")]
            command += ["dependency:copy-dependencies", "-DincludeScope=runtime"]
            command += [f"-DoutputDirectory={draft}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"Maven could not fetch Kafka:\n{done.stdout}{done.stderr}"
            draft.rename(jars)
    return jars


def require_programs() -> None:
    """Skip the test that asked if Java or Maven is missing; fail it where `CI=true`."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if not missing:
        return
    reason = f"a Kafka broker needs {' and '.join(missing)}: see .ci/services"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The run's broker. Each test makes topics of its own; one that stops a broker has its own."""
    require_programs()
    broker = Broker(tmp_path_factory.mktemp("kafka"), installed_jars())
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Broker]:
    """A broker for one test that stops it or breaks it; not started yet."""
    require_programs()
    broker = Broker(tmp_path / "kafka", installed_jars())
    yield broker
    broker.stop()
