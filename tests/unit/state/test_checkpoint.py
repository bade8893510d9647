"""Checkpoints of a state: what is copied, what is noticed, and what a crash at any step leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tegula.schemas.errors import (
    CheckpointDamaged,
    CheckpointMissing,
    CheckpointPlaceTaken,
    CheckpointStoreFault,
    FormatUnknown,
)
from tegula.state.checkpoint import Copier, Interrupted, Moment, checksum_of, flush, link
from tegula.state.checkpoint_kept import LATEST, listed, prune, read_manifest, verify
from tegula.state.checkpoint_manifest import (
    FORMATS,
    Manifest,
    decode,
    manifest_path,
    next_id,
    require_known,
)
from tegula.state.checkpoint_store import DirectoryStore
from tegula.state.registry import Registry, ViewPrint
from tegula.state.shard import Shard
from tegula.windows.geometry import Sliding
from tests.support.ingesting import small_memory
from tests.support.shapes import HOUR, MINUTE, shape_of
from tests.support.stores import Feeder, open_shard

SHAPE = shape_of(["count", "sum"], [Sliding(HOUR, MINUTE)])
NOON = 12 * HOUR
HOME = "0123456789abcdef"


class Died(BaseException):
    """The process ended here."""


class State:
    """Two shards and a registry, and the place that they are copied to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = Registry(f"sqlite:///{root / 'registry.db'}")
        self.registry.create(2)
        prints = {"v": ViewPrint("structural", "operational")}
        self.registry.apply({}, prints, author="t", message="", now_us=0)
        self.registry.mark_live(1)
        self.registry.set_log_identity("events", "log-1")
        self.registry.partition_ordinal("events", "p0")
        self.feeders = [Feeder(open_shard(root / f"live-{number}"), SHAPE) for number in range(2)]
        self.feeders[1].shard.number = 1
        self.store: DirectoryStore = DirectoryStore(root / "place")
        self.copier = Copier(HOME)
        self.now_us = 1_714_564_800_000_000

    @property
    def shards(self) -> list[Shard]:
        return [feeder.shard for feeder in self.feeders]

    def commit(self, shard: int, key: bytes = b"k") -> None:
        self.feeders[shard].commit([(key, NOON, 1.0)])

    def moment(self) -> Moment:
        self.now_us += 1
        flush(self.shards)
        return link(self.shards, self.registry, self.root / "moment", self.now_us)

    def copy(self, moment: Moment | None = None, stop: Callable[[], bool] = bool) -> Manifest:
        taken = moment or self.moment()
        return self.copier.copy(taken, self.registry, self.store, quiet, stop)

    def restored(self, manifest: Manifest) -> list[list[Any]]:
        """What the shards of a checkpoint hold of key `k`."""
        found = []
        for part in manifest.shards:
            folder = self.root / "restored" / manifest.id / str(part.number)
            folder.mkdir(parents=True)
            for file in part.files:
                content = b"".join(self.store.chunks(file.path))
                (folder / file.name).write_bytes(content)
            shard = Shard(part.number, folder, small_memory(), 0)
            assert (shard.incarnation, shard.commit_number) == (part.incarnation, part.commit)
            found.append(Feeder(shard, SHAPE).tiles(b"k"))
            shard.abandon()
        return found


def quiet(done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path)
    yield made
    made.registry.close()
    for shard in made.shards:
        shard.abandon()


def test_checkpoint_holds_the_moment_and_nothing_of_after(state):
    state.commit(0)
    state.commit(1)
    moment = state.moment()
    state.commit(0, b"later")
    state.commit(0)
    manifest = state.copy(moment)
    assert [part.commit for part in manifest.shards] == [1, 1]
    assert [one.next_offset for part in manifest.shards for one in part.applied] == [1, 1]
    assert manifest.streams["events"].identity == "log-1"
    assert dict(manifest.streams["events"].partitions) == {"p0": 0}
    assert [(b.id, b.view, b.status, b.structural) for b in manifest.builds] == [
        (1, "v", "live", "structural")
    ]
    assert state.restored(manifest) == [[(NOON, 1, 1)], [(NOON, 1, 1)]]
    assert verify(state.store, manifest, quiet) == []
    assert read_manifest(state.store, LATEST) == manifest


def test_checkpoint_copies_what_changed_and_nothing_twice(state, monkeypatch):
    for number in range(2):
        state.commit(number)
    put = monkeypatch_puts(state, monkeypatch)
    first = state.copy()
    assert len(put) == len(set(put)) == len({f.checksum for f in first.files if f.size})
    put.clear()
    state.commit(1)
    second = state.copy()
    before = {file.path for file in first.files}
    assert not before & set(put)
    tables = [path for path in put if path in named(second, ".sst")]
    assert len(tables) == 1, "the shard that changed has one new table, the other none"
    assert set(named(first, ".sst")) <= set(named(second, ".sst"))


def test_checkpoint_remembers_checksums_of_files_that_never_change(state, monkeypatch):
    for number in range(2):
        state.commit(number)
    state.copy()
    read: list[str] = []

    def counted(path: Path) -> str:
        read.append(path.suffix)
        return checksum_of(path)

    monkeypatch.setattr("tegula.state.checkpoint.checksum_of", counted)
    state.commit(0)
    state.copy()
    assert read.count(".sst") == 1


def named(manifest: Manifest, suffix: str) -> list[str]:
    return [file.path for file in manifest.files if file.name.endswith(suffix)]


def monkeypatch_puts(state: State, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    put: list[str] = []
    original = state.store.put_file

    def counted(path: str, source: Path) -> None:
        put.append(path)
        original(path, source)

    monkeypatch.setattr(state.store, "put_file", counted)
    return put


def test_checkpoint_whose_files_were_cut_short_is_stored_again(state):
    state.commit(0)
    first = state.copy()
    table = next(file for file in first.files if file.name.endswith(".sst"))
    path = state.root / "place" / table.path
    path.write_bytes(path.read_bytes()[:-1])
    assert table in verify(state.store, first, quiet)
    state.copy()
    assert verify(state.store, first, quiet) == []


@pytest.mark.parametrize("harm", ["flip", "cut", "lengthen", "remove"])
def test_verify_names_the_file_that_is_damaged(state, harm):
    state.commit(0)
    manifest = state.copy()
    for chosen in {file.checksum: file for file in manifest.files if file.size}.values():
        path = state.root / "place" / chosen.path
        whole = path.read_bytes()
        if harm == "remove":
            path.unlink()
        else:
            harmed = {"flip": bytes([whole[0] ^ 1]) + whole[1:], "cut": whole[:-1]}
            path.write_bytes(harmed.get(harm, whole + b"x"))
        damaged = verify(state.store, manifest, quiet)
        assert {file.checksum for file in damaged} == {chosen.checksum}
        path.write_bytes(whole)


def test_manifest_that_is_damaged_is_named_and_keeps_nothing_from_going_on(state):
    state.commit(0)
    first = state.copy()
    path = state.root / "place" / first.path
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"commit": 1', b'"commit": 2'))
    with pytest.raises(CheckpointDamaged, match=first.id):
        read_manifest(state.store, LATEST)
    (shown,) = listed(state.store, state.store.ids())
    assert shown.manifest is None
    assert isinstance(shown.fault, CheckpointDamaged)
    second = state.copy()
    assert second.id > first.id
    with pytest.raises(CheckpointDamaged):
        prune(state.store, 2)
    assert verify(state.store, second, quiet) == []
    assert prune(state.store, 1) == 1
    assert state.store.ids() == [second.id]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}"])
def test_manifest_that_is_none_is_refused(content):
    with pytest.raises((CheckpointDamaged, FormatUnknown)):
        decode(content, "here")


def test_manifest_of_another_version_or_format_is_refused(state):
    manifest = state.copy()
    raw = orjson.loads(manifest.encode())
    raw["version"] = 2
    with pytest.raises(FormatUnknown):
        decode(orjson.dumps(raw), "here")
    require_known(manifest, "here")
    for formats in ({**FORMATS, "block": 99}, {**FORMATS, "stone": 1}):
        raw = orjson.loads(manifest.encode())
        with pytest.raises(FormatUnknown):
            require_known(Manifest(**{**fields(manifest), "formats": formats}), "here")


def fields(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in Manifest.__dataclass_fields__}


@pytest.mark.parametrize("wanted", ["20990101T000000.000000Z", "..", "a/b", ""])
def test_checkpoint_that_is_not_there_is_named_with_those_that_are(state, wanted):
    manifest = state.copy()
    with pytest.raises(CheckpointMissing) as told:
        read_manifest(state.store, wanted)
    assert manifest.id in told.value.expected


def test_latest_of_an_empty_place_is_missing(state):
    with pytest.raises(CheckpointMissing):
        read_manifest(state.store, LATEST)


def test_ids_grow_even_if_the_clock_is_set_back(state):
    first = state.copy()
    state.now_us -= 3_600_000_000
    second = state.copy()
    assert second.id > first.id
    assert second.created_us < first.created_us
    assert next_id(5, ["not an id of ours"]) < "not an id of ours"


def test_copy_that_is_stopped_leaves_no_checkpoint_and_helps_the_next(state, monkeypatch):
    state.commit(0)
    asked = iter([False, True, True, True, True, True])
    with pytest.raises(Interrupted):
        state.copy(stop=lambda: next(asked))
    assert state.store.ids() == []
    assert len(state.store.sizes()) == 1
    put = monkeypatch_puts(state, monkeypatch)
    manifest = state.copy()
    assert len(put) < len({file.checksum for file in manifest.files if file.size})
    assert verify(state.store, manifest, quiet) == []


STEPS = {
    f"{when} {name}": (call, which, when)
    for name, call, which in (
        ("the first file", "put_file", 0),
        ("the third file", "put_file", 2),
        ("the manifest", "put", 0),
        ("the old manifest's deletion", "delete", 0),
        ("a file's deletion", "delete", 1),
    )
    for when in ("before", "after")
}
"""The durable writes of a checkpoint, each from both sides: the call, which of them, the side."""


@pytest.mark.parametrize(("call", "which", "when"), STEPS.values(), ids=STEPS)
def test_crash_at_any_step_leaves_every_whole_checkpoint_usable(state, call, which, when):
    state.commit(0)
    first = state.copy()
    state.commit(0)
    state.commit(1)
    with pytest.MonkeyPatch.context() as patch:
        dying(patch, state.store, call, which, when)
        with pytest.raises(Died):
            copy_and_prune(state)
    ids = state.store.ids()
    assert ids, "one is always there"
    for listing in listed(state.store, ids):
        assert listing.manifest is not None
        assert verify(state.store, listing.manifest, quiet) == []
    if call == "put_file" or (call == "put" and when == "before"):
        assert ids == [first.id]
        assert state.restored(first) == [[(NOON, 1, 1)], []]
    state.copier = Copier(HOME)  # a new process
    last = state.copy()
    prune(state.store, 1)
    assert state.store.ids() == [last.id]
    assert set(state.store.sizes()) == {file.checksum for file in last.files if file.size}
    assert state.restored(last) == [[(NOON, 1, 2)], [(NOON, 1, 1)]]


def copy_and_prune(state: State) -> None:
    state.copy()
    prune(state.store, 1)


def dying(
    patch: pytest.MonkeyPatch, store: DirectoryStore, call: str, which: int, when: str
) -> None:
    """Let the process end before or after the `which`th `call`."""
    original, count = getattr(store, call), iter(range(1_000))

    def made(*args: Any) -> None:
        dies = next(count) == which
        if dies and when == "before":
            raise Died
        original(*args)
        if dies:
            raise Died

    patch.setattr(store, call, made)


def test_place_of_another_home_is_refused_before_anything_is_stored(state):
    state.commit(0)
    state.copy()
    state.commit(0)
    before = dict(state.store.sizes())
    state.copier = Copier("another")
    with pytest.raises(CheckpointPlaceTaken):
        state.copy()
    assert dict(state.store.sizes()) == before


def test_checkpoint_is_taken_back_if_another_home_wrote_meanwhile(state, monkeypatch):
    state.commit(0)
    state.copy()
    moment = state.moment()
    put = state.store.put
    restored = Copier(HOME)

    def raced(path: str, content: bytes) -> None:
        monkeypatch.undo()
        for shard in state.shards:
            shard.renew(incarnation=shard.incarnation + 1, boot_id="elsewhere")
        later = link(state.shards, state.registry, state.root / "other", state.now_us + 1)
        restored.copy(later, state.registry, state.store, quiet, bool)
        put(path, content)

    monkeypatch.setattr(state.store, "put", raced)
    with pytest.raises(CheckpointPlaceTaken):
        state.copy(moment)
    ours = next_id(moment.created_us, ())
    assert ours not in state.store.ids()
    assert len(state.store.ids()) == 2


def test_place_that_fills_up_leaves_the_checkpoint_before(state, monkeypatch):
    state.commit(0)
    first = state.copy()
    state.commit(0)

    def full(source: Path, to: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(CheckpointStoreFault, match="No space left"):
        state.copy()
    assert state.store.ids() == [first.id]
    assert verify(state.store, first, quiet) == []


def test_manifest_lies_where_its_id_says(state):
    manifest = state.copy()
    moved = "20000101T000000.000000Z"
    state.store.put(manifest_path(moved), manifest.encode())
    with pytest.raises(CheckpointDamaged, match="the manifest of"):
        read_manifest(state.store, moved)
