"""Where Redis is: an address as the settings give it, and as it may be shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from ...schemas.errors import SettingsError

Node = tuple[str, int]
"""Host and port."""

_SCHEMES: Final = ("redis", "rediss", "unix")


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is, parsed from `online_url`; `shown` is it without a password."""

    urls: tuple[str, ...]
    shown: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """The address that a URL names: several hosts, of one cluster, are divided by commas.

        Raises `SettingsError`.

        >>> Address.parse("rediss://me:secret@a:7000,b:7001/0").shown
        'rediss://a:7000,b:7001/0'
        """
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            raise SettingsError(
                "this is no address of a Redis server",
                where="`online_url`",
                got=f"scheme {parts.scheme!r}",
                expected="redis://host:port, rediss://host:port (TLS), or unix:///path",
            )
        who, at, hosts = parts.netloc.rpartition("@")
        urls = tuple(
            urlunsplit((parts.scheme, who + at + host, parts.path, parts.query, ""))
            for host in hosts.split(",")
        )
        return cls(urls, urlunsplit((parts.scheme, hosts, parts.path, "", "")))

    def of(self, node: Node) -> str:
        """The URL of another node of the same cluster.

        >>> Address.parse("rediss://me:secret@a:7000,b:7001").of(("::1", 7002))
        'rediss://me:secret@[::1]:7002'
        """
        parts = urlsplit(self.urls[0])
        who, at, _ = parts.netloc.rpartition("@")
        host = f"[{node[0]}]" if ":" in node[0] else node[0]
        netloc = f"{who}{at}{host}:{node[1]}"
        return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))
