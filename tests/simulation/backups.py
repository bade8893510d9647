"""Checkpoints in a simulated installation: made between any two steps, restored after any loss."""

from __future__ import annotations

import random
import shutil

from tegula.engine.runtime.checkpointing import Maker
from tegula.engine.runtime.clock import Clock
from tegula.engine.runtime.engine import Engine
from tegula.engine.runtime.restoring import restore
from tegula.engine.settings import Settings
from tegula.state.checkpoint_kept import prune, read_manifest, verify
from tegula.state.checkpoint_store import DirectoryStore
from tests.simulation.faults import Died
from tests.support.team import Team


def make_checkpoint(engine: Engine | Team, store: DirectoryStore, keep: int) -> None:
    """One checkpoint of the engine as it stands, and the oldest deleted."""
    take = engine.moment if isinstance(engine, Team) else lambda folder: maker.link(folder)
    maker: Maker = Maker(engine, take)
    maker.make(store)
    prune(store, keep)


def lose(settings: Settings) -> None:
    """The machine is gone with all it held, but the lake, which may lie elsewhere.

    (Without it, what the clock said of records since the checkpoint is not known any more.)
    """
    for path in settings.home.iterdir():
        if path.is_dir() and path != settings.lake_path:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def restore_any(
    settings: Settings, store: DirectoryStore, chance: random.Random, clock: Clock
) -> list[str]:
    """Restore one of the checkpoints, which all are whole, again and again if it dies of it.

    Returns what it died of.
    """
    deaths: list[str] = []
    for one in store.ids():
        assert not verify(store, read_manifest(store, one), lambda done, total: None), one
    manifest = read_manifest(store, chance.choice(store.ids()))
    while True:
        try:
            restore(settings, store, manifest, clock, lambda done, total: None)
        except Died as death:
            deaths.append(str(death))
        else:
            return deaths
