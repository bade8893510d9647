"""706 to 709: an online store on another machine."""

from __future__ import annotations

from .stores import SinkError


class OnlineStoreUnreachable(SinkError):
    """The online store does not answer."""

    code = "TG-706"

    def __init__(self, *, where: str, detail: str) -> None:
        super().__init__(
            "the online store does not answer",
            where=where,
            got=detail,
            hint="start it, or correct `online_url`; it is filled again by itself",
        )


class OnlineStoreEvicts(SinkError):
    """The online store may drop rows when its memory is full."""

    code = "TG-707"
    retryable = False

    def __init__(self, *, where: str, policy: str) -> None:
        super().__init__(
            "the online store may drop rows when its memory is full",
            where=where,
            got=f"maxmemory-policy {policy}",
            expected="maxmemory-policy noeviction",
            hint="`redis-cli config set maxmemory-policy noeviction`, and in its configuration:"
            " a row that is gone reads as a key that never was",
        )


class OnlineStoreChanged(SinkError):
    """The online store does not hold what this engine left there."""

    code = "TG-708"

    def __init__(self, *, where: str, got: str, expected: str = "") -> None:
        super().__init__(
            "the online store does not hold what this engine left there",
            where=where,
            got=got,
            expected=expected,
            hint="it is written anew by itself; if this stays, another engine writes there too:"
            " give each home an `online_prefix` of its own",
        )
