"""Training sets over HTTP: a job that a process of its own does, so that no request waits for it.

The spine comes with the request; what is done is `tegula dataset build`, at a low priority. A job
is a folder: its request, its spine, what it said, and a lock that the process holds as long as it
lives. So every server of the home knows of every job, and one that was killed is known to be.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import orjson
import polars as pl
import pyarrow as pa

from ..engine.settings import Settings
from ..schemas.errors import BadRequest, DatasetExists, DatasetMissing, DatasetsBusy, DatasetsOff

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FIELDS: Final = (
    "name", "features", "spine", "at", "clock", "landing_delay", "served_by", "max_age", "trace",
    "labels", "keys", "include", "time_zone",
)  # fmt: skip
_TEXTS: Final = (
    "at", "clock", "landing_delay", "served_by", "max_age", "trace", "time_zone"
)  # fmt: skip


class DatasetJobs:
    """The jobs of one home. `now_us` is the wall clock."""

    def __init__(self, settings: Settings, now_us: Callable[[], int]) -> None:
        self._settings = settings
        self._now_us = now_us
        self._folder = settings.home / "datasets-jobs"

    def start(self, body: bytes) -> dict[str, Any]:
        """Begin a job; gives what `show` gives of it.

        Raises `DatasetsOff` where the settings allow none, `DatasetsBusy` where as many run as they
        allow, `DatasetExists` for a name that is taken, `BadRequest` for what is no request.
        """
        if not self._settings.datasets_max:
            raise DatasetsOff
        request = _parsed(body)
        name = request["name"]
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("a") as alone:
            fcntl.flock(alone, fcntl.LOCK_EX)
            job = self._folder / name
            if self._settings.datasets_path.joinpath(name).exists() or _is_held(job):
                raise DatasetExists(where=name)
            running = sum(_is_held(one) for one in self._folder.iterdir() if one.is_dir())
            if running >= self._settings.datasets_max:
                raise DatasetsBusy(running=running, limit=self._settings.datasets_max)
            shutil.rmtree(job, ignore_errors=True)
            job.mkdir()
            _spine(request.pop("spine")).write_ipc(job / "spine.arrow")
            (job / "request.json").write_bytes(
                orjson.dumps({**request, "asked_us": self._now_us()})
            )
            with (job / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._run(job, request, lock)
        return self.show(name)

    def _run(self, job: Path, request: Mapping[str, Any], lock: IO[str]) -> None:
        """Start the process; it holds the lock from now on, and nobody waits for it."""
        nice = shutil.which("nice")
        command = [
            *([nice, "-n", "10"] if nice else []),
            *(sys.executable, "-m", "tegula.cli.main", "dataset", "build"),
            *(str(job / "spine.arrow"), "--project", str(self._settings.project), "--json"),
            *("--out", str(self._settings.datasets_path / request["name"]), "--cores", "1"),
            *("--memory", str(self._settings.dataset_memory_bytes >> 20)),
            *_flags(request),
        ]
        with (job / "out.json").open("wb") as out, (job / "error.log").open("wb") as error:
            process = subprocess.Popen(  # noqa: S603 - our own words, checked ones of a request
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=error,
                pass_fds=(lock.fileno(),),
                start_new_session=True,
            )
        threading.Thread(target=process.wait, name="tegula-dataset", daemon=True).start()

    def show(self, name: str) -> dict[str, Any]:
        """How a job is: `running`, `done` with its manifest, or `failed` with its error.

        Raises `DatasetMissing` for a name that no job has.
        """
        job = self._folder / name
        if not _NAME.fullmatch(name) or not (job / "request.json").exists():
            raise DatasetMissing(where=name)
        path = self._settings.datasets_path / name
        told: dict[str, Any] = {"id": name, "path": str(path)}
        if _is_held(job):
            return {**told, "status": "running"}
        if (path / "_tegula" / "manifest.json").exists():
            manifest = orjson.loads((path / "_tegula" / "manifest.json").read_bytes())
            return {**told, "status": "done", "manifest": manifest}
        return {**told, "status": "failed", "error": _error(job)}


def _is_held(job: Path) -> bool:
    """Whether the process of a job lives."""
    try:
        with (job / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _error(job: Path) -> Any:
    """What the process said at its end; it was killed if that is nothing."""
    for line in reversed((job / "error.log").read_bytes().splitlines()):
        if line.startswith(b'{"error"'):
            return orjson.loads(line)["error"]
    return {"code": "TG-000", "message": "the job ended before it was done", "retryable": True}


def _parsed(body: bytes) -> dict[str, Any]:
    """The request. Raises `BadRequest`."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise BadRequest("the body is not JSON", got=str(fault)) from None
    if not isinstance(request, dict) or not {"name", "features", "spine"} <= request.keys():
        raise BadRequest("a set needs a name, features and a spine", expected=", ".join(_FIELDS))
    unknown = [name for name in request if name not in _FIELDS]
    if unknown:
        raise BadRequest("there is no such field", where=unknown[0], expected=", ".join(_FIELDS))
    if not isinstance(request["name"], str) or not _NAME.fullmatch(request["name"]):
        raise BadRequest(
            "this is no name of a set",
            where="name",
            got=repr(request["name"]),
            expected="letters, digits and -_. , at most 64",
        )
    for name in ("features", "include"):
        _check(request, name, list)
    for name in ("labels", "keys"):
        _check(request, name, dict)
    for name in _TEXTS:
        given = request.get(name)
        if given is not None and not isinstance(given, str):
            raise BadRequest("this is no text", where=name, got=type(given).__name__)
    return request


def _check(request: Mapping[str, Any], name: str, kind: type) -> None:
    given = request.get(name)
    values = given.values() if isinstance(given, dict) else given or ()
    if given is not None and not (isinstance(given, kind) and all(map(_is_text, values))):
        raise BadRequest("texts are expected here", where=name, got=type(given).__name__)


def _is_text(one: Any) -> bool:
    return isinstance(one, str) and not one.startswith("-")


def _spine(columns: Any) -> pl.DataFrame:
    """The spine's columns as a frame. Raises `BadRequest`."""
    if not isinstance(columns, dict) or not all(isinstance(one, list) for one in columns.values()):
        raise BadRequest("a spine is columns of values", where="spine", expected='{"at": […], …}')
    try:
        return pl.DataFrame(columns, strict=True)
    except (pl.exceptions.PolarsError, pa.ArrowException, TypeError, OverflowError) as fault:
        said = " ".join(str(fault).split())
        raise BadRequest("the spine is no table", where="spine", got=said) from None


def _flags(request: Mapping[str, Any]) -> list[str]:
    """A request as the words of a command line."""
    words = [f"--features={one}" for one in request["features"]]
    words += [f"--include={one}" for one in request.get("include") or ()]
    words += [f"--label={name}={delay}" for name, delay in (request.get("labels") or {}).items()]
    words += [f"--key={name}={column}" for name, column in (request.get("keys") or {}).items()]
    for name in _TEXTS:
        if request.get(name) is not None:
            words.append(f"--{name.replace('_', '-')}={request[name]}")
    return words
