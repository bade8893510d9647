"""`TestDriver`: the real engine in process, for tests of definitions.

The same steps, state, mirror and reading as in production, without threads, servers or brokers, and
with a clock that stands still until the test moves it. `crash` lets everything go as a killed
process would; `restart` opens it again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import orjson

from ..backfill import redrive
from ..backfill.imports.importing import Done, import_rows
from ..backfill.imports.tables import Materialized, materialize, newest_us
from ..connectors.decode import JsonDecoder
from ..connectors.local_log import LocalLog
from ..connectors.source import Payloads, RawBatch
from ..engine.apply import apply_definitions
from ..engine.lake import lake_of
from ..engine.own import OwnAggregates, own_aggregates_of
from ..engine.runtime.clock import ScriptedClock
from ..engine.runtime.engine import Engine
from ..engine.runtime.housekeeping import outcomes
from ..engine.settings import Settings
from ..schemas.codec import collect
from ..schemas.definitions import FeatureRef, FeatureService, FeatureView, Stream
from ..schemas.errors import UnknownStream
from ..schemas.outcomes import Status
from ..schemas.time import parse_duration
from ..serving.logs import Batch, LocalEvents
from ..serving.plan import resolve
from ..serving.protocol import Limits, parse_instant, parse_request
from ..serving.push import keys_of
from ..serving.read import FeatureReader, Reply
from ..state.dead_letter import DeadLetter, DeadRecord
from . import imports

_LIMITS: Final = Limits(16 << 20, 100_000)
_SHARDS: Final = 4

Wanted = FeatureService | FeatureView | FeatureRef | str


class TestDriver:
    """Runs `definitions` (views, services, streams, or modules of them) on a scripted clock.

    `at` is where the clock begins: an RFC 3339 text, a `datetime`, or µs since the epoch. Without
    `home` everything lies in a temporary folder that goes when the driver is closed.

    Raises `DefinitionErrors` for what is wrong with the definitions.
    """

    __test__ = False  # not a test class, whatever its name says to pytest

    def __init__(
        self,
        *definitions: Any,
        at: str | datetime | int = "2024-01-01T00:00:00Z",
        home: Path | None = None,
        shards: int = _SHARDS,
    ) -> None:
        self._temporary = home is None
        self._home = Path(tempfile.mkdtemp(prefix="tegula-")) if home is None else home.resolve()
        self.clock = ScriptedClock(_instant_us(at))
        # A mapping, because type checkers do not see which settings have defaults.
        given: dict[str, Any] = {"home": self._home / ".tegula", "shards": shards}
        self._settings = Settings(project=self._home, **given)
        self._own = OwnAggregates(self._home)
        self._engine: Engine | None = None
        try:
            self.apply(*definitions)
            self.restart()
        except BaseException:
            self.close()
            raise

    def apply(self, *definitions: Any, message: str = "") -> None:
        """Apply definitions, as `tegula apply` would; a running engine takes them up."""
        collected = collect(*definitions)
        self._own.add(own_aggregates_of(collected))
        apply_definitions(
            self._settings,
            collected,
            author="test",
            message=message,
            now_us=self.clock(),
            embedded=True,
            own=self._own,
        )
        self._definitions = collected
        if self._engine is not None:
            self.settle()

    @property
    def settings(self) -> Settings:
        """The settings of the project that it runs: the `project` of `tegula.training_set`."""
        return self._settings

    @property
    def engine(self) -> Engine:
        """The engine; only while it runs."""
        assert self._engine is not None, "the engine was crashed or closed; call restart()"
        return self._engine

    def send(
        self,
        stream: str,
        events: Mapping[str, Any] | Sequence[Mapping[str, Any] | bytes],
        *,
        partition: str | None = None,
    ) -> None:
        """Append events (as JSON) to the stream's log at the clock's time; nothing is read yet.

        Bytes are appended as they are, however malformed. Without `partition` the stream's
        `partition_by` spreads them, as it does for a push; all others go to the log's first. Any
        call that reads takes them in.

        Raises `UnknownStream` for a stream that the definitions do not name.
        """
        known = {one.name: one for one in self._definitions.streams}
        if stream not in known:
            raise UnknownStream(stream=stream, known=tuple(known))
        many = [events] if isinstance(events, Mapping) else list(events)
        payloads = [one if isinstance(one, bytes) else orjson.dumps(one) for one in many]
        log = LocalLog(self._settings.log_path(stream), stream)
        try:
            if partition is not None:
                log.append(payloads, partition=partition, now_us=self.clock)
            else:
                batch = Batch(payloads, _spread_by(known[stream], payloads))
                LocalEvents(log, self.clock).append([batch])
        finally:
            log.close()

    def advance_to(self, at: str | datetime | int) -> None:
        """Move the clock on."""
        self.clock.advance_to(_instant_us(at))

    def settle(self) -> None:
        """Let the engine take in all that was sent, fold what is due, and mirror it."""
        self.engine.settle()
        if self.engine.outdated:
            self.restart()
            self.engine.settle()

    def online(
        self,
        features: Wanted | Sequence[Wanted],
        keys: Mapping[str, Any],
        *,
        as_of: str | datetime | int | None = None,
    ) -> dict[str, Any]:
        """What serving would answer for one key, now or at `as_of`: values by `view:feature`."""
        reply = self.read(features, {name: [value] for name, value in keys.items()}, as_of=as_of)
        return {name: values[0] for name, values in reply.values.items()}

    def statuses(
        self,
        features: Wanted | Sequence[Wanted],
        keys: Mapping[str, Any],
        *,
        as_of: str | datetime | int | None = None,
    ) -> dict[str, Status]:
        """The status of each value that `online` would give."""
        reply = self.read(features, {name: [value] for name, value in keys.items()}, as_of=as_of)
        return {name: Status(statuses[0]) for name, statuses in reply.statuses.items()}

    def read(
        self,
        features: Wanted | Sequence[Wanted],
        keys: Mapping[str, Sequence[Any]],
        *,
        as_of: str | datetime | int | None = None,
    ) -> Reply:
        """Values, statuses, bounds of many keys; `keys` holds one column a key column."""
        self.settle()
        registry = self.engine.registry
        catalogue, head = registry.catalogue(), registry.head()
        assert head is not None, "definitions were applied when the driver was made"
        resolved = resolve(
            catalogue.version,
            self._settings.shards,
            head.definitions,
            catalogue.active,
            registry.builds(),
            self._own,
        )
        body = orjson.dumps({**_wanted(features), "keys": {k: list(v) for k, v in keys.items()}})
        request = parse_request(body, _LIMITS)
        plan = resolved.plan_of(request)
        encoded = [entity.encode(request.keys, request.key_count) for entity in plan.entities]
        at_us = self.clock() if as_of is None else _instant_us(as_of)
        reader = FeatureReader(self.engine.mirrors.reader())
        return reader.read(plan, encoded, request.key_count, resolved.shards, at_us, detailed=True)

    def offline(
        self, features: Wanted | Sequence[Wanted], keys: Mapping[str, Any], *, as_of: Any = None
    ) -> dict[str, Any]:
        """The same values from a replay: a fresh engine reads the whole log again, then answers."""
        self.settle()
        with tempfile.TemporaryDirectory(prefix="tegula-") as folder:
            home = Path(folder) / ".tegula"
            shutil.copytree(self._settings.home / "log", home / "log")
            for beside in ("redrive", "imports"):
                if (self._settings.lake_path / beside).exists():
                    shutil.copytree(self._settings.lake_path / beside, home / "lake" / beside)
            shards = self._settings.shards
            at_us = self.clock()
            with TestDriver(
                self._definitions, at=at_us, home=Path(folder), shards=shards
            ) as replay:
                return replay.online(features, keys, as_of=as_of)

    def outcomes(self, view: str) -> dict[str, int]:
        """What became of the records that the view's newest build has read, by outcome."""
        self.settle()
        build = max(one.id for one in self.engine.deployed.builds if one.view == view)
        return dict(outcomes(self.engine.shards, build))

    def dead_letters(self, stream: str) -> tuple[DeadRecord, ...]:
        """The stream's records that could not become events: bytes, position, code and reason."""
        self.settle()
        self.engine.archiving.flush()
        return DeadLetter(lake_of(self._settings), stream).list()

    def redrive(
        self,
        stream: str,
        *,
        code: str | None = None,
        expired: str | None = None,
        mend: Callable[[bytes], bytes | None] | None = None,
    ) -> redrive.Done:
        """Drive dead letters again, or the events that the view `expired` found too old.

        As `tegula deadletter redrive` would: `code` chooses among dead letters, `mend` gives the
        bytes that each is to have now. Any call that reads takes them in.
        """
        self.settle()
        self.engine.archiving.flush()
        deployed = self.engine.deployed
        plan = deployed.streams[stream]
        if expired is None:
            found = redrive.dead(self._settings, plan, redrive.Choice(code=code))
        else:
            build = max(deployed.builds, key=lambda one: (one.view == expired, one.id))
            redrive.may_count(build)
            found = redrive.expired(self._settings, plan, build, redrive.Choice())
        return redrive.redrive(self._settings, stream, found, self.clock(), mend)

    def import_rows(
        self,
        stream: str,
        source: str | Path,
        *,
        query: str | None = None,
        mapping: Mapping[str, str] | None = None,
        name: str = "import",
        landing_delay: str = "0s",
    ) -> Done:
        """Import history, as `tegula import` would; any call that reads takes it in.

        `source` is a path or URL of files or a Delta table; with a `query`, a DuckDB database or
        the empty text. Raises what that command says.
        """
        plan, options = self.engine.deployed.streams[stream], self._settings.source_options
        asked = imports.asked(plan, source, query, mapping, None, options)
        asked = replace(asked, name=name, delay_us=parse_duration(landing_delay))
        return import_rows(self._settings, asked, self.clock(), lambda what, done, total: None)

    def materialize(
        self,
        table: str,
        source: str | Path,
        *,
        query: str | None = None,
        mapping: Mapping[str, str] | None = None,
        landing_delay: str = "0s",
    ) -> Materialized:
        """Bring what of a source is new for a table, as `tegula materialize` would."""
        stream, since_us = self.engine.deployed.streams[table], newest_us(self._settings, table)
        options = self._settings.source_options
        asked = imports.asked(stream, source, query, mapping, since_us, options)
        keys = imports.keys_of(self.engine.deployed, table)
        asked = replace(asked, keys=keys, delay_us=parse_duration(landing_delay))
        return materialize(self._settings, asked, self.clock(), lambda what, done, total: None)

    def backfill(self, view: str) -> None:
        """Build a view anew from the archive, and switch to it."""
        self.settle()
        self.engine.archiving.flush()
        self.engine.registry.start_backfill(view, self.clock())
        self.settle()

    def crash(self) -> None:
        """Let go of everything at once: what was not committed is gone."""
        self.engine.close(clean=False)
        self._engine = None

    def restart(self) -> None:
        """Open the engine again, after a crash or a close."""
        self._engine_closed()
        self._engine = Engine(
            self._settings, clock=self.clock, threaded=False, own=self._own
        ).open()

    def _engine_closed(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def close(self) -> None:
        """Stop the engine and remove what was temporary."""
        self._engine_closed()
        if self._temporary:
            with suppress(OSError):
                shutil.rmtree(self._home)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _spread_by(stream: Stream, payloads: Sequence[bytes]) -> list[bytes | None] | None:
    """The values by which a push would spread the events; None for one that is no event."""
    if stream.partition_by is None:
        return None
    count = len(payloads)
    decoded = JsonDecoder(stream.schema, stream.event_time).decode(
        RawBatch(
            partition="",
            offsets=np.arange(count),
            log_us=np.zeros(count, np.int64),
            payloads=Payloads.from_list(payloads),
            next_offset=count,
        )
    )
    keys: list[bytes | None] = [None] * count
    values = keys_of(decoded.frame[stream.partition_by])
    for place, value in zip(decoded.offsets.tolist(), values, strict=True):
        keys[place] = value
    return keys


def _instant_us(at: str | datetime | int) -> int:
    if isinstance(at, datetime):
        since = at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return parse_instant(at, "at")


def _wanted(features: Wanted | Sequence[Wanted]) -> dict[str, Any]:
    if isinstance(features, FeatureService):
        return {"service": f"{features.name}@{features.version}"}
    if isinstance(features, FeatureView | FeatureRef | str):
        features = [features]
    names: list[str] = []
    for one in features:
        if isinstance(one, FeatureView):
            names.extend(f"{one.name}:{feature}" for feature in one.features)
        elif isinstance(one, FeatureRef):
            names.append(f"{one.view.name}:{one.feature}")
        else:
            names.append(str(one))
    return {"features": names}
