"""`tegula checkpoint`: copies of the state elsewhere, and a home made from one.

The running engine makes a checkpoint; it is asked by a file in the home, and says in its report how
far it is. Where none runs, the state is copied as it was left. Interrupting `create` stops the
watching, not the engine's work.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from ..connectors.rfc3339 import format_instant
from ..engine.amounts import number, size, span
from ..engine.progress import Meter
from ..engine.runtime.checkpoint_requests import Request, ask, read_answer, withdraw
from ..engine.runtime.clock import now_us
from ..engine.settings import Settings, load_settings
from ..schemas.errors import BadRequest, CheckpointDamaged, NotReady
from ..state.checkpoint_kept import LATEST, Listed, listed, read_manifest, verify
from ..state.checkpoint_places import open_store
from ..state.checkpoint_store import Store
from .children import stopping_on_signals
from .exits import ENVIRONMENT, INTERRUPTED, OK
from .output import add_row, note, say, show, table, write_error, write_json
from .report import engine_report
from .said import error_from

ACTIONS: Final = ("create", "list", "verify", "restore")
LOOK_S: Final = 0.2


def checkpoint(project: Path | None, words: Sequence[str], place: str | None, as_json: bool) -> int:
    """Do what the words say: `create`, `list`, or `verify` or `restore` and an id."""
    action, named = words[0], list(words[1:])
    if action not in ACTIONS or len(named) > (action in ("verify", "restore")):
        raise BadRequest(
            "this does not say what to do with checkpoints",
            where=" ".join(words),
            expected="create, list, verify ID or restore ID",
            hint="tegula checkpoint create",
        )
    settings = load_settings(project)
    root = settings.project if place is None else Path.cwd()
    store = open_store(place or settings.checkpoint_to, settings.checkpoint_options, root)
    wanted = named[0] if named else LATEST
    if action == "create":
        return _create(settings, store, place, as_json)
    if action == "list":
        return _list(store, as_json)
    if action == "verify":
        return _verify(store, wanted, as_json)
    return _restore(settings, store, wanted, as_json)


def _create(settings: Settings, store: Store, place: str | None, as_json: bool) -> int:
    made: Mapping[str, Any] | None
    if engine_report(settings) is None:
        from ..engine.runtime.restoring import make_at_rest

        with Meter("Copying", unit="bytes") as meter:
            made = make_at_rest(settings, store, now_us, meter.update).as_dict()
        withdraw(settings.checkpoint_path)
    else:
        to = place if place is None or "://" in place else str(Path(place).resolve())
        made = _asked(settings, to)
        if made is None:
            note("The engine goes on with it; `tegula checkpoint list` shows it when it is whole.")
            return INTERRUPTED
    if as_json:
        write_json({"to": store.name, **made})
    else:
        say(f"Checkpoint {made['id']} in {span(made['seconds'])}.", "green")
        say(
            f"{size(made['size_bytes'])}, {size(made['new_bytes'])} of it copied to {store.name}; "
            f"commits waited {span(made['linked_ms'] / 1e3)}."
        )
    return OK


def _asked(settings: Settings, to: str | None) -> Mapping[str, Any] | None:
    """What the engine made; None if the watching was interrupted. Raises what it ran into."""
    request = Request(uuid4().hex, to)
    ask(settings.checkpoint_path, request)
    with stopping_on_signals() as stop, Meter("Copying", unit="bytes") as meter:
        return _watch(settings, request, stop, meter)


def _watch(
    settings: Settings, request: Request, stop: threading.Event, meter: Meter
) -> Mapping[str, Any] | None:
    while not stop.wait(LOOK_S):
        said = read_answer(settings.checkpoint_path, request.token)
        if said is not None:
            if said["made"] is None:
                raise error_from(said["error"] or {})
            made: Mapping[str, Any] = said["made"]
            return made
        report = engine_report(settings)
        if report is None:
            raise NotReady(
                "the engine ended before the checkpoint was made",
                where=str(settings.home),
                hint="`tegula run` shows why; it makes the checkpoint when it runs again",
            )
        running = report.get("checkpoints", {}).get("running")
        if running:
            meter.update(running["done_bytes"], running["total_bytes"])
    return None


def _list(store: Store, as_json: bool) -> int:
    found = [_row(one) for one in listed(store, store.ids())]
    if as_json:
        write_json({"at": store.name, "checkpoints": found})
        return OK
    if not found:
        say(f"There is no checkpoint at {store.name}.")
        return OK
    shown = table("checkpoint", "made", "shards", "size", "state", numbers=("shards", "size"))
    for one in found:
        taken = None if one["size_bytes"] is None else size(one["size_bytes"])
        add_row(shown, one["id"], one["created"], one["shards"], taken, one["fault"] or "whole")
    show(shown)
    return OK


def _row(one: Listed) -> dict[str, Any]:
    manifest = one.manifest
    return {
        "id": one.id,
        "created": None if manifest is None else format_instant(manifest.created_us),
        "shards": None if manifest is None else len(manifest.shards),
        "size_bytes": None if manifest is None else manifest.size_bytes,
        "fault": None if one.fault is None else str(one.fault),
    }


def _verify(store: Store, wanted: str, as_json: bool) -> int:
    manifest = read_manifest(store, wanted)
    with Meter(f"Verifying {manifest.id}", unit="bytes") as meter:
        damaged = verify(store, manifest, meter.update)
    faults = [
        CheckpointDamaged(where=f"{store.name}/{file.path}", detail=f"it is {file.name}, damaged")
        for file in damaged
    ]
    if as_json:
        write_json(
            {
                "id": manifest.id,
                "size_bytes": manifest.size_bytes,
                "damaged": [{"name": one.name, "path": one.path} for one in damaged],
            }
        )
    elif not faults:
        count = number(len(manifest.files))
        say(f"Checkpoint {manifest.id} is whole: {count} files, {size(manifest.size_bytes)}.")
    for fault in faults:
        write_error(fault, as_json)
    return ENVIRONMENT if faults else OK


def _restore(settings: Settings, store: Store, wanted: str, as_json: bool) -> int:
    from ..engine.runtime.restoring import restore

    manifest = read_manifest(store, wanted)
    with Meter(f"Restoring {manifest.id}", unit="bytes") as meter:
        incarnations = restore(settings, store, manifest, now_us, meter.update)
        seconds = meter.elapsed_s
    if as_json:
        write_json(
            {
                "id": manifest.id,
                "created_us": manifest.created_us,
                "size_bytes": manifest.size_bytes,
                "incarnations": incarnations,
                "seconds": round(seconds, 3),
            }
        )
        return OK
    made = format_instant(manifest.created_us)
    say(f"Restored {manifest.id}, made {made}, into {settings.home}.", "green")
    say("`tegula run` reads on from there.")
    return OK
