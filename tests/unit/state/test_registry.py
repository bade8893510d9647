"""The registry: versions, the life of builds, the catalogue, numbers that never repeat."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tegula.schemas.errors import (
    BackfillRunning,
    FormatUnknown,
    RegistryMissing,
    RegistryUnreachable,
    SettingsError,
    ShardsFixed,
    UnknownBuild,
    UnknownView,
    WrongBuildStatus,
)
from tegula.state.registry import Registry, Version, ViewPrint


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/deep/registry.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def connect() -> Iterator[Callable[[str], Registry]]:
    """Registries that are closed at the end of the test."""
    opened: list[Registry] = []

    def open_one(url: str) -> Registry:
        opened.append(Registry(url))
        return opened[-1]

    yield open_one
    for registry in opened:
        registry.close()


Connect = Callable[[str], Registry]


@pytest.fixture
def registry(connect: Connect, url: str) -> Registry:
    registry = connect(url)
    registry.create(16)
    return registry


def apply(registry: Registry, now_us: int = 1, **structural: str) -> Version:
    """Apply views given as name=structural print; the definitions are just these prints."""
    views = {view: ViewPrint(print_, "op") for view, print_ in structural.items()}
    definitions = {"views": dict(structural)}
    return registry.apply(definitions, views, author="ada", message="why", now_us=now_us)


def serve(registry: Registry, view: str, build_id: int) -> int:
    registry.mark_live(build_id)
    return registry.activate(view, build_id)


# Creation


def test_create_fixes_the_number_of_shards(registry: Registry, url: str, connect: Connect) -> None:
    registry.create(16)
    with pytest.raises(ShardsFixed, match="Got 8, expected 16"):
        connect(url).create(8)
    assert registry.shards() == 16


def test_registry_is_missing_before_create(url: str, connect: Connect) -> None:
    with pytest.raises(RegistryMissing):
        connect(url).head()
    with pytest.raises(RegistryMissing):
        connect("sqlite://").head()


def test_registry_leaves_no_file_behind_when_it_is_only_read(
    tmp_path: Path, connect: Connect
) -> None:
    with pytest.raises(RegistryMissing):
        connect(f"sqlite:///{tmp_path}/registry.db").head()
    assert not list(tmp_path.iterdir())


def test_registry_refuses_a_format_that_it_does_not_know(
    registry: Registry, url: str, connect: Connect
) -> None:
    with registry._database.write() as db:
        db.exec_driver_sql("UPDATE meta SET value = 99 WHERE name = 'format'")
    with pytest.raises(FormatUnknown, match="format 99"):
        connect(url).head()


def test_registry_says_that_the_database_does_not_answer(tmp_path: Path, connect: Connect) -> None:
    (tmp_path / "registry.db").write_bytes(b"this is no database, whatever its name says" * 50)
    with pytest.raises(RegistryUnreachable, match="not a database"):
        connect(f"sqlite:///{tmp_path}/registry.db").head()


def test_registry_never_shows_a_password(connect: Connect) -> None:
    with pytest.raises(SettingsError) as caught:
        connect("nonsense://user:hunter2@host/db")
    assert "hunter2" not in str(caught.value)


# Versions


def test_head_is_none_before_the_first_apply(registry: Registry) -> None:
    assert registry.head() is None
    assert registry.catalogue().version == 0


def test_apply_makes_numbered_versions(registry: Registry) -> None:
    first = apply(registry, now_us=7, spend="a")
    assert first == Version(1, {"views": {"spend": "a"}}, "ada", "why", 7)
    assert apply(registry, now_us=8, spend="b").number == 2
    assert registry.head() == Version(2, {"views": {"spend": "b"}}, "ada", "why", 8)


def test_apply_writes_nothing_when_nothing_changed(registry: Registry) -> None:
    first = apply(registry, now_us=7, spend="a")
    catalogue = registry.catalogue_version()
    assert apply(registry, now_us=8, spend="a") == first
    assert registry.catalogue_version() == catalogue
    assert len(registry.builds()) == 1


def test_apply_tells_servers_by_a_new_catalogue_version(registry: Registry) -> None:
    apply(registry, spend="a")
    before = registry.catalogue()
    apply(registry, spend="a", more="m")
    after = registry.catalogue()
    assert (before.definitions, after.definitions) == (1, 2)
    assert after.version > before.version


def test_apply_keeps_the_build_when_only_the_operational_print_changed(registry: Registry) -> None:
    registry.apply({"o": 1}, {"v": ViewPrint("s", "1")}, author="", message="", now_us=1)
    registry.apply({"o": 2}, {"v": ViewPrint("s", "2")}, author="", message="", now_us=2)
    (build,) = registry.builds()
    assert (build.version, build.definition) == (1, {"o": 1})
    assert registry.prints(2) == {"v": ViewPrint("s", "2")}


# Builds


def test_build_of_a_new_view_catches_up_at_once(registry: Registry) -> None:
    apply(registry, spend="a")
    (build,) = registry.builds()
    assert (build.id, build.view, build.status, build.structural) == (
        1,
        "spend",
        "catching_up",
        "a",
    )


def test_build_of_a_changed_view_is_planned_beside_the_active_one(registry: Registry) -> None:
    apply(registry, spend="a")
    serve(registry, "spend", 1)
    apply(registry, spend="b")
    assert [(b.id, b.status) for b in registry.builds()] == [(1, "live"), (2, "planned")]
    assert [b.id for b in registry.builds(["planned"])] == [2]


def test_build_that_is_no_longer_wanted_is_retired_before_it_served(registry: Registry) -> None:
    apply(registry, spend="a", other="o")
    serve(registry, "spend", 1)
    apply(registry, spend="b")
    apply(registry, spend="c")
    assert [(b.id, b.view, b.status) for b in registry.builds()] == [
        (1, "spend", "live"),
        (2, "other", "retired"),
        (3, "spend", "retired"),
        (4, "spend", "planned"),
    ]


def test_build_is_not_made_again_when_an_earlier_definition_returns(registry: Registry) -> None:
    apply(registry, spend="a")
    serve(registry, "spend", 1)
    apply(registry, spend="b")
    apply(registry, spend="a")
    assert [(b.id, b.status) for b in registry.builds()] == [(1, "live"), (2, "retired")]


def test_backfill_starts_the_planned_build(registry: Registry) -> None:
    apply(registry, spend="a")
    serve(registry, "spend", 1)
    apply(registry, spend="b")
    started = registry.start_backfill("spend", 9)
    assert (started.id, started.status) == (2, "catching_up")


def test_backfill_makes_a_rebuild_when_none_is_planned(registry: Registry) -> None:
    apply(registry, spend="a")
    serve(registry, "spend", 1)
    rebuilt = registry.start_backfill("spend", 9)
    assert (rebuilt.id, rebuilt.structural, rebuilt.status) == (2, "a", "catching_up")


def test_backfill_is_refused_while_one_runs(registry: Registry) -> None:
    apply(registry, spend="a")
    with pytest.raises(BackfillRunning, match="build 1"):
        registry.start_backfill("spend", 9)


def test_backfill_is_refused_for_an_unknown_view(registry: Registry) -> None:
    with pytest.raises(UnknownView):
        registry.start_backfill("spend", 9)
    apply(registry, spend="a")
    with pytest.raises(UnknownView, match="expected spend"):
        registry.start_backfill("spent", 9)


def test_mark_live_may_be_repeated_but_not_undone(registry: Registry) -> None:
    apply(registry, spend="a")
    registry.mark_live(1)
    registry.mark_live(1)
    registry.retire(1)
    with pytest.raises(WrongBuildStatus, match="Got retired, expected catching_up"):
        registry.mark_live(1)
    with pytest.raises(UnknownBuild):
        registry.mark_live(7)


# Catalogue


def test_activate_switches_and_switches_back(registry: Registry) -> None:
    apply(registry, spend="a")
    first = serve(registry, "spend", 1)
    registry.start_backfill("spend", 9)
    second = serve(registry, "spend", 2)
    catalogue = registry.catalogue()
    assert second == first + 1 == catalogue.version == registry.catalogue_version()
    assert (catalogue.active, catalogue.previous) == ({"spend": 2}, {"spend": 1})
    registry.activate("spend", 1)
    catalogue = registry.catalogue()
    assert (catalogue.active, catalogue.previous) == ({"spend": 1}, {"spend": 2})


def test_activate_changes_nothing_when_repeated(registry: Registry) -> None:
    apply(registry, spend="a")
    assert serve(registry, "spend", 1) == registry.activate("spend", 1)


def test_activate_refuses_a_build_that_is_not_live_or_not_of_the_view(registry: Registry) -> None:
    apply(registry, spend="a", other="o")
    with pytest.raises(WrongBuildStatus, match="Got catching_up, expected live"):
        registry.activate("spend", 1)
    with pytest.raises(UnknownBuild, match="of the view 'spend'"):
        registry.activate("spend", 2)


def test_retire_refuses_the_build_that_serves(registry: Registry) -> None:
    apply(registry, spend="a")
    serve(registry, "spend", 1)
    with pytest.raises(WrongBuildStatus, match="does not serve"):
        registry.retire(1)


def test_retire_takes_a_build_out_of_what_can_be_rolled_back_to(registry: Registry) -> None:
    apply(registry, spend="a")
    serve(registry, "spend", 1)
    registry.start_backfill("spend", 9)
    serve(registry, "spend", 2)
    registry.retire(1)
    registry.retire(1)
    assert registry.catalogue().previous == {}


def test_retire_takes_a_removed_view_out_of_the_catalogue(registry: Registry) -> None:
    apply(registry, spend="a", other="o")
    builds = {b.view: b.id for b in registry.builds()}
    serve(registry, "spend", builds["spend"])
    apply(registry, other="o")
    assert registry.catalogue().active == {"spend": builds["spend"]}
    registry.retire(builds["spend"])
    assert registry.catalogue().active == {}


# Streams, incarnations, progress


def test_ordinals_are_given_once_over_all_streams(
    registry: Registry, url: str, connect: Connect
) -> None:
    given = [registry.partition_ordinal(s, p) for s, p in [("a", "0"), ("b", "0"), ("a", "1")]]
    assert given == [0, 1, 2]
    assert connect(url).partition_ordinal("b", "0") == 1
    assert registry.partitions("a") == {"0": 0, "1": 2}
    assert [registry.stream_ordinal(s) for s in ("x", "y", "x")] == [0, 1, 0]


def test_log_identity_is_kept_with_the_stream(registry: Registry) -> None:
    assert registry.log_identity("a") is None
    ordinal = registry.stream_ordinal("a")
    registry.set_log_identity("a", "one")
    registry.set_log_identity("a", "two")
    assert registry.log_identity("a") == "two"
    assert registry.stream_ordinal("a") == ordinal


def test_incarnation_only_grows(registry: Registry, url: str, connect: Connect) -> None:
    assert [registry.next_incarnation(3), registry.next_incarnation(3)] == [1, 2]
    assert connect(url).next_incarnation(3) == 3
    assert registry.next_incarnation(4) == 1


def test_progress_is_replaced(registry: Registry) -> None:
    assert registry.progress("backfill:1") is None
    registry.put_progress("backfill:1", {"rows": 1}, 10)
    registry.put_progress("backfill:1", {"rows": 2}, 11)
    progress = registry.progress("backfill:1")
    assert progress is not None
    assert (progress.payload, progress.updated_us) == ({"rows": 2}, 11)


def test_registry_is_atomic_when_a_write_fails(registry: Registry) -> None:
    apply(registry, spend="a")
    before = registry.catalogue_version()
    with pytest.raises(AttributeError):
        registry.apply({"x": 1}, {"v": None}, author="", message="", now_us=1)  # type: ignore[dict-item]
    assert registry.catalogue_version() == before
    assert registry.head() == apply(registry, spend="a")


def test_incarnations_never_repeat_over_threads(registry: Registry) -> None:
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: registry.next_incarnation(0), range(40)))
    assert sorted(given) == list(range(1, 41))


_TAKE = """
import json, sys
from tegula.state.registry import Registry
registry = Registry(sys.argv[1])
incarnations = [registry.next_incarnation(0) for _ in range(15)]
print(json.dumps([incarnations, [registry.partition_ordinal("s", str(i)) for i in range(3)]]))
"""


def test_numbers_never_repeat_over_processes(registry: Registry, url: str) -> None:
    command = [sys.executable, "-c", _TAKE, url]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    taken = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    incarnations = [number for given, _ in taken for number in given]
    assert sorted(incarnations) == list(range(1, 46))
    assert [ordinals for _, ordinals in taken] == [[0, 1, 2]] * 3
