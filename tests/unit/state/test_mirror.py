"""The mirror: online rows say what the state says, however the commits reach them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.state import mirror as mirroring
from tegula.state import outbox
from tegula.state.mirror import Mirror
from tegula.state.mirror_merge import Committed
from tegula.state.online.lmdb import LmdbWriter
from tegula.state.online.rows import Mark
from tests.support.mirrored import EXACT, GONE, NOON, SHAPE, Place, check
from tests.support.shapes import DAY, HOUR, MINUTE, SECOND
from tests.support.stores import open_shard, plain


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def test_take_adds_a_commit_to_the_row_that_is_there(place):
    place.feeder.commit([(b"a", NOON, 1.0)])
    place.take()
    place.feeder.commit([(b"a", NOON, 2.0), (b"b", NOON, 3.0)])
    place.take()
    assert place.tiles(b"a") == [(NOON, 1, 2)]
    assert place.stamps(b"a")["commit"] == 2
    check(place, [b"a", b"b"])


def test_take_adds_nothing_when_the_same_commits_come_again(place):
    place.feeder.commit([(b"a", NOON, 1.0)])
    offers = place.feeder.taken()
    place.mirror.take(offers)
    place.mirror.take(offers)
    check(place, [b"a"])


def test_take_adds_nothing_to_a_row_that_is_further_than_the_mark(place):
    """A crash between rows and mark cannot happen, but a rebuild reads rows past the mark."""
    place.feeder.commit([(b"a", NOON, 1.0)])
    offers = place.feeder.taken()
    place.mirror.catch_up()
    reread = Mirror(place.feeder.shard, place.writer, place.shapes)
    reread._mark = Mark(1, 0, (1,))
    reread.take(offers)
    check(place, [b"a"])


def test_takes_add_nothing_to_a_row_that_is_further_than_several_of_them(place):
    """A row read from the state while commits went on is ahead of the mark by more than one."""
    for _ in range(3):
        place.feeder.commit([(b"a", NOON, 1.0)])
    offers = place.feeder.taken()
    place.mirror.catch_up()
    reread = Mirror(place.feeder.shard, place.writer, place.shapes)
    reread._mark = Mark(1, 0, (1,))
    for offer in offers:
        reread.take([offer])
        check(place, [b"a"])


def test_take_reads_the_outbox_when_an_offer_was_lost(place):
    place.feeder.commit([(b"a", NOON, 1.0)])
    place.feeder.commit([(b"b", NOON, 1.0)])
    _, second = place.feeder.taken()
    place.mirror.take([second])
    check(place, [b"a", b"b"])
    assert place.feeder.shard.outbox.read().entries == []


def test_take_follows_a_fold_between_commits(place):
    place.feeder.commit([(b"a", NOON, 1.0)])
    place.feeder.fold([b"a"], NOON + MINUTE)
    place.feeder.commit([(b"a", NOON + MINUTE, 1.0)])
    place.take()
    assert place.tiles(b"a") == [(NOON, 2, 1), (NOON + MINUTE, 1, 1)]
    assert place.stamps(b"a") == {
        "incarnation": 1,
        "commit": 3,
        "folded_through": 2,
        "horizon_us": NOON + MINUTE,
        "newest_us": NOON + MINUTE,
    }
    check(place, [b"a"])


def test_mirror_that_fell_behind_a_fold_writes_the_key_anew(place):
    place.feeder.commit([(b"a", NOON, 1.0)])
    place.take()
    place.feeder.commit([(b"a", NOON + 1, 1.0)])
    place.feeder.fold([b"a"], NOON + HOUR)
    place.feeder.commit([(b"a", NOON + 2, 1.0)])
    place.feeder.taken()
    place.mirror.catch_up()
    assert place.stamps(b"a")["folded_through"] == 3
    check(place, [b"a"])


def test_take_deletes_a_key_that_a_fold_swept(place):
    place.feeder.commit([(b"a", NOON, 1.0), (b"b", GONE, 1.0)])
    place.take()
    place.feeder.fold([b"a", b"b"], GONE)
    place.take()
    assert place.is_absent(b"a")
    check(place, [b"a", b"b"])


def test_take_brings_a_swept_key_back_with_its_next_event(place):
    place.feeder.commit([(b"a", NOON, 1.0)])
    place.feeder.fold([b"a"], GONE)
    place.feeder.commit([(b"a", GONE, 1.0)])
    place.take()
    assert place.tiles(b"a") == [(GONE, 1, 1)]
    place.feeder.fold([b"a"], GONE + 2 * DAY)
    place.take()
    check(place, [b"a"])


def test_take_leaves_no_row_where_a_key_came_and_went_at_once(place):
    place.feeder.commit([(b"a", NOON, 1.0)])
    place.feeder.fold([b"a"], GONE)
    place.take()
    assert place.is_absent(b"a")


def test_take_moves_the_positions_though_no_event_was_the_shards_own(place):
    place.feeder.commit([(b"a", NOON, 1.0)])
    place.take()
    place.feeder.offers.append(Committed(place.feeder.shard.commit({}, {}), {}, {0: 7}))
    place.take()
    assert place.mirror.mark.positions == {0: 7}
    assert place.mirror.mark.commit == 2


def test_catch_up_after_a_restart_tells_how_far_the_state_has_come(place):
    """Whoever waits for a receipt must not wait for the next event of the stream."""
    place.feeder.commit([(b"a", NOON, 1.0), (b"a", NOON, 2.0)])
    place.writer.abandon()
    place.open()
    assert plain(place.writer.mark()) == Mark(1, 1, (1,), {0: 2})


def test_rebuild_writes_every_key_under_a_new_incarnation(place):
    place.feeder.commit([(b"a", NOON, 1.0), (b"b", NOON, 1.0)])
    place.feeder.fold([b"b"], NOON + HOUR)
    place.take()
    place.writer.abandon()
    place.feeder.shard.renew(incarnation=2, boot_id="boot")
    place.open(incarnation=2)
    assert place.mirror.mark.incarnation == 2
    assert place.stamps(b"a")["incarnation"] == 2
    check(place, [b"a", b"b"])


def test_mark_names_no_build_before_its_rows_are_whole(place):
    place.feeder.commit([(b"a", NOON, 1.0)])
    place.shapes[2] = SHAPE
    assert place.writer.mark().builds == (1,)
    place.mirror.rebuild_missing()
    assert place.writer.mark().builds == (1, 2)
    del place.shapes[1]
    place.mirror.rebuild_missing()
    place.mirror.catch_up()
    assert place.writer.mark().builds == (2,)


def test_absent_row_under_a_mark_of_another_incarnation_names_no_build(tmp_path):
    place = Place(tmp_path)
    place.writer.abandon()
    place.feeder.shard.renew(incarnation=2, boot_id="boot")
    writer = LmdbWriter(tmp_path / "online", 0, 2, 1 << 24)
    assert writer.mark() is None
    assert Mirror(place.feeder.shard, writer, {1: SHAPE}).mark == Mark(2, 0, ())
    writer.abandon()
    place.feeder.shard.abandon()


@pytest.fixture
def exact(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, shape=EXACT)
    yield made
    made.close()


def test_take_writes_the_segments_of_a_fold_and_drops_those_that_it_dropped(exact):
    exact.feeder.commit([(b"a", NOON + 1, 1.0), (b"a", NOON + HOUR, 1.0)])
    exact.feeder.fold([b"a"], NOON)
    exact.take()
    assert list(exact.segments(b"a")) == [(12, 0), (13, 0)]
    check(exact, [b"a"])
    exact.feeder.fold([b"a"], NOON + 2 * HOUR)
    exact.take()
    assert list(exact.segments(b"a")) == [(13, 0)]
    check(exact, [b"a"])


def test_mirror_that_fell_behind_reads_the_segments_that_the_outbox_names(exact):
    exact.feeder.commit([(b"a", NOON + 1, 1.0), (b"b", NOON, 1.0)])
    exact.feeder.fold([b"a", b"b"], NOON)
    exact.take()
    exact.feeder.commit([(b"a", NOON + 2, 1.0), (b"a", NOON + HOUR, 1.0)])
    exact.feeder.fold([b"a", b"b"], NOON)
    exact.feeder.fold([b"b"], GONE)
    exact.feeder.taken()
    exact.mirror.catch_up()
    check(exact, [b"a", b"b"])
    assert exact.segments(b"b") == {}


def test_rebuild_writes_all_segments_a_little_at_a_time(exact, monkeypatch):
    """A key with a month of instants must not need a month of memory."""
    monkeypatch.setattr(mirroring, "PAGE_BYTES", 100)
    exact.feeder.commit([(b"a", NOON + n * HOUR + m, 1.0) for n in range(5) for m in range(9)])
    exact.feeder.commit([(b"b", NOON, 1.0)])
    exact.feeder.fold([b"a", b"b"], NOON)
    exact.writer.abandon()
    exact.feeder.shard.renew(incarnation=2, boot_id="boot")
    exact.open(incarnation=2)
    assert len(exact.segments(b"a")) == 5
    check(exact, [b"a", b"b"])


def test_catch_up_takes_keys_with_many_segments_in_several_pages(exact, monkeypatch):
    monkeypatch.setattr(mirroring, "PAGE_KEYS", 3)
    for key in (b"a", b"b", b"c"):
        exact.feeder.commit([(key, NOON + n * HOUR, 1.0) for n in range(5)])
    exact.feeder.fold([b"a", b"b", b"c"], NOON)
    exact.feeder.taken()
    exact.mirror.catch_up()
    check(exact, [b"a", b"b", b"c"])


names = st.sampled_from([b"a", b"b", b"c"])
times = st.integers(0, 3 * DAY) | st.integers(0, 300).map(lambda n: NOON + n * SECOND)
commits = st.tuples(st.just("commit"), st.lists(st.tuples(names, times, st.just(1.0)), max_size=5))
folds = st.tuples(st.just("fold"), st.tuples(st.lists(names, min_size=1, unique=True), times))
steps = st.one_of(
    commits,
    commits,
    folds,
    st.sampled_from(["take", "take", "repeat", "lose", "crash", "rebuild"]).map(lambda n: (n, ())),
)


@given(
    steps=st.lists(steps, max_size=25),
    shape=st.sampled_from([SHAPE, EXACT, EXACT]),
    keys_max=st.sampled_from([2, 5, 1_000_000]),
)
def test_law_online_rows_follow_the_state_whatever_happens_on_the_way(
    tmp_path_factory, steps, shape, keys_max
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "KEYS_MAX", keys_max)
        follow(tmp_path_factory, steps, shape)


def follow(tmp_path_factory, steps, shape):
    place = Place(tmp_path_factory.mktemp("shard"), shape=shape)
    last, incarnation = [], 1
    for name, argument in steps:
        if name == "commit":
            place.feeder.commit(argument)
        elif name == "fold":
            place.feeder.fold(*argument)
        elif name == "take":
            last = place.feeder.taken()
            place.mirror.take(last)
            if last:  # a loss shows in the gap before the next offer, not before there is one
                check(place, [b"a", b"b", b"c"])
        elif name == "repeat":
            place.mirror.take(last)
        elif name == "lose":
            place.feeder.taken()
        elif name == "crash":
            place.feeder.taken()
            place.close()
            place.feeder.shard = open_shard(place.root / "state", incarnation)
            place.open(incarnation)
            check(place, [b"a", b"b", b"c"])
        else:
            place.feeder.taken()
            place.writer.abandon()
            incarnation += 1
            place.feeder.shard.renew(incarnation=incarnation, boot_id="boot")
            place.open(incarnation)
            check(place, [b"a", b"b", b"c"])
    place.mirror.catch_up()
    check(place, [b"a", b"b", b"c"])
    assert place.feeder.shard.outbox.read().entries == []
    place.close()
