"""All parts of a server put together, for one home, in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from ..engine.disk import DiskGuard
from ..engine.online import online_reader
from ..engine.own import OwnAggregates
from ..engine.settings import Settings
from ..state.online.rows import OnlineReader
from ..state.registry import Registry
from .answer import Answerer
from .catalogue import CatalogueFollower
from .engine_metrics import engine_metrics
from .health import Health
from .logs import open_events
from .metrics import Counters, ServerCollector, gauge
from .parity_metrics import parity_metrics
from .protocol import Limits
from .push import Pusher, PushLimits
from .read import FeatureReader
from .receipts import Waiter
from .served.recorder import Recorder


class Serving:
    """What the routes and the hot protocol share. Belongs to one event loop.

    `store` is the online store to read; without it, the one that the settings name.
    """

    def __init__(
        self,
        settings: Settings,
        now_us: Callable[[], int],
        *,
        counters: Counters | None = None,
        store: OnlineReader | None = None,
    ) -> None:
        self.settings = settings
        self.limits = Limits(
            body_bytes=settings.request_bytes_max,
            keys=settings.keys_max,
            features=settings.features_max,
            values=settings.values_max,
        )
        self.counters = counters or Counters()
        self.store = store or online_reader(settings, now_us)
        self._registry = Registry(settings.registry_url_or_default)
        own = OwnAggregates(settings.project)
        self.catalogue = CatalogueFollower(self._registry, settings.shards, own)
        current = self.catalogue.current
        self.recorder = Recorder(settings, self.counters, now_us)
        self.answerer = Answerer(
            current,
            FeatureReader(self.store),
            Waiter(self.store, self._registry.partitions, now_us),
            self.limits,
            self.counters,
            now_us,
            self.recorder,
        )
        disk = DiskGuard.of(settings)
        self.pusher = Pusher(
            lambda stream: open_events(stream, settings, now_us, disk),
            now_us,
            PushLimits(
                settings.record_bytes_max, settings.events_max, settings.push_waiting_bytes_max
            ),
        )
        self.health = Health(
            current,
            self.store,
            settings.engine_status_path,
            lambda: self.catalogue.fault,
            now_us,
            disk,
            lambda: self.recorder.fault,
        )
        self.metrics = CollectorRegistry(auto_describe=False)
        self.metrics.register(ServerCollector(self.counters, (self._gauges,)))

    def start(self) -> None:
        """Read the catalogue, and follow it from now on; on the event loop that it belongs to."""
        self.catalogue.start()
        self.recorder.start()

    async def close(self) -> None:
        """Finish what was accepted and let every store go."""
        await self.pusher.close()
        await self.recorder.close()
        self.catalogue.stop()
        self._registry.close()
        self.store.close()

    def _gauges(self) -> Iterator[Metric]:
        ready = self.health.readiness().ready
        yield gauge("tegula_server_ready", "Whether answers can be relied on.", ready)
        yield gauge(
            "tegula_catalogue_version", "The catalogue that is served.", self.catalogue.version
        )
        yield from engine_metrics(self.settings.engine_status_path)
        yield from parity_metrics(self.settings.parity_path, self.settings.parity_objective)
