"""An online store in Redis under a prefix of its own."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from tegula.state.online.redis_reader import open_reader
from tegula.state.online.redis_writer import RedisStore


class Store:
    """A store under a prefix of its own, its writer of shard 0, and a reader."""

    def __init__(self, url: str, options: dict[str, str] | None = None) -> None:
        self.prefix = f"t-{uuid.uuid4().hex}"
        self.store = RedisStore(url, options or {}, self.prefix)
        self.writer = self.store.open_writer(Path(), 0, 1)
        self.reader = open_reader(url, options or {}, self.prefix)

    def keys(self, client: Any) -> list[bytes]:
        """The keys of rows."""
        found = client.scan_iter(match=f"{self.prefix}*")
        return sorted(key for key in found if not key.endswith(b":mark"))

    def close(self) -> None:
        self.reader.close()
        self.store.link.close()
