"""How a command asks the running engine for a checkpoint, and hears of it: two files in the home.

Both are replaced by rename. The request stays until it is answered, so an engine that was started
anew meanwhile takes it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from .home import write_replacing

_REQUEST: Final = "request.json"
_ANSWER: Final = "answer.json"


@dataclass(frozen=True, slots=True)
class Request:
    """A checkpoint that was asked for: a token of the asker's, and where to, if he said so."""

    token: str
    to: str | None


def ask(folder: Path, request: Request) -> None:
    """Ask the engine that runs over the home; replaces a request that was not answered."""
    write_replacing(folder / _REQUEST, orjson.dumps(asdict(request)))


def withdraw(folder: Path) -> None:
    """Ask for nothing any more."""
    with suppress(OSError):
        (folder / _REQUEST).unlink()


def read_request(folder: Path) -> Request | None:
    """What was asked for and not answered; None if there is nothing that can be read."""
    try:
        return Request(**orjson.loads((folder / _REQUEST).read_bytes()))
    except (OSError, orjson.JSONDecodeError, TypeError):
        return None


def answer(
    folder: Path,
    request: Request,
    made: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
) -> None:
    """Answer a request, and then take it away unless another one has replaced it."""
    said = {"token": request.token, "made": made, "error": error}
    write_replacing(folder / _ANSWER, orjson.dumps(said))
    if read_request(folder) == request:
        withdraw(folder)


def read_answer(folder: Path, token: str) -> Mapping[str, Any] | None:
    """The answer to the request with `token`, if it is there: `made` or `error`."""
    try:
        said = orjson.loads((folder / _ANSWER).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return said if said.get("token") == token else None
