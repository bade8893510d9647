"""`tegula dataset`: training sets, made, listed, looked at, and made again from their manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..backfill.training.api import training_set
from ..backfill.training.applied import applied_definitions
from ..backfill.training.asked import resolve
from ..backfill.training.manifest import FOLDER, NAME, read_manifest
from ..backfill.training.rebuild import rebuild
from ..backfill.training.result import TrainingSet
from ..backfill.training.statistics import as_frame
from ..engine.amounts import number
from ..engine.progress import Meter
from ..engine.settings import Settings, load_settings
from ..schemas.errors import BadRequest, UnknownFeature, UnknownService
from .exits import FAULT, OK
from .output import add_row, note, say, show, table, write_json
from .project import PACKAGE, load_definitions

ACTIONS: Final = ("build", "list", "show", "rebuild")


@dataclass(frozen=True, slots=True)
class Options:
    """What the flags of `dataset` say."""

    features: Sequence[str] = ()
    out: Path | None = None
    replace: bool = False
    clock: str = "event"
    landing_delay: str = "0s"
    served_by: str | None = None
    max_age: str | None = None
    trace: str | None = None
    at: str = "at"
    keys: Sequence[str] = ()
    labels: Sequence[str] = ()
    include: Sequence[str] = ()
    time_zone: str | None = None
    connection: str | None = None
    memory_mib: int = 1024
    cores: int | None = None
    spine: str | None = None


def dataset(project: Path | None, words: Sequence[str], options: Options, as_json: bool) -> int:
    """Do what the words say: `build SPINE`, `list`, `show SET`, `rebuild SET`."""
    action, named = words[0], list(words[1:])
    if action not in ACTIONS or len(named) != (action != "list"):
        raise BadRequest(
            "this does not say what to do with training sets",
            where=" ".join(words),
            expected="build SPINE, list, show SET or rebuild SET",
            hint="tegula dataset build labels.parquet --features fraud",
        )
    settings = load_settings(project)
    if action == "build":
        return _build(settings, named[0], options, as_json)
    if action == "list":
        return _list(settings, as_json)
    if action == "show":
        return _show(settings, named[0], as_json)
    return _rebuild(settings, named[0], options, as_json)


def _build(settings: Settings, spine: str, options: Options, as_json: bool) -> int:
    if not options.features:
        raise BadRequest(
            "no feature is asked for", expected="--features with a service, a view or a feature"
        )
    out = options.out or settings.datasets_path / _stem(spine, options)
    with Meter("Reading the spine", unit="rows") as meter:
        made = training_set(
            spine,
            _wanted(settings, options.features),
            at=options.at,
            clock=options.clock,
            landing_delay=options.landing_delay,
            served_by=options.served_by,
            max_age=options.max_age,
            trace=options.trace,
            keys=_pairs(options.keys, "--key", "card_id=card"),
            labels=_pairs(options.labels, "--label", "is_fraud=30d"),
            include=options.include,
            time_zone=options.time_zone,
            connection=options.connection,
            out=out,
            replace=options.replace,
            project=settings,
            memory_bytes=options.memory_mib << 20,
            cores=options.cores,
            progress=lambda what, done, total: meter.update(done, total, what),
        )
    return _told(made, as_json)


def _wanted(settings: Settings, names: Sequence[str]) -> list[Any]:
    """What names mean: of what is applied, else of the project's files."""
    given = [name for words in names for name in words.split(",") if name]
    applied = applied_definitions(settings)
    try:
        resolve(given, None, applied)
    except (UnknownFeature, UnknownService):
        if not any((settings.project / PACKAGE).glob("*.py")):
            raise
        files = load_definitions(settings.project)
        views = {view.name: view for view in files.views}
        services = {one.name: one for one in sorted(files.services, key=lambda s: s.version)}
        services |= {f"{one.name}@{one.version}": one for one in files.services}
        resolve(given, None, files)  # for its error, where a name is nowhere
        return [_of_files(name, views, services) for name in given]
    return list(given)


def _of_files(name: str, views: Mapping[str, Any], services: Mapping[str, Any]) -> Any:
    view, colon, feature = name.partition(":")
    if colon:
        return views[view][feature]
    return views.get(name) or services[name]


def _stem(spine: str, options: Options) -> str:
    if options.connection is None:
        return Path(spine).stem
    raise BadRequest("a set from a query needs a name", expected="--out with a folder")


def _pairs(words: Sequence[str], flag: str, example: str) -> dict[str, str]:
    pairs = {}
    for word in words:
        # A feature as a label has a `=` only before its delay.
        name, equals, value = word.rpartition("=")
        if not (name and equals and value):
            raise BadRequest("this is no pair", where=flag, got=word, expected=example)
        pairs[name] = value
    return pairs


def _told(made: TrainingSet, as_json: bool) -> int:
    manifest = made.manifest
    if as_json:
        write_json({"path": str(made.path), **manifest})
        return OK
    features = len(manifest["columns"])
    say(f"{number(made.rows)} rows with {number(features)} features in {made.path}.", "green")
    say(_summary(manifest))
    for said in made.notes:
        note(said)
    return OK


def _summary(manifest: Mapping[str, Any]) -> str:
    counts: dict[str, int] = {}
    for one in manifest["statistics"]:
        for status, rows in one.get("statuses", {}).items():
            counts[status] = counts.get(status, 0) + rows
    statuses = ", ".join(f"{status} {number(rows)}" for status, rows in sorted(counts.items()))
    late = ""
    if manifest["clock"] == "event":
        late = f" In {number(manifest['late_rows'])} rows an event counts that was not known then."
    return f"Clock {manifest['clock']}. Values: {statuses or 'none'}.{late}"


def _list(settings: Settings, as_json: bool) -> int:
    found = [
        (file.parent.parent, read_manifest(file))
        for file in sorted(settings.datasets_path.glob(f"*/{FOLDER}/{NAME}"))
    ]
    if as_json:
        keys = ("made_at", "clock", "rows", "late_rows", "columns", "hash")
        write_json([{"path": str(path), **{k: m[k] for k in keys}} for path, m in found])
        return OK
    shown = table("set", "made", "clock", "rows", "features", numbers=("rows", "features"))
    for path, one in found:
        rows, features = number(one["rows"]), number(len(one["columns"]))
        add_row(shown, path.name, one["made_at"], one["clock"], rows, features)
    show(shown)
    return OK


def _find(settings: Settings, name: str) -> Path:
    """The set that a name, a folder or a manifest means."""
    return Path(name) if Path(name).exists() else settings.datasets_path / name


def _show(settings: Settings, name: str, as_json: bool) -> int:
    path = _find(settings, name)
    manifest = read_manifest(path)
    if as_json:
        write_json(manifest)
        return OK
    say(f"{path}: {number(manifest['rows'])} rows, made {manifest['made_at']}.", "green")
    say(_summary(manifest))
    names = ("column", "type", "rows", "nulls", "min", "max", "mean", "stddev")
    shown = table(*names, numbers=("rows", "nulls", "mean", "stddev"))
    for row in as_frame(manifest["statistics"]).iter_rows():
        add_row(shown, *(f"{one:.6g}" if isinstance(one, float) else one for one in row))
    show(shown)
    for said in manifest["notes"]:
        note(said)
    return OK


def _rebuild(settings: Settings, name: str, options: Options, as_json: bool) -> int:
    with Meter("Reading the spine", unit="rows") as meter:
        again = rebuild(
            _find(settings, name),
            settings,
            out=options.out,
            replace=options.replace,
            spine=options.spine,
            memory_bytes=options.memory_mib << 20,
            cores=options.cores or 1,
            progress=lambda what, done, total: meter.update(done, total, what),
        )
    if as_json:
        path = None if again.dataset.path is None else str(again.dataset.path)
        told = {"same": again.same, "path": path, "rows": again.dataset.rows}
        write_json({**told, "changes": again.changes, "remarks": again.remarks})
    elif again.same:
        say(f"The same {number(again.dataset.rows)} rows, bit for bit.", "green")
    else:
        say("The set is not the same.", "bold red")
    if not as_json:
        for said in (*again.changes, *again.remarks):
            note(said)
    return OK if again.same else FAULT
