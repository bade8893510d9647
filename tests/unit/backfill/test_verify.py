"""Verifying: a state that is right is clean, whatever its windows; what is wrong is found."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from tegula.schemas.errors import StateHeld
from tegula.state.online.rows import RowWrites
from tegula.state.rows import (
    BODY_SUFFIX,
    COPY_PREFIX,
    HEAD_SUFFIX,
    IDENTITY_KEY,
    JUDGED_PREFIX,
    Identity,
)
from tests.support.verifying import (
    CARDS,
    Home,
    card_with,
    count_one_more,
    database_of,
    key_of,
    online_writer,
    place_of,
    rebuild,
    verify,
)


@pytest.fixture(scope="module")
def chance(seed) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def lived(tmp_path_factory, chance) -> Home:
    """A home at rest, not to be changed."""
    home = Home(tmp_path_factory.mktemp("home"), chance)
    home.live(rounds=14)
    home.rest()
    return home


@pytest.fixture
def home(lived, tmp_path) -> Home:
    """A copy of it, to be tampered with."""
    return lived.copied(tmp_path / "home")


def checks(report) -> dict[str, int]:
    return {check.name: check.faults for check in report.checks}


def looked_at(report, name: str) -> dict[str, int]:
    return next(dict(check.counts) for check in report.checks if check.name == name)


def test_state_with_windows_of_all_kinds_is_clean(lived):
    report = verify(lived)
    assert report.faults == []
    names = ["checksums", "rows", "archive", "positions", "counters", "online store", "values"]
    assert list(checks(report)) == names
    values = looked_at(report, "values")
    assert values["keys"] == len(CARDS) + 6
    assert values["values"] == 14 * len(CARDS) + 3 * 6
    rows = looked_at(report, "rows")
    assert {"heads", "bodies", "chunks", "segments", "positions", "seen ids", "copies"} <= {*rows}


def test_sample_is_as_large_as_asked_and_none_reads_no_events(lived):
    assert looked_at(verify(lived, sample=2), "values")["keys"] == 4
    assert [check.name for check in verify(lived, sample=0).checks][-1] == "online store"


def test_verifying_changes_nothing(home):
    before = verify(home)
    again = verify(home)
    assert [check.counts for check in again.checks] == [check.counts for check in before.checks]


def test_engine_that_runs_is_not_read_beside(tmp_path, chance):
    home = Home(tmp_path, chance)
    try:
        with pytest.raises(StateHeld, match="stop the engine first"):
            verify(home)
    finally:
        home.rest()


def test_flipped_byte_in_a_file_is_found_and_named(home):
    folder = home.settings.state_path / "shard-01"
    with database_of(home, 1) as database:
        database.flush()
    file = max(folder.glob("*.sst"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    report = verify(home)
    assert checks(report)["checksums"] >= 1
    found = [fault for fault in report.faults if fault.check == "checksums"]
    assert {fault.shard for fault in found} == {1}
    assert all(file.name in fault.cause for fault in found)


def test_shard_that_does_not_open_is_named(home):
    folder = home.settings.state_path / "shard-01"
    (folder / "CURRENT").write_bytes(b"nonsense\n")
    report = verify(home)
    (fault,) = report.faults
    assert (fault.check, fault.shard) == ("checksums", 1)
    assert [check.name for check in report.checks] == ["checksums", "rows"]


@pytest.mark.parametrize("suffix", [BODY_SUFFIX, HEAD_SUFFIX])
def test_wrong_value_in_a_block_is_found_in_the_sample_and_by_key(home, suffix):
    card = count_one_more(home, suffix)
    shard, _ = place_of(card)
    for report in (verify(home), verify(home, card)):
        # The online row is what the state was.
        assert {fault.check for fault in report.faults} == {"online store", "values"}
        for fault in report.faults:
            assert (fault.shard, fault.key) == (shard, {"card_id": card})
            assert "events stored" in fault.cause or fault.check == "online store"
    assert verify(home, *[one for one in CARDS if one != card]).faults == []


def test_state_of_another_key_is_found_in_every_feature(home):
    (shard, base), (_, other) = place_of("c1"), place_of(neighbour("c1"))
    with database_of(home, shard) as database:
        rows = [(row, value) for row, value in database.items() if row.startswith(other)]
        for row, _ in [one for one in database.items() if one[0].startswith(base)]:
            database.delete(row)
        for row, value in rows:
            database.put(base + row[len(other) :], value)
    report = verify(home, "c1")
    assert {fault.feature for fault in report.faults} >= {"events", "sum_1h", "by_shop", "of_five"}
    fault = next(fault for fault in report.faults if fault.feature == "events")
    assert fault.stored != fault.recomputed
    assert fault.at is not None


def neighbour(card: str) -> str:
    shard = place_of(card)[0]
    return next(one for one in CARDS if one != card and place_of(one)[0] == shard)


def test_key_whose_rows_are_gone_is_found_by_the_sample(home):
    shard, base = place_of("c5")
    with database_of(home, shard) as database:
        for row in [row for row, _ in database.items() if row.startswith(base)]:
            database.delete(row)
    report = verify(home)
    assert {fault.key["card_id"] for fault in report.faults} == {"c5"}
    assert all("no row of this key" in fault.cause for fault in report.faults)


def test_bytes_that_do_not_decode_are_named_with_their_key(home):
    card = card_with(home, HEAD_SUFFIX)
    shard, base = place_of(card)
    with database_of(home, shard) as database:
        database.put(base + HEAD_SUFFIX, database.get(base + HEAD_SUFFIX)[:-1])
    report = verify(home)
    assert checks(report)["rows"] >= 1
    assert {fault.key["card_id"] for fault in report.faults if fault.key} == {card}


def test_file_of_the_archive_that_is_gone_or_torn_is_named_with_its_offsets(home):
    gone, torn = sorted((home.settings.lake_path / "log").rglob("part-*.parquet"))[:2]
    gone.unlink()
    torn.write_bytes(torn.read_bytes()[:-1])
    report = verify(home)
    assert checks(report)["archive"] == 2
    causes = [fault.cause for fault in report.faults if fault.check == "archive"]
    for file, said in ((gone, "the file is gone: offsets "), (torn, " bytes: offsets ")):
        assert [said in cause for cause in causes if file.name in cause] == [True]
    assert "values are not compared" in report.checks[-1].notes[0]


def test_archive_that_is_gone_is_replaced_by_the_log(home):
    shutil.rmtree(home.settings.lake_path / "log")
    report = verify(home)
    assert report.faults == []
    assert looked_at(report, "values")["events"] == 14 * 31


def test_log_that_is_gone_is_told(home):
    shutil.rmtree(home.settings.home / "log")
    report = verify(home)
    assert report.faults == []  # the archive has it all; the engine will not start
    notes = next(check.notes for check in report.checks if check.name == "positions")
    assert "TG-300" in notes[0]
    assert not (home.settings.home / "log").exists()


def test_shard_that_knew_the_copies_and_was_lost_before_they_were_archived_is_told(home):
    shutil.rmtree(home.settings.lake_path / "log")
    with database_of(home, 0) as database:  # the only stream's ids are in the first shard
        for row in [row for row, _ in database.items() if row[:5] in (JUDGED_PREFIX, COPY_PREFIX)]:
            database.delete(row)
    report = verify(home)
    values = report.checks[-1]
    assert (report.faults, values.counts["keys"]) == ([], 0)
    assert "which events are copies" in values.notes[0]


def test_events_that_nobody_has_any_more_are_told_and_not_compared(home):
    shutil.rmtree(home.settings.home / "log")
    shutil.rmtree(home.settings.lake_path / "log")
    report = verify(home)
    assert {fault.check for fault in report.faults} == {"positions", "values"}
    assert looked_at(report, "values")["keys"] == 0


def test_crash_leaves_a_state_that_is_clean(tmp_path, chance):
    home = Home(tmp_path, chance)
    home.live(rounds=4)
    home.send([home.event() for _ in range(40)])
    engine = home.driver.engine
    failing = engine.shards[1]

    def fail(*_: object) -> int:
        raise OSError("no space")

    failing.commit = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no space"):
        home.driver.settle()
    home.crash()
    report = verify(home)
    assert report.faults == []
    assert looked_at(report, "counters")["at different positions"] >= 1
    home.open()
    home.live(rounds=2)
    home.rest()
    report = verify(home)
    assert report.faults == []
    assert looked_at(report, "counters").get("at different positions", 0) == 0


def test_backfilled_redriven_and_swept_states_are_clean(tmp_path, chance):
    home = Home(tmp_path, chance)
    home.live(rounds=8)
    home.driver.redrive("payments", expired="sales")
    home.driver.backfill("sales")
    home.now_us += 40 * 86_400_000_000
    home.driver.advance_to(home.now_us)
    home.live(rounds=4)
    home.rest()
    report = verify(home)
    assert report.faults == []
    assert looked_at(report, "values")["keys"] > len(CARDS)


def test_online_row_that_is_gone_or_of_another_key_is_found_and_follows_a_rebuild(home):
    shard, _ = place_of("c1")
    gone, other = key_of("c1"), key_of(neighbour("c1"))
    writer = online_writer(home, shard)
    mark = writer.mark()
    assert mark is not None
    head, body = writer.read(1, [other])[1][0]
    assert head is not None
    writes = RowWrites(1, heads=[(gone, head)], bodies=[] if body is None else [(gone, body)])
    writer.write([writes], mark)
    writer.close()
    report = verify(home)
    (fault,) = report.faults
    assert (fault.check, fault.shard, fault.key) == ("online store", shard, {"card_id": "c1"})
    writer = online_writer(home, shard)
    writer.write([RowWrites(1, deletes=[gone])], mark)
    writer.close()
    (fault,) = verify(home).faults
    assert "0 events online" in fault.cause
    rebuild(home, "c1")
    assert verify(home).faults == []
    home.open()
    home.driver.settle()
    home.rest()
    report = verify(home)
    assert report.faults == []
    assert looked_at(report, "online store")["keys"] == len(CARDS) + 6


def test_online_store_of_a_later_state_is_named(home):
    writer = online_writer(home, 0)
    mark = writer.mark()
    assert mark is not None
    writer.write([], replace(mark, commit=mark.commit + 5))
    writer.close()
    (fault,) = verify(home).faults
    assert (fault.check, fault.shard) == ("online store", 0)
    assert "the state went back" in fault.cause


def test_online_store_may_be_ahead_of_a_state_that_a_power_cut_left(home):
    writer = online_writer(home, 0)
    mark = writer.mark()
    assert mark is not None
    writer.write([], replace(mark, commit=mark.commit + 5))
    writer.close()
    with database_of(home, 0) as database:
        identity = Identity.decode(database.get(IDENTITY_KEY))
        database.put(IDENTITY_KEY, replace(identity, clean=False, boot_id="before").encode())
    report = verify(home)
    said = "ahead of what a power cut left, to be written anew"
    assert (report.faults, looked_at(report, "online store")[said]) == ([], 1)


def test_online_store_that_was_wiped_is_no_fault(home):
    shutil.rmtree(home.settings.online_path)
    report = verify(home)
    assert (report.faults, looked_at(report, "online store")["to be written"]) == ([], 2)
