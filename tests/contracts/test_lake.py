"""What holds of every place that the lake may lie at: a folder, a bucket."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from tegula.connectors.archive import ArchiveLog
from tegula.engine.lake import tables
from tegula.schemas.errors import SettingsError, TableFileLost, TableUnwritable
from tegula.state.archive import Archive
from tegula.state.archive_files import ArchiveFiles
from tegula.state.dead_letter import DeadLetter
from tegula.state.lake import Lake, LocalLake
from tegula.state.lake_s3 import ObjectLake, open_lake
from tegula.state.upkeep import Upkeep, UpkeepPolicy
from tests.services.s3 import BUCKET, Buckets
from tests.unit.state.archive_rows import DAY_US, DISORDER_US, SCHEMA, START_US, rows

PARTITIONS = ("0", "import-a b/c=ü%")


@pytest.fixture(params=["folder", "bucket"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "folder":
        return open_lake("lake", {}, tmp_path)
    s3: Buckets = request.getfixturevalue("s3")
    return open_lake(f"s3://{BUCKET}/{uuid.uuid4().hex}/shop", s3.options, tmp_path)


def opened(lake: Lake) -> Archive:
    letter = DeadLetter(lake, "payments")
    return Archive(
        lake, "payments", SCHEMA, writer="test", disorder_us=DISORDER_US, dead_letter=letter
    )


def write(archive: Archive, first: int) -> None:
    for name in PARTITIONS:
        archive.append(rows(name, first, first + 10, bad=[first + 5]))
    archive.flush()


def replayed(lake: Lake) -> list[tuple[str, int]]:
    log = ArchiveLog("payments", ArchiveFiles(lake, "payments", SCHEMA), "at")
    reader = log.open({name: log.bounds(name)[0] for name in log.partitions()})
    found: list[tuple[str, int]] = []
    while (batch := reader.poll(7)) is not None:
        found += [(batch.partition, offset) for offset in batch.offsets.tolist()]
        found += [(batch.partition, bad.offset) for bad in batch.bad]
    return sorted(found)


def everything(count: int) -> list[tuple[str, int]]:
    return sorted((name, offset) for name in PARTITIONS for offset in range(count))


def keeper(lake: Lake, table: str = "log/payments") -> Upkeep:
    order = "_offset" if table.startswith("log/") else None
    policy = UpkeepPolicy(retention_s=0)
    return Upkeep(lake.below(table), policy, order=order, now_us=lambda: START_US)


def test_lake_that_was_never_written_is_empty(lake):
    assert list(lake.folders()) == []
    assert list(tables(lake)) == []
    files = ArchiveFiles(lake, "payments", SCHEMA)
    files.refresh()
    assert (files.partitions(), files.bounds("0")) == ((), (0, 0))
    assert DeadLetter(lake, "payments").counts() == {}
    with pytest.raises(FileNotFoundError):
        lake.stored("a/b")


def test_lake_has_no_table_where_the_process_that_made_it_died_before_its_first_entry(lake):
    for path in ("log/payments", "dead_letter/payments"):
        with lake.below(path).stream("_delta_log/_commit_1.json.tmp") as entry:
            entry.write(b"{")
    assert list(tables(lake)) == []
    assert DeadLetter(lake, "payments").counts() == {}
    write(opened(lake), 0)
    assert replayed(lake) == everything(10)
    assert len(DeadLetter(lake, "payments").list()) == 2


def test_lake_gives_back_what_was_archived(lake):
    archive = opened(lake)
    for first in (0, 10):
        write(archive, first)
    assert replayed(lake) == everything(20)
    assert opened(lake).places() == archive.places()
    assert [one for one, _ in tables(lake)] == ["log/payments", "dead_letter/payments"]
    assert len(DeadLetter(lake, "payments").list()) == 4
    assert DeadLetter(lake, "payments").show("0", 15) is not None
    files = ArchiveFiles(lake, "payments", SCHEMA)
    files.refresh()
    (span,) = files.spans("0", 12)
    assert [row for piece in span.read(12, 3) for row in piece["_offset"]] == [*range(12, 20)]


def test_lake_is_read_by_polars_without_us(lake):
    write(opened(lake), 0)
    options = {name: of for name, of in (lake.options or {}).items() if name.startswith("AWS_")}
    read = pl.read_delta(f"{lake.name}/log/payments", storage_options=options or None)
    assert sorted(zip(read["_partition"], read["_offset"], strict=True)) == everything(10)


def test_lake_takes_rows_once_whatever_is_repeated(lake):
    write(opened(lake), 0)
    archive = opened(lake)
    for name in PARTITIONS:
        archive.append(rows(name, 0, 20, bad=[5, 15]))
    archive.flush()
    assert replayed(lake) == everything(20)


def test_lake_is_kept_healthy_while_writers_go_on(lake):
    archive = opened(lake)
    for first in (0, 10, 20):
        write(archive, first)
    before = ArchiveFiles(lake, "payments", SCHEMA)
    before.refresh()
    report = keeper(lake).run()
    assert (report.files, report.merged) == (2, 6)
    write(archive, 30)
    assert keeper(lake).run().deleted == 6
    assert replayed(lake) == everything(40)
    assert keeper(lake, "dead_letter/payments").run().made == 1
    offsets = [
        offset
        for span in before.spans("0", 0)
        for piece in span.read(0, 100)
        for offset in piece["_offset"].to_list()
    ]
    assert offsets == [*range(30)]


def test_lake_that_lost_a_file_names_it_and_its_offsets(lake):
    archive = opened(lake)
    for first in (0, 10):
        write(archive, first)
    files = ArchiveFiles(lake, "payments", SCHEMA)
    files.refresh()
    lost = files.spans("0", 10)[0]
    torn = lake.below("log/payments").stream(lost.path)
    with torn as file:
        file.write(b"PAR1 and no more")
    with pytest.raises(TableFileLost, match="offsets 10 to 19 of partition 0"):
        replayed(lake)
    if isinstance(lake, ObjectLake):
        lake._files.delete_file(f"{lake._root}/log/payments/{lost.path}")
    else:
        Path(f"{lake.name}/log/payments/{lost.path}").unlink()
    with pytest.raises(TableFileLost, match="the file is gone"):
        replayed(lake)


def test_lake_shows_no_file_whose_writing_failed(lake):
    def broken() -> None:
        with lake.stream("a/b") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    with pytest.raises(FileNotFoundError):
        lake.stored("a/b")


@pytest.fixture
def store() -> Iterator[Buckets]:
    from tests.services.s3 import serving

    with serving() as buckets:
        yield buckets


def test_bucket_that_is_away_is_named_and_written_when_it_is_back(store, tmp_path):
    lake = open_lake(f"s3://{BUCKET}/shop", store.options, tmp_path)
    archive = opened(lake)
    write(archive, 0)
    store.away = True
    with pytest.raises(TableUnwritable) as refused:
        write(archive, 10)
    assert refused.value.retryable
    assert refused.value.where.startswith("s3://backups/shop/")
    with pytest.raises(TableUnwritable):
        replayed(lake)
    store.away = False
    archive.flush()
    write(archive, 20)
    assert replayed(lake) == everything(30)


def test_two_writers_of_one_version_in_a_bucket_are_told_apart(store, tmp_path):
    lake = open_lake(f"s3://{BUCKET}/shop", store.options, tmp_path)
    ours, theirs = opened(lake), opened(lake)
    write(ours, 0)
    theirs._table.refresh()
    write(ours, 10)
    for name in PARTITIONS:
        theirs.append(rows(name, 0, 30, bad=[5, 15, 25], ingested_us=START_US + DAY_US))
    theirs.flush()
    assert replayed(lake) == everything(30)
    options = dict(lake.options or {})
    assert DeltaTable(f"{lake.name}/log/payments", storage_options=options).version() == 3


@pytest.mark.parametrize("place", ["s3://", "gs://bucket/x"])
def test_place_that_means_nothing_is_refused(place, tmp_path):
    with pytest.raises(SettingsError, match="the lake cannot lie there"):
        open_lake(place, {}, tmp_path)
    with pytest.raises(SettingsError, match="endpiont"):
        open_lake("s3://bucket/x", {"endpiont": "http://127.0.0.1"}, tmp_path)


def test_folder_is_relative_to_the_project_or_a_url(tmp_path):
    assert open_lake("a", {}, tmp_path).name == str(tmp_path / "a")
    assert isinstance(open_lake(f"file://{tmp_path}/b", {}, Path("elsewhere")), LocalLake)
