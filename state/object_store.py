"""Reaching an object store behind the S3 protocol, by the options that settings may give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from pyarrow import fs

from ..schemas.errors import SettingsError

_OPTIONS: Final = ("endpoint", "region", "access_key", "secret_key", "session_token")
_TIMEOUT_S: Final = 30.0
_OF_DELTA: Final = {
    "endpoint": "AWS_ENDPOINT_URL",
    "region": "AWS_REGION",
    "access_key": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}
# A store that is away is tried again by who asked, who says so meanwhile.
_PATIENCE: Final = {"timeout": "30s", "connect_timeout": "5s", "max_retries": "3"}


def check_options(options: Mapping[str, str], setting: str) -> None:
    """Raise `SettingsError` for an option that means nothing."""
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise SettingsError(
            "there is no such option of an object store",
            where=setting,
            got=", ".join(unknown),
            expected=", ".join(_OPTIONS),
        )


def delta_options(options: Mapping[str, str]) -> dict[str, str]:
    """The options as Delta's library takes them."""
    given = {_OF_DELTA[name]: value for name, value in options.items() if value}
    if options.get("endpoint", "").startswith("http://"):
        given["AWS_ALLOW_HTTP"] = "true"
    return {**given, **_PATIENCE, "aws_conditional_put": "etag"}


def s3_files(options: Mapping[str, str]) -> fs.FileSystem:
    """The store as a file system; what is not given comes from the environment, as AWS has it."""
    given: dict[str, Any] = {
        name: value for name, value in options.items() if name != "endpoint" and value
    }
    if endpoint := options.get("endpoint"):
        parts = urlsplit(endpoint)
        given |= {"endpoint_override": parts.netloc or endpoint, "scheme": parts.scheme or "https"}
    return fs.S3FileSystem(connect_timeout=_TIMEOUT_S, request_timeout=_TIMEOUT_S, **given)
