"""What happens to an installation's disk: lost, damaged, full; and what an operator does then."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from pathlib import Path

from tegula.cli.exits import ENVIRONMENT
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.restoring import make_at_rest, restore
from tegula.state.checkpoint_kept import read_manifest
from tegula.state.checkpoint_store import MANIFEST
from tests.chaos.world import World
from tests.support.process import verb

TELLS_WITHIN_S = 3.0
_PAGE_BYTES = 4096
_FOOTER_BYTES = 64


def lose_online_store(world: World) -> None:
    """The engine is killed, and what servers read is gone."""
    world.engine.kill()
    shutil.rmtree(world.settings.online_path, ignore_errors=True)
    world.restart()


def lose_state(world: World) -> None:
    """The engine is killed, and some shards are gone."""
    world.engine.kill()
    shards = sorted(world.settings.state_path.glob("shard-*"))
    _lose(world, *world.chance.sample(shards, world.chance.randint(1, len(shards))))
    world.restart()


def restore_checkpoint(world: World) -> None:
    """The engine is killed, its state is lost, and an older one takes its place."""
    world.engine.kill()
    _restore(world)
    world.restart()


def damage_state(world: World) -> None:
    """Bytes of a shard's tables are others than were written; what is damaged is made anew.

    The engine sees it where it reads them, and then says which shard it is, and what to do. Who
    verifies the state finds it in any case, unless no row is in it (a filter, a file's properties,
    a file that is no longer used): it is left there then, and must change nothing.
    """
    world.engine.kill()
    whole = _checkpoints(world)  # first: it may open the state, and other files are there then
    tables = sorted(world.settings.state_path.glob("shard-*/*.sst"))
    if tables:
        damaged = world.chance.choice(tables)
        _flip(damaged, world.chance)
        if world.chance.random() < 0.5:
            code, _ = verb(world.settings.project, "state", "verify", "--sample", "0")
            if not code:
                world.happened["damage that no row is in"] += 1
                world.restart()
                return
        said = _start_and_hear(world)
        if said:
            assert "TG-504" in said, said
            assert damaged.parent.name in said, said
            assert "restore a checkpoint" in said, said
            world.happened["damage that the engine told of"] += 1
        for made in {*world.checkpoints.ids()} - {*whole}:
            world.checkpoints.delete(f"{made}/{MANIFEST}")  # made of the damaged state
        if world.chance.random() < 0.5:
            _lose(world, damaged.parent)
        else:
            _restore(world)
    world.restart()


def damage_commits(world: World) -> None:
    """Bytes of a shard's newest commits, not yet in tables, are others than were written.

    What was committed from there on is as if it had never been, and is read again; or the engine
    refuses the shard, which then is made anew.
    """
    world.engine.kill()
    logs = [path for path in world.settings.state_path.glob("shard-*/*.log") if _size(path)]
    if logs:
        damaged = world.chance.choice(sorted(logs))
        _flip(damaged, world.chance)
        world.lose_trust()
        said = _start_and_hear(world, stays_up=True)
        if not said:
            world.until(lambda: world.engine.report() is not None)
            return
        assert "TG-504" in said, said
        assert damaged.parent.name in said, said
        world.happened["damage that the engine told of"] += 1
        _lose(world, damaged.parent)
    world.restart()


def damage_online_store(world: World) -> None:
    """Pages of a file that servers read are others than were written; the store is made anew."""
    world.engine.kill()
    world.server.kill()
    files = sorted(world.settings.online_path.glob("shard-*/*/data.mdb"))
    if files:
        damaged = world.chance.choice(files)
        for _ in range(world.chance.randint(1, 4)):
            at = world.chance.randrange(_size(damaged) // _PAGE_BYTES) * _PAGE_BYTES
            _write(damaged, at, world.chance.randbytes(_PAGE_BYTES))
        said = _start_and_hear(world)
        if said:
            world.happened["damage that the engine told of"] += 1
        shutil.rmtree(world.settings.online_path, ignore_errors=True)
    world.restart()
    world.server.start()


def fill_disk(world: World) -> None:
    """The disk of the home is full for a while; the engine holds, or ends and says why."""
    before = len(world.engine.log)
    filler = world.settings.home / "filler"
    try:
        _fill(filler, world.chance.choice((0, 1 << 12, 1 << 16, 1 << 20, 1 << 23)))
        world.pause(5.0, at_least_s=1.0)
        world.happened["full disks that the engine told of"] += world.is_holding()
        if world.chance.random() < 0.3:
            world.engine.kill()
            world.start_engine()
            world.pause(3.0)
    finally:
        filler.unlink()
    if not world.engine.is_running:
        said = world.engine.log[before:]
        assert world.engine.wait(1) == ENVIRONMENT, said
        world.happened["engines that ended on a full disk"] += 1
        world.start_engine()
    world.until(lambda: world.engine.report() is not None)


def _fill(filler: Path, stays_bytes: int) -> None:
    """Let a file grow until the disk is full, but for so much."""
    with filler.open("wb", buffering=0) as file:
        with suppress(OSError):
            while file.write(bytes(1 << 20)):
                pass
        file.truncate(max(0, file.tell() - stays_bytes))


def _start_and_hear(world: World, *, stays_up: bool = False) -> str:
    """Start the engine over what is damaged; what it says of it, or nothing if it does not see it.

    It does not run any more then, but where it sees nothing and `stays_up`.
    """
    before = len(world.engine.log)
    world.start_engine()

    def told() -> str:
        if not world.engine.is_running:
            return world.engine.log[before:] or "ended without a word"
        report = world.engine.report()
        return "" if report is None or not report["mirror_fault"] else str(report["mirror_fault"])

    heard = world.holds_within(TELLS_WITHIN_S, lambda: bool(told()))
    said = told() if heard else ""
    if not world.engine.is_running:
        assert world.engine.wait(1) == ENVIRONMENT, said
    elif heard or not stays_up:
        world.engine.kill()
    return said


def _lose(world: World, *shards: Path) -> None:
    world.lose_trust()
    for shard in shards:
        shutil.rmtree(shard)


def _restore(world: World) -> None:
    """What the operator does whose state is gone: an older one, and what was defined since."""
    settings, store = world.settings, world.checkpoints
    wanted = world.chance.choice(_checkpoints(world))
    world.lose_trust()
    for lost in (settings.state_path, settings.online_path):
        shutil.rmtree(lost, ignore_errors=True)
    for path in settings.home.glob("registry.db*"):
        path.unlink()
    restore(settings, store, read_manifest(store, wanted), now_us, lambda done, total: None)
    world.apply()


def _checkpoints(world: World) -> list[str]:
    """Those that there are; one is made, of the state at rest, if there are none."""
    if not world.checkpoints.ids():
        make_at_rest(world.settings, world.checkpoints, now_us, lambda done, total: None)
    return world.checkpoints.ids()


def _flip(file: Path, chance: random.Random) -> None:
    """Change one byte, or one in each of many places; not in the end, some of which is unused."""
    size = max(1, _size(file) - _FOOTER_BYTES)
    for _ in range(chance.choice((1, 1, 100))):
        at = chance.randrange(size)
        with file.open("rb") as opened:
            opened.seek(at)
            (byte,) = opened.read(1)
        _write(file, at, bytes([byte ^ chance.randint(1, 255)]))


def _write(file: Path, at: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(content)


def _size(file: Path) -> int:
    return file.stat().st_size
