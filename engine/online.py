"""Which online store a project has: the embedded one of its home, or Redis.

The engine asks for writers and servers for a reader, both from the same settings, so they cannot
mean two stores. Redis' client is imported only where it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..schemas.errors import OnlineStoreUnreachable
from ..state.online.lmdb import LmdbReader, LmdbWriter
from ..state.online.rows import OnlineReader, OnlineWriter
from .settings import Settings

_LOG: Final = logging.getLogger(__name__)

OpenWriter = Callable[[Path, int, int], OnlineWriter]
"""Opens the writer of (root, shard, incarnation)."""


def online_writers(settings: Settings) -> OpenWriter:
    """How the engine opens the writer of a shard.

    A store that does not answer is logged and tried again by the mirror. Raises `SettingsError` for
    an address that is none, and `OnlineStoreEvicts` for a store that may drop rows.
    """
    if settings.online_url is None:
        return LmdbWriter
    from ..state.online.redis_writer import RedisStore

    store = RedisStore(settings.online_url, settings.online_options, settings.online_prefix)
    try:
        store.check()
    except OnlineStoreUnreachable as fault:
        _LOG.warning("%s", fault)
    return store.open_writer


def online_reader(settings: Settings, now_us: Callable[[], int]) -> OnlineReader:
    """What servers read from; raises `SettingsError` for an address that is none."""
    if settings.online_url is None:
        return LmdbReader(settings.online_path, now_us)
    from ..state.online.redis_reader import open_reader

    return open_reader(settings.online_url, settings.online_options, settings.online_prefix)
