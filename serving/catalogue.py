"""The newest version of the catalogue, kept at hand.

A thread asks the registry ten times a second whether there is a newer version, and compiles it when
there is one; requests only ever take what is compiled. A registry that does not answer freezes the
last version: serving goes on, and `fault` says so.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from ..schemas.errors import TegulaError
from ..schemas.own import LookUp
from ..state.registry import Registry
from .plan import Resolved, resolve

_LOG = logging.getLogger(__name__)

LOOK_S: Final = 0.1


class CatalogueFollower:
    """Follows the catalogue of `registry`; `shards` counts until the registry tells its number.

    `own` finds the user's own aggregates; one that it does not find is noted as a failing registry
    is: what was served goes on.
    """

    def __init__(self, registry: Registry, shards: int, own: LookUp | None = None) -> None:
        self._registry = registry
        self._own = own
        self._resolved = Resolved(0, shards)
        self._replaced = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.fault: TegulaError | None = None

    def current(self) -> Resolved:
        """What the newest known version serves; nothing before there is one."""
        return self._resolved

    def look(self) -> bool:
        """Take over a newer version, if there is one. A registry that fails is noted in `fault`."""
        try:
            version, replaced = self._registry.catalogue_version(), self._registry.replaced
            # A registry that was restored may count as far, and mean something else.
            newer = (version, replaced) != (self._resolved.version, self._replaced)
            if newer:
                self._resolved, self._replaced = self._load(), replaced
        except TegulaError as fault:
            if self.fault is None or self.fault.code != fault.code:
                _LOG.warning("serving the catalogue as of version %d: %s", self.version, fault)
            self.fault = fault
            return False
        self.fault = None
        return newer

    @property
    def version(self) -> int:
        """The version that is served."""
        return self._resolved.version

    def start(self) -> None:
        """Look once, then go on looking in a thread."""
        self.look()
        self._thread = threading.Thread(target=self._run, name="tegula-catalogue", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - a thread that ended would freeze it in silence
                _LOG.exception("the catalogue could not be compiled")

    def _load(self) -> Resolved:
        """The newest version, all of one state: read again if it changed in between."""
        while True:
            catalogue = self._registry.catalogue()
            head = self._registry.head()
            builds = self._registry.builds(("live", "catching_up"))
            shards = self._registry.shards()
            if self._registry.catalogue_version() == catalogue.version:
                break
        if head is None:
            return Resolved(catalogue.version, shards)
        return resolve(
            catalogue.version, shards, head.definitions, catalogue.active, builds, self._own
        )
