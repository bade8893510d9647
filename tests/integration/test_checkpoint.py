"""Checkpoints end to end: what is restored from one catches up to the same values, always."""

from __future__ import annotations

import random
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tegula.connectors.local_log import LocalLog
from tegula.engine.runtime import restoring
from tegula.engine.runtime.restoring import make_at_rest, restore
from tegula.schemas.errors import (
    CheckpointDamaged,
    CheckpointPlaceTaken,
    HomeNotEmpty,
    LogRecreated,
    LogTruncated,
    ShardsFixed,
    StateError,
)
from tegula.state.checkpoint_kept import prune, read_manifest, verify
from tegula.state.checkpoint_places import open_store
from tegula.state.keys import encode_key, shard_of
from tegula.state.registry import Registry
from tests.services.s3 import BUCKET
from tests.support.homes import CARDS, SHARDS, Home, nothing


@pytest.fixture
def home(tmp_path: Path, seed: int) -> Iterator[Home]:
    made = Home(tmp_path, random.Random(seed))
    yield made
    made.driver.close()


@pytest.mark.parametrize("wanted", ["first", "second"])
def test_checkpoint_restored_after_the_loss_of_all_catches_up_to_the_same_values(home, wanted):
    home.send()
    made = {"first": home.checkpoint()}
    home.send()
    made["second"] = home.checkpoint()
    home.send()
    expected = home.values()
    lost = home.lose()
    incarnations = home.restore(made[wanted].id)
    assert all(
        new > old.incarnation for new, old in zip(incarnations, made[wanted].shards, strict=True)
    )
    home.open()
    assert [shard.incarnation for shard in home.driver.engine.shards] == incarnations
    home.driver.settle()
    assert home.values() == expected
    home.send()
    after = home.values()
    log = home.lose() / "log"  # a home that was never lost, given the same log, agrees
    shutil.rmtree(home.settings.home)
    lost.rename(home.settings.home)
    shutil.rmtree(home.settings.home / "log")
    shutil.copytree(log, home.settings.home / "log")
    home.open()
    home.driver.settle()
    assert home.values() == after


def test_checkpoint_with_the_lake_still_there_catches_up_to_the_same_values(home):
    home.send()
    home.checkpoint()
    home.send()
    expected = home.values()
    home.driver.engine.archiving.flush()
    lost = home.lose()
    shutil.copytree(lost / "lake", home.settings.lake_path)
    home.restore()
    home.open()
    home.driver.settle()
    assert home.values() == expected


def test_checkpoint_of_a_state_at_rest_is_that_of_a_running_one(home):
    home.send()
    expected = home.values()
    home.driver.crash()
    made = make_at_rest(home.settings, home.store, lambda: home.now_us, nothing)
    home.open()
    again = home.checkpoint()
    assert [one.applied for one in made.manifest.shards] == [one.applied for one in again.shards]
    home.lose()
    home.restore(made.manifest.id)
    home.open()
    home.driver.settle()
    assert home.values() == expected


def test_checkpoint_at_rest_needs_a_state(home, tmp_path):
    home.lose()
    home.open()
    home.driver.close()
    shutil.rmtree(home.settings.state_path)
    with pytest.raises(StateError, match="there is no state yet"):
        make_at_rest(home.settings, home.store, lambda: home.now_us, nothing)
    assert not home.store.ids()


def test_checkpoint_restored_outdates_what_an_online_store_still_holds(home):
    home.send()
    made = home.checkpoint()
    home.send()
    lost = home.lose()
    home.restore()
    # As a store on another machine would: it holds rows of later commits than the restored state.
    shutil.copytree(lost / "online", home.settings.online_path)
    home.open()
    reader = home.driver.engine.mirrors.reader()
    build = home.driver.engine.deployed.builds[0].id
    for card in CARDS:
        key = encode_key((card,), ("string",))
        mark, _ = reader.read(shard_of(key, SHARDS), build, (key,))
        assert mark is not None
        assert mark.incarnation not in {shard.incarnation for shard in made.shards}
    expected = home.values()
    home.lose()
    home.restore()
    home.open()
    assert home.values() == expected


def test_checkpoint_restored_twice_is_another_incarnation_each_time(home):
    home.send()
    home.checkpoint()
    home.lose()
    first = home.restore()
    home.open()
    home.now_us += 1
    home.lose()
    second = home.restore()
    assert all(b > a for a, b in zip(first, second, strict=True))
    registry = Registry(home.settings.registry_url_or_default)
    assert [registry.next_incarnation(n) for n in range(SHARDS)] == [n + 1 for n in second]
    registry.close()
    home.open()


def test_restore_refuses_a_home_that_holds_state_registry_or_online_rows(home):
    home.send()
    home.checkpoint()
    with pytest.raises(StateError, match="another engine holds"):
        home.restore()
    home.driver.close()
    for name in ("state", "online", "registry.db"):
        kept = home.root / "kept"
        home.settings.home.rename(kept)
        home.settings.home.mkdir()
        source = kept / name
        if source.is_dir():
            shutil.copytree(source, home.settings.home / name)
        else:
            shutil.copy(source, home.settings.home / name)
        with pytest.raises(HomeNotEmpty):
            home.restore()
        shutil.rmtree(home.settings.home)
        kept.rename(home.settings.home)
    home.open()


def test_restore_refuses_another_number_of_shards(home):
    home.send()
    manifest = home.checkpoint()
    home.lose()
    settings = home.settings.model_copy(update={"shards": SHARDS + 1})
    with pytest.raises(ShardsFixed):
        restore(settings, home.store, manifest, lambda: home.now_us, nothing)
    home.open()


def test_restore_names_a_damaged_file_and_puts_nothing_in_place(home):
    home.send()
    manifest = home.checkpoint()
    home.lose()
    chosen = max(manifest.files, key=lambda file: file.size)
    path = home.root / "backup" / chosen.path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert {file.checksum for file in verify(home.store, manifest, nothing)} == {chosen.checksum}
    with pytest.raises(CheckpointDamaged, match=chosen.checksum):
        home.restore()
    assert not home.settings.state_path.exists()
    assert not (home.settings.home / "registry.db").exists()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    home.restore()  # over what the attempt before left
    home.open()


class Died(BaseException):
    """The process ended here."""


@pytest.mark.parametrize("again", ["restore", "engine"])
@pytest.mark.parametrize("which", ["a file", "the registry's rename"])
def test_crash_in_the_middle_of_a_restore_is_mended_by_running_it_again(
    home, monkeypatch, which, again
):
    """Or, once the registry is in place, by an engine, which finds no state and begins anew."""
    home.send()
    home.checkpoint()
    home.send()
    expected = home.values()
    home.lose()
    synced = restoring.sync_file

    def dying(path: Path) -> None:
        synced(path)
        if (path == home.settings.home) == (which != "a file"):
            raise Died

    monkeypatch.setattr(restoring, "sync_file", dying)
    with pytest.raises(Died):
        home.restore()
    monkeypatch.undo()
    assert not home.settings.state_path.exists()
    assert (home.settings.home / "registry.db").exists() == (which != "a file")
    if again == "restore":
        home.restore()
    home.open()
    home.driver.settle()
    assert home.values() == expected


def test_restore_of_another_log_is_told_and_nothing_is_read(home):
    home.send()
    home.checkpoint()
    home.lose(all_of_it=True)
    home.restore()
    with pytest.raises(LogRecreated):
        home.open()


def test_restored_state_behind_the_beginning_of_its_log_is_told(home, monkeypatch):
    home.send()
    home.checkpoint()
    home.send()
    home.lose()
    home.restore()
    bounds = LocalLog.bounds

    def forgetful(log: LocalLog, partition: str) -> tuple[int, int]:
        _, end = bounds(log, partition)
        return end, end

    monkeypatch.setattr(LocalLog, "bounds", forgetful)
    with pytest.raises(LogTruncated):
        home.open()
    monkeypatch.undo()
    home.open()


@pytest.mark.parametrize("kept", [0, 7])
def test_restored_watermark_goes_on_where_the_log_begins_later(home, monkeypatch, kept):
    """The archive, lost too, is written from the log's beginning, which knows no maximum before."""
    home.send()
    manifest = home.checkpoint()
    old = [{"card_id": card, "amount": 1.0, "at": home.now_us - 1_800_000_000} for card in CARDS]
    for partition in ("0", "1"):
        home.driver.send("payments", old, partition=partition)
        home.sent += old
    home.send()
    expected = home.values()
    home.lose()
    home.restore()
    first = {at.partition: max(at.next_offset - kept, 0) for at in manifest.shards[0].applied}
    ordinals = manifest.streams["payments"].partitions
    bounds = LocalLog.bounds

    def shortened(log: LocalLog, partition: str) -> tuple[int, int]:
        return first.get(ordinals.get(partition, -1), 0), bounds(log, partition)[1]

    monkeypatch.setattr(LocalLog, "bounds", shortened)
    home.open()
    home.driver.settle()
    assert home.values() == expected


def test_checkpoints_of_two_homes_never_mix(home, tmp_path, seed):
    home.send()
    home.checkpoint()
    other = Home(tmp_path / "other", random.Random(seed))
    other.store = home.store
    other.send(8)
    with pytest.raises(CheckpointPlaceTaken):
        other.checkpoint()
    other.driver.close()


def test_checkpoint_of_a_home_that_was_replaced_is_refused(home):
    """Both run on: the one restored elsewhere goes on with the place, the old one is told."""
    home.send()
    home.checkpoint()
    lost = home.lose()
    home.restore()
    home.open()
    home.send()
    home.checkpoint()
    new = home.lose()
    shutil.rmtree(home.settings.home)
    lost.rename(home.settings.home)
    home.open()
    with pytest.raises(CheckpointPlaceTaken):
        home.checkpoint()
    assert len(home.store.ids()) == 2
    assert new.exists()


def test_checkpoints_past_those_kept_go_and_their_files_with_them(home):
    for _ in range(4):
        home.send(20)
        home.checkpoint()
    assert prune(home.store, 2) == 2
    left = [read_manifest(home.store, one) for one in home.store.ids()]
    assert len(left) == 2
    assert set(home.store.sizes()) == {f.checksum for m in left for f in m.files if f.size}
    assert not any(verify(home.store, manifest, nothing) for manifest in left)


def test_checkpoint_in_a_bucket_restores_the_same_values(home, s3):
    home.store = open_store(f"s3://{BUCKET}/{uuid.uuid4().hex}", s3.options, home.root)
    home.send()
    first = home.checkpoint()
    home.send()
    second = home.checkpoint()
    assert prune(home.store, 1) == 1
    assert home.store.ids() == [second.id]
    assert set(home.store.sizes()) == {file.checksum for file in second.files if file.size}
    assert {f.checksum for f in first.files} & {f.checksum for f in second.files}
    home.send()
    expected = home.values()
    home.lose()
    home.restore()
    home.open()
    home.driver.settle()
    assert home.values() == expected
