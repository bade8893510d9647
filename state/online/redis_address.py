"""Where Redis is: an address as the settings give it, and as it may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from ...schemas.errors import SettingsError

Node = tuple[str, int]
"""Host and port."""

_SCHEMES: Final = ("redis", "rediss", "unix")
_HOST: Final = re.compile(r"(?:[\w.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


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
        who, at, hosts = parts.netloc.rpartition("@")
        if parts.scheme not in _SCHEMES or not all(map(_HOST.fullmatch, hosts.split(","))):
            # Nothing of it is shown: where a password has a `/`, what seems to be a host is not.
            raise SettingsError(
                "this is no address of a Redis server",
                where="`online_url`",
                expected="redis://host:port, rediss://host:port (TLS), or unix:///path",
                hint="in a password write `%2F` for /, `%40` for @, `%23` for #; or give it in"
                " `online_options`",
            )
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
