"""What Redis adds to the contract of an online store: expiry, generations, nodes, faults."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tegula.schemas.errors import (
    OnlineStoreFull,
)
from tegula.state.mirror import Mirror
from tegula.state.online import redis_link, redis_sweep, redis_writer
from tegula.state.online.redis_address import Address
from tegula.state.online.redis_layout import FIELDS_MAX, StoredMark
from tegula.state.online.redis_reader import RedisReader
from tegula.state.online.redis_writer import SLACK_MS, RedisStore, RedisWriter
from tegula.state.online.rows import Mark, RowWrites
from tegula.state.rows import segment_number
from tests.services.redis import Server
from tests.support.mirrored import EXACT, NOON, SHAPE
from tests.support.redis_store import Store
from tests.support.shapes import DAY, HOUR
from tests.support.stores import Feeder, open_shard, tiles_of_row

MARK = Mark(1, 5, (1,), {0: 10})
PLACE = Path()


@pytest.fixture
def held(redis_server: Server) -> Iterator[Store]:
    made = Store(redis_server.url)
    made.writer.mark()
    yield made
    made.close()


def head(newest_us: int = 0) -> bytes:
    """What a store looks at of a head."""
    return bytes(16) + newest_us.to_bytes(8, "little", signed=True) + bytes(32)


def segment(label: int) -> bytes:
    """What a store looks at of a segment, and a label."""
    return struct.pack("<4xIQ", 1, label)


def now_ms(server: Server) -> int:
    seconds, micros = server.client().time()
    return int(seconds) * 1_000 + int(micros) // 1_000


# Rows that expire.


def test_row_of_a_bounded_retention_is_kept_so_long_after_its_newest_event(held, redis_server):
    before_ms = now_ms(redis_server)
    ahead_us = (before_ms + 30 * 86_400_000) * 1_000
    rows = [(b"ahead", head(ahead_us)), (b"now", head(before_ms * 1_000)), (b"old", head(0))]
    held.writer.write([RowWrites(1, rows, retention_us=HOUR)], MARK)
    client = redis_server.client()
    expires = {key[-3:]: client.pexpiretime(key) for key in held.keys(client)}
    kept_ms = HOUR // 1_000 + SLACK_MS
    assert expires[b"ead"] == ahead_us // 1_000 + kept_ms
    for label in (b"now", b"old"):
        assert 0 <= expires[label.rjust(3, b":")] - before_ms - kept_ms < 60_000


def test_row_of_a_retention_without_bound_stays(held, redis_server):
    held.writer.write([RowWrites(1, [(b"a", head())])], MARK)
    client = redis_server.client()
    assert [client.ttl(key) for key in held.keys(client)] == [-1]


@pytest.mark.parametrize("shape", [SHAPE, EXACT], ids=["coarse", "exact"])
def test_key_whose_row_expired_is_written_from_the_state_with_all_that_it_has(
    held, redis_server, tmp_path, shape
):
    feeder = Feeder(open_shard(tmp_path), shape)
    mirror = Mirror(feeder.shard, held.writer, {1: shape})
    mirror.rebuild_missing()
    feeder.commit([(b"a", NOON, 1.0), (b"a", NOON + 1, 1.0)])
    feeder.fold([b"a"], NOON + HOUR // 2)
    mirror.take(feeder.taken())
    hours = [NOON // HOUR]
    before = held.reader.read_with_segments(0, 1, [b"a"], hours)[1:]
    client = redis_server.client()
    client.delete(*held.keys(client))
    feeder.commit([(b"a", NOON + DAY // 2, 1.0), (b"b", NOON, 1.0)])
    mirror.take(feeder.taken())
    _, rows, segments = held.reader.read_with_segments(0, 1, [b"a", b"b"], hours)
    assert [tiles_of_row(shape, row) for row in rows] == [feeder.tiles(b"a"), feeder.tiles(b"b")]
    assert segments[0] == before[1][0]
    assert (segments[0] != {}) == (shape is EXACT)
    feeder.shard.abandon()


def test_key_whose_row_expired_before_it_was_ever_folded_has_its_older_chunks(
    held, redis_server, tmp_path
):
    """Also where two commits are taken at once, of which the second alone has the key."""
    feeder = Feeder(open_shard(tmp_path), SHAPE)
    mirror = Mirror(feeder.shard, held.writer, {1: SHAPE})
    mirror.rebuild_missing()
    feeder.commit([(b"a", NOON, 1.0)])
    mirror.take(feeder.taken())
    client = redis_server.client()
    client.delete(*held.keys(client))
    feeder.commit([(b"b", NOON, 1.0)])
    feeder.commit([(b"a", NOON + HOUR, 1.0), (b"b", NOON + HOUR, 1.0), (b"c", NOON, 1.0)])
    mirror.take(feeder.taken())
    _, rows = held.reader.read(0, 1, [b"a", b"b", b"c"])
    expected = [feeder.tiles(key) for key in (b"a", b"b", b"c")]
    assert [tiles_of_row(SHAPE, row) for row in rows] == expected
    assert len(feeder.tiles(b"a")) == 2
    feeder.shard.abandon()


# Generations.


def test_reader_takes_no_row_of_a_generation_that_was_given_up(held):
    held.writer.write([RowWrites(1, [(b"a", b"old"), (b"b", b"old")])], MARK)
    assert held.reader.read(0, 1, [b"a"]) == (MARK, [(b"old", None)])
    held.writer.write([], Mark(1, 5, ()))
    held.writer.keep_builds(set())
    held.writer.write([RowWrites(1, [(b"a", b"new")])], Mark(1, 6, ()))
    assert held.reader.read(0, 1, [b"b"]) == (Mark(1, 6, ()), [(None, None)])
    held.writer.write([], MARK)
    assert held.reader.read(0, 1, [b"a", b"b"]) == (MARK, [(b"new", None), (None, None)])


class Scripted:
    """A link that answers from a list: the mark before the rows, the rows, the mark after."""

    def __init__(self, *answers: tuple[StoredMark | None, Any, StoredMark | None]) -> None:
        self.address = Address.parse("redis://nowhere")
        self.answers = list(answers)

    def ask(self, asked: Sequence[tuple[int, Sequence[Any]]], **_: object) -> list[list[Any]]:
        (_, commands), (before, rows, after) = asked[0], self.answers.pop(0)
        marks = [None if one is None else one.encode() for one in (before, after)]
        return [[marks[0], *([rows] if len(commands) > 2 else []), marks[1]]]


def generation(name: str, *builds: int) -> StoredMark:
    return StoredMark(Mark(1, 1, builds), {1: name})


@pytest.mark.parametrize(
    ("last", "named"),
    [
        ((generation("g", 1), [b"H", None], generation("g", 1)), True),
        ((generation("g", 1), [None, None], generation("g")), False),
        ((generation("g"), [None, None], generation("g", 1)), False),
        ((generation("g"), [None, None], generation("g")), False),
    ],
)
def test_rows_count_only_if_the_marks_before_and_after_name_their_build(last, named):
    first = generation("g", 1), None, generation("g", 1)  # tells the generation to ask for
    mark, rows = RedisReader(Scripted(first, last), "p").read(0, 1, [b"k"])  # type: ignore[arg-type]
    assert mark is not None
    assert (1 in mark.builds) == named
    assert not named or rows == [(b"H", None)]


def test_rows_between_two_generations_are_read_again():
    """One mark alone, on either side, would have made a key of the new rows out of nothing."""
    asked = [
        (generation("g", 1), None, generation("g", 1)),
        (generation("g", 1), [None, None], generation("other", 1)),
        (generation("other", 1), [b"H", None], generation("other", 1)),
    ]
    _, rows = RedisReader(Scripted(*asked), "p").read(0, 1, [b"k"])  # type: ignore[arg-type]
    assert rows == [(b"H", None)]


def test_sweep_deletes_what_no_mark_leads_to_and_nothing_else(held, redis_server, monkeypatch):
    monkeypatch.setattr(redis_link, "PAGE_KEYS", 3)
    monkeypatch.setattr(redis_sweep, "PAGE_KEYS", 3)
    neighbour = Store(redis_server.url)
    neighbour.writer.mark()
    for one in (held, neighbour):
        for build in (1, 2):
            many = [(b"%d" % n, b"H") for n in range(20)]
            one.writer.write([RowWrites(build, many)], MARK)
    held.writer.keep_builds({1})
    client = redis_server.client()
    assert len(held.keys(client)) == 40
    while not held.store.sweep.is_done:
        held.writer.check_readers()
    assert len(held.keys(client)) == 20
    assert len(neighbour.keys(client)) == 40
    assert held.reader.read(0, 1, [b"7"])[1] == [(b"H", None)]
    neighbour.close()


def test_rows_of_an_engine_that_ended_in_the_middle_are_swept(held, redis_server, monkeypatch):
    monkeypatch.setattr(RedisWriter, "_write_command", stop_at_the_mark(RedisWriter._write_command))
    monkeypatch.setattr(redis_writer, "_SCRIPT_KEYS", 2)
    with pytest.raises(KeyboardInterrupt):
        held.writer.write([RowWrites(1, [(b"%d" % n, b"H") for n in range(5)])], MARK)
    monkeypatch.undo()
    client = redis_server.client()
    assert held.reader.read(0, 1, [b"0"]) == (None, [(None, None)])
    assert len(held.keys(client)) == 4
    again = RedisStore(redis_server.url, {}, held.prefix)
    again.open_writer(PLACE, 0, 1).mark()
    while not again.sweep.is_done:
        again.sweep.step()
    assert held.keys(client) == []
    again.link.close()


def stop_at_the_mark(made: Any) -> Any:
    def command(self: RedisWriter, rows: Any, mark: bytes) -> Any:
        if mark:
            raise KeyboardInterrupt
        return made(self, rows, mark)

    return command


# Writes that need several scripts.


def test_write_of_many_rows_is_whole_however_many_scripts_it_takes(held, monkeypatch):
    monkeypatch.setattr(redis_writer, "_SCRIPT_KEYS", 3)
    keys = [b"%d" % n for n in range(20)]
    many = [(b"7", segment_number(n, 0), segment(n)) for n in range(3 * FIELDS_MAX)]
    rows = [(key, b"H" + key) for key in keys]
    held.writer.write([RowWrites(1, rows, [(b"7", b"B")], segments=many)], MARK)
    mark, found = held.reader.read(0, 1, keys)
    assert (mark, [one for one, _ in found]) == (MARK, [b"H" + key for key in keys])
    assert held.writer.heads(1, keys) == [b"H" + key for key in keys]
    hours = range(0, 3 * FIELDS_MAX, 1_000)
    segments = held.reader.read_with_segments(0, 1, [b"7"], hours)[2]
    assert segments == [{hour: [segment(hour)] for hour in hours}]


def test_mark_is_left_as_it_was_where_a_row_is_refused(own_redis, monkeypatch):
    """Rows go several scripts at once: one that fails must keep the mark from going."""
    own_redis.start()
    held = Store(own_redis.url)
    held.writer.mark()
    held.writer.write([RowWrites(1, [(b"a", b"H")])], MARK)
    client = own_redis.client()
    client.config_set("maxmemory", client.info("memory")["used_memory"] + (1 << 20))
    large = [(b"%d" % n, bytes(1 << 18)) for n in range(40)]
    with pytest.raises(OnlineStoreFull) as full:
        held.writer.write([RowWrites(1, large)], Mark(1, 6, (1,)))
    assert "maxmemory" in str(full.value)
    assert held.reader.mark(0) == MARK
    client.config_set("maxmemory", 0)
    held.writer.write([RowWrites(1, large)], Mark(1, 6, (1,)))
    assert held.reader.read(0, 1, [b"39"]) == (Mark(1, 6, (1,)), [(bytes(1 << 18), None)])
    held.close()
