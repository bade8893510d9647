"""What holds of every place that checkpoints may lie at: a directory, a bucket."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tegula.schemas.errors import CheckpointStoreFault, SettingsError
from tegula.state.checkpoint_places import ObjectStore, open_store
from tegula.state.checkpoint_store import DirectoryStore, Store
from tests.services.s3 import BUCKET, Buckets


@pytest.fixture(params=["directory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "directory":
        return open_store("backup", {}, tmp_path)
    s3: Buckets = request.getfixturevalue("s3")
    return open_store(f"s3://{BUCKET}/{uuid.uuid4().hex}/shop", s3.options, tmp_path)


def test_store_that_was_never_written_is_empty(store):
    assert (store.ids(), dict(store.sizes())) == ([], {})
    assert store.get("a/manifest.json") is None
    assert list(store.chunks("files/a")) == []
    store.delete("files/a")
    store.delete("a/manifest.json")
    assert (store.ids(), dict(store.sizes())) == ([], {})


@pytest.mark.parametrize("size", [1, 5 << 20, (11 << 20) + 3])
def test_store_gives_back_the_bytes_that_were_put(store, tmp_path, size):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "source").write_bytes(content)
    store.put_file("files/a", tmp_path / "source")
    assert b"".join(store.chunks("files/a")) == content
    assert dict(store.sizes()) == {"a": size}
    assert store.ids() == []


def test_store_lists_what_has_a_manifest_in_order_and_deletes_it_whole(store, tmp_path):
    (tmp_path / "source").write_bytes(b"x")
    store.put_file("files/a", tmp_path / "source")
    for name in ("2", "1", "3"):
        store.put(f"{name}/manifest.json", name.encode())
    assert store.ids() == ["1", "2", "3"]
    store.put("2/manifest.json", b"again")
    assert store.get("2/manifest.json") == b"again"
    store.delete("1/manifest.json")
    assert (store.ids(), store.get("1/manifest.json")) == (["2", "3"], None)
    store.delete("files/a")
    assert dict(store.sizes()) == {}
    assert store.ids() == ["2", "3"]


def test_store_that_refuses_is_named(tmp_path):
    (tmp_path / "backup").write_text("a file where a folder should be")
    store = open_store("backup", {}, tmp_path)
    with pytest.raises(CheckpointStoreFault, match="backup"):
        store.put("1/manifest.json", b"x")


def test_store_without_a_bucket_or_a_server_is_named(tmp_path, s3):
    nobody = {**s3.options, "endpoint": "http://127.0.0.1:1"}
    store = open_store("s3://no-such-place/shop", nobody, tmp_path)
    with pytest.raises(CheckpointStoreFault, match="s3://no-such-place"):
        store.ids()


def test_directory_that_lost_power_in_the_middle_shows_no_torn_object(tmp_path):
    store = DirectoryStore(tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.new").write_bytes(b"half")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "manifest.json.new").write_bytes(b"{")
    assert store.ids() == []
    assert "a" not in store.sizes()


@pytest.mark.parametrize("place", ["", None, "s3://", "gs://bucket/x"])
def test_place_that_means_nothing_is_refused(place, tmp_path):
    with pytest.raises(SettingsError):
        open_store(place, {}, tmp_path)


def test_option_that_means_nothing_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="endpiont"):
        open_store("s3://bucket/x", {"endpiont": "http://127.0.0.1"}, tmp_path)
    assert isinstance(open_store("s3://b/x", {"region": "eu"}, tmp_path), ObjectStore)


def test_directory_is_relative_to_the_project_or_a_url(tmp_path):
    assert open_store("a", {}, tmp_path).name == str(tmp_path / "a")
    assert open_store(f"file://{tmp_path}/b", {}, Path("elsewhere")).name == f"{tmp_path}/b"
