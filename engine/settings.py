"""Settings: where a project's stores are, which ports and brokers it uses, and its limits.

Three places, weak to strong: the file `tegula.toml` in the project's folder, the environment
(`TEGULA_PORT=6181`), the flags of a command. The file may group names in tables: `kafka.bootstrap`
is the setting `kafka_bootstrap`. Paths are relative to the project's folder.

Promises: whatever is wrong is one `SettingsError` that names every fault and where each came from;
a setting that does not exist is a fault, not silence; secrets do not show in `repr`. Frozen.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ..schemas.errors import ProjectMissing, SettingsError

FILE_NAME: Final = "tegula.toml"
ENVIRONMENT_PREFIX: Final = "TEGULA_"


class Settings(BaseSettings):
    """All settings of one project, checked. Made by `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    project: Path
    """The folder of `tegula.toml`."""
    home: Path = Path(".tegula")
    """Where the embedded stores lie."""
    shards: int = Field(16, ge=1, le=4096)
    """Slices of the key space. Fixed when the registry is created."""
    registry_url: str | None = Field(None, repr=False)
    """SQLAlchemy URL of the registry's database; `registry.db` in `home` without it."""
    host: str = "127.0.0.1"
    """The address that servers listen on."""
    port: int = Field(6180, ge=1, le=65535)
    """The port that servers listen on."""
    workers: int = Field(1, ge=1, le=64)
    """Engine processes that `tegula run` and `tegula dev` share the work among."""
    server_processes: int = Field(1, ge=1, le=256)
    """Server processes; all of them share the port."""
    server_url: str | None = None
    """Where commands reach a server that runs elsewhere; else `host` and `port`."""
    kafka_bootstrap: str | None = None
    """Brokers of streams whose source names none: `host:port`, separated by commas."""
    kafka_options: dict[str, str] = Field(default_factory=dict, repr=False)
    """More options of the Kafka client, such as `security.protocol`, by librdkafka's names."""
    commit_interval_ms: int = Field(100, ge=1, le=60_000)
    """The longest that an event waits for its commit while the engine keeps up."""
    archive_interval_s: float = Field(10.0, gt=0, le=3600)
    """The longest that a decoded event waits for the archive."""
    archive_rows: int = Field(1_000_000, ge=1)
    """Rows at which the archive writes before its interval is over."""
    archive_buffer_bytes: int = Field(512 << 20, ge=1 << 20)
    """Buffered bytes past which the archive holds its source back."""
    online_url: str | None = Field(None, repr=False)
    """Redis as the online store, such as `redis://host:6379`; `online/` in `home` without it."""
    online_options: dict[str, str] = Field(default_factory=dict, repr=False)
    """More options of Redis' client, such as `username`, `password`, `ssl_ca_certs`."""
    online_prefix: str = Field("tegula", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """What the keys in Redis begin with; homes that share a server have one each."""
    mirror_interval_ms: int = Field(20, ge=1, le=60_000)
    """The longest that a commit waits for the online store while the mirror keeps up."""
    state_memory_bytes: int = Field(256 << 20, ge=8 << 20)
    """Memory for writes, over all shards of the state."""
    checkpoint_to: str | None = None
    """Where checkpoints go by themselves: a folder, or `s3://bucket/prefix`."""
    checkpoint_interval_s: float = Field(3600.0, gt=0, le=31 * 86_400)
    """How often the engine makes one."""
    checkpoint_keep: int = Field(24, ge=1)
    """How many are kept there; older ones are deleted."""
    checkpoint_options: dict[str, str] = Field(default_factory=dict, repr=False)
    """Of an object store: `endpoint`, `region`, `access_key`, `secret_key`, `session_token`."""
    lake: str | None = None
    """Where Delta tables lie: a folder, or `s3://bucket/prefix`; `lake/` in `home` without it."""
    lake_options: dict[str, str] = Field(default_factory=dict, repr=False)
    """Of an object store: `endpoint`, `region`, `access_key`, `secret_key`, `session_token`."""
    import_options: dict[str, str] = Field(default_factory=dict, repr=False)
    """The same of a store that imports are read from, where it is not the lake's."""
    maintain_interval_s: float = Field(3600.0, ge=0, le=31 * 86_400)
    """How often the engine merges small files of the lake and deletes old ones; 0: never."""
    maintain_file_bytes: int = Field(128 << 20, ge=32 << 20, le=4 << 30)
    """The size that files of the lake are merged up to."""
    maintain_retention_s: float = Field(86_400.0, ge=3600)
    """How long files stay that were merged: for who has listed them before."""
    disk_free_min_bytes: int | None = Field(None, ge=0)
    """With less free on a disk under `home`, no events are taken in; 0: off.

    Without it, 512 MiB or 2 % of the disk, whichever is less.
    """
    record_bytes_max: int = Field(1 << 20, ge=1)
    """A longer record is dead-lettered."""
    request_bytes_max: int = Field(16 << 20, ge=1)
    """A longer request body is refused."""
    keys_max: int = Field(100_000, ge=1)
    """More keys in one request are refused."""
    features_max: int = Field(10_000, ge=1)
    """More names of features in one request are refused."""
    values_max: int = Field(10_000_000, ge=1)
    """More values, keys times features, in one answer are refused."""
    events_max: int = Field(500_000, ge=1)
    """More events in one push are refused."""
    datasets_max: int = Field(0, ge=0, le=64)
    """Training sets that are made at a time for requests over HTTP; 0: none."""
    dataset_memory_bytes: int = Field(1 << 30, ge=1 << 20)
    """About what each of these keeps in memory."""
    served_share: float = Field(0.01, ge=0, le=1)
    """Of the requests for a service, the share whose answers the served log keeps; 0: none."""
    served_interval_s: float = Field(10.0, gt=0, le=3600)
    """The longest that an answer waits for the served log."""
    served_buffer_bytes: int = Field(64 << 20, ge=1 << 20)
    """Answers that wait for the served log, in a server process; past it they are not kept."""
    served_keep_days: int = Field(30, ge=1, le=36_500)
    """How long the served log keeps answers."""
    parity_interval_s: float = Field(900.0, ge=0, le=31 * 86_400)
    """How often what was served is held against history, under `tegula run` and `dev`; 0: never."""
    parity_sample: int = Field(200, ge=1, le=1_000_000)
    """Served rows of each service that a check recomputes."""
    parity_core_share: float = Field(0.05, gt=0, le=1)
    """The share of one core that checks may take; where one takes more, the next waits longer."""
    parity_objective: float = Field(0.99, ge=0, le=1)
    """The share of served values that history is to confirm."""
    push_waiting_bytes_max: int = Field(256 << 20, ge=1)
    """Bytes pushed to a stream that wait for its log, in a server process; more are refused."""

    @field_validator("home", mode="after")
    @classmethod
    def _below_project(cls, home: Path, info: Any) -> Path:
        project = info.data.get("project")
        return project / home.expanduser() if isinstance(project, Path) else home

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags before the environment before the file."""
        flags = dict(getattr(init_settings, "init_kwargs", {}))
        in_file = flags.pop("in_file", {})
        return (
            InitSettingsSource(settings_cls, init_kwargs=flags),
            env_settings,
            InitSettingsSource(settings_cls, init_kwargs=in_file),
        )

    @property
    def registry_url_or_default(self) -> str:
        """The registry's database: as set, or SQLite in `home`."""
        return self.registry_url or f"sqlite:///{self.home / 'registry.db'}"

    @property
    def url(self) -> str:
        """Where commands reach the server: as set, or this machine's `host` and `port`."""
        if self.server_url:
            return self.server_url.rstrip("/")
        host = "127.0.0.1" if self.host in ("0.0.0.0", "") else self.host  # noqa: S104 (compared)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def log_path(self, stream: str) -> Path:
        """The file of a stream's embedded log."""
        return self.home / "log" / f"{stream}.db"

    def redriven_path(self, stream: str) -> Path:
        """The file of a stream's records that were driven again: history, as the archive is."""
        return self.lake_path / "redrive" / f"{stream}.db"

    def imports_path(self, stream: str) -> Path:
        """The file of a stream's imports; their records lie in the folder of the stream's name."""
        return self.lake_path / "imports" / f"{stream}.db"

    @property
    def state_path(self) -> Path:
        """The folder that holds a database for each shard."""
        return self.home / "state"

    @property
    def online_path(self) -> Path:
        """The root of the embedded online store."""
        return self.home / "online"

    @property
    def lake_is_here(self) -> bool:
        """Whether the lake is a folder, and no bucket."""
        return self.lake is None or "://" not in self.lake

    @property
    def lake_path(self) -> Path:
        """The lake's folder; where it is a bucket, that of what is none of its tables.

        Tables are reached by `engine.lake.lake_of`.
        """
        if self.lake is None or not self.lake_is_here:
            return self.home / "lake"
        return self.project / Path(self.lake).expanduser()

    @property
    def source_options(self) -> dict[str, str]:
        """How the object store is reached that imports are read from."""
        return self.import_options or self.lake_options

    @property
    def datasets_path(self) -> Path:
        """Where training sets lie that were not sent elsewhere."""
        return self.lake_path / "datasets"

    @property
    def checkpoint_path(self) -> Path:
        """Where a checkpoint is while it is being copied, and where one is asked for."""
        return self.home / "checkpoint"

    @property
    def engine_status_path(self) -> Path:
        """What the running engine reports of itself, rewritten each second."""
        return self.home / "engine.json"

    @property
    def parity_path(self) -> Path:
        """The folder of the last report of parity of each service."""
        return self.home / "parity"

    @property
    def metrics_path(self) -> Path:
        """The folder where processes leave their metrics for `/metrics`."""
        return self.home / "metrics"


def load_settings(project: Path | None = None, **flags: Any) -> Settings:
    """The settings of the project in `project`, or of the one that the working directory is in.

    A flag that is None was not given. Raises `ProjectMissing` where there is no `tegula.toml`, and
    `SettingsError` for whatever is wrong with it, the environment, or a flag.
    """
    folder = find_project() if project is None else project.expanduser().resolve()
    file = folder / FILE_NAME
    if not file.is_file():
        raise ProjectMissing(directory=str(folder))
    in_file = _read(file)
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(project=folder, in_file=in_file, **given)  # type: ignore[call-arg]
    except ValidationError as fault:
        raise _as_error(fault, in_file, given) from None


def find_project(start: Path | None = None) -> Path:
    """The nearest folder at or above `start` that has a `tegula.toml`.

    Raises `ProjectMissing`.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder
    raise ProjectMissing(directory=str(start))


def _read(file: Path) -> dict[str, Any]:
    try:
        return _flatten(tomllib.loads(file.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise SettingsError(
            "the file is not TOML",
            where=str(file),
            got=str(fault),
            hint='a setting reads `port = 6180`, and text is quoted: `host = "127.0.0.1"`',
        ) from None
    except OSError as fault:
        raise SettingsError(
            "the file cannot be read", where=str(file), got=fault.strerror or str(fault)
        ) from None


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Tables become parts of names, but for settings that are mappings themselves."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in Settings.model_fields:
            flat |= _flatten(value, f"{name}_")
        else:
            flat[name] = value
    return flat


def _as_error(
    fault: ValidationError, in_file: Mapping[str, Any], flags: Mapping[str, Any]
) -> SettingsError:
    """All faults in one sentence each, with the place that each value came from."""
    known = [name for name in Settings.model_fields if name != "project"]
    places: list[str] = []
    said: list[str] = []
    for one in fault.errors(include_url=False, include_context=False):
        name = str(one["loc"][0])
        places.append(_place(name, in_file, flags))
        if one["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, known, 1)
            said.append(f"there is no setting `{name}`" + (f" (`{near[0]}`?)" if near else ""))
        else:
            shown = "" if _secret(name) else f", not {one['input']!r}"
            said.append(f"`{name}`: {one['msg'][:1].lower()}{one['msg'][1:]}{shown}")
    return SettingsError(
        "; ".join(said),
        where=", ".join(dict.fromkeys(places)),
        hint=f"read in turn: {FILE_NAME}, {ENVIRONMENT_PREFIX}… variables, flags; the last wins",
    )


def _place(name: str, in_file: Mapping[str, Any], flags: Mapping[str, Any]) -> str:
    variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
    if name in flags:
        return f"--{name.replace('_', '-')}"
    if name in in_file and not os.environ.get(variable):
        return FILE_NAME
    return variable if os.environ.get(variable) else FILE_NAME


def _secret(name: str) -> bool:
    field = Settings.model_fields.get(name)
    return field is not None and not field.repr
