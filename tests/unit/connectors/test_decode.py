from __future__ import annotations

import json
from collections import Counter
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tegula.connectors.decode import JsonDecoder
from tests.support.records import (
    AT,
    BAD,
    GOOD,
    NASTY,
    PLAIN,
    SCHEMA,
    TRAPS,
    decoder,
    one,
    raw_batch,
    verdicts,
)


@settings(suppress_health_check=list(HealthCheck))
@given(st.data())
def test_law_decoding_a_batch_is_decoding_its_records(data):
    """On mixtures of nasty and plain records, whatever the decoder has seen and learned before."""
    kinds = st.sampled_from([NASTY, PLAIN, GOOD])
    pools = data.draw(st.lists(kinds, min_size=1, max_size=3))
    seed = data.draw(st.integers(0, 2**32))
    count = data.draw(st.sampled_from([1, 40, 127, 128, 400, 700]))
    rng = np.random.default_rng(seed)
    records = [
        pools[i % len(pools)][rng.integers(len(pools[i % len(pools)]))] for i in range(count)
    ]
    warm = decoder()
    if data.draw(st.booleans()):
        warm.decode(raw_batch(PLAIN))
    expected = verdicts(decoder().decode(raw_batch([])))
    for index, record in enumerate(records):
        expected |= verdicts(decoder().decode(raw_batch([record], first_offset=index)))
    assert verdicts(warm.decode(raw_batch(records))) == expected
    assert verdicts(decoder().decode(raw_batch(records))) == expected


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.just(AT),
    st.datetimes().map(lambda t: t.isoformat() + "Z"),
    st.lists(st.integers(), max_size=2),
    st.lists(st.none() | st.text(max_size=5), max_size=3),
    st.lists(st.none() | st.booleans() | st.floats(-1e3, 1e3), max_size=3),
)
names = st.one_of(st.sampled_from(sorted(SCHEMA)), st.text(max_size=4))
objects = st.lists(st.tuples(names, values), max_size=7)


@st.composite
def written(draw):
    """JSON objects as producers write them: any order, spacing and escapes, names twice."""
    pairs = draw(objects)
    if draw(st.integers(0, 9)):
        pairs.insert(draw(st.integers(0, len(pairs))), ("at", AT))
    colon, comma = draw(st.sampled_from([(":", ","), (": ", ", "), (" :\t", " ,\n")]))
    ascii_only = draw(st.booleans())
    parts = [
        json.dumps(name, ensure_ascii=ascii_only)
        + colon
        + json.dumps(value, ensure_ascii=ascii_only)
        for name, value in pairs
    ]
    return ("{" + comma.join(parts) + "}").encode("utf-8", "surrogatepass")


@settings(suppress_health_check=list(HealthCheck))
@given(st.lists(written(), min_size=1, max_size=6))
def test_law_the_columnar_way_and_the_strict_way_agree(records):
    """Each record many times over, so that layouts are learned from it, against it alone."""
    batch = decoder().decode(raw_batch([r for r in records for _ in range(128)]))
    got = verdicts(batch)
    for index, record in enumerate(records):
        (_, *expected) = next(iter(verdicts(one(record)).values()))
        for copy in range(128):
            assert list(got[(index * 128 + copy) * 3][1:]) == expected


@pytest.mark.parametrize(("teacher", "trap"), TRAPS)
def test_a_record_that_almost_has_the_layout_is_judged_as_if_it_were_alone(teacher, trap):
    teacher, trap = (text.replace(b"%s", AT.encode()) for text in (teacher, trap))
    batch = decoder().decode(raw_batch([*[teacher] * 150, trap, *[teacher] * 150]))
    assert verdicts(batch)[450][1:] == verdicts(one(trap))[0][1:]
    assert batch.read_count == 301


def mutated(record: bytes, random: Random) -> bytes:
    """The record with one to three of its bytes replaced, dropped or repeated."""
    data = bytearray(record)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(data))
        with_ = random.choice(
            [b"", bytes([data[at]]) * 2, bytes([random.choice(b'\\",:{}[]0-e.n \n\xc3')])]
        )
        data[at : at + 1] = with_
    return bytes(data)


@settings(max_examples=20, deadline=None, print_blob=True)
@given(st.integers(0, 2**32))
def test_law_damaged_records_are_judged_alike_in_any_company(seed):
    """Damage is where a pattern and a parser would differ, if they did."""
    random = Random(seed)
    kinds = [*PLAIN[:100], *(r for r in GOOD if len(r) > 40)]
    records: list[bytes | None] = list(PLAIN)
    records += [mutated(random.choice(kinds), random) for _ in range(300)]
    random.shuffle(records)
    expected: dict[int, object] = {}
    for index, record in enumerate(records):
        expected |= verdicts(decoder().decode(raw_batch([record], first_offset=index)))
    assert verdicts(decoder().decode(raw_batch(records))) == expected


@settings(max_examples=20, deadline=None, print_blob=True)
@given(st.integers(0, 2**32))
def test_law_a_float_is_the_nearest_to_its_digits(seed):
    random = Random(seed)
    texts = []
    for _ in range(1_000):
        text = random.choice(["", "-"]) + str(random.getrandbits(random.randint(1, 80)))
        if random.random() < 0.7:
            text += "." + "".join(random.choices("0123456789", k=random.randint(1, 60)))
        if random.random() < 0.3:
            text += f"e{random.randint(-99, 99)}"
        texts.append(text)
    records: list[bytes | None] = [f'{{"amount":{text},"at":"{AT}"}}'.encode() for text in texts]
    assert decoder().decode(raw_batch(records)).frame["amount"].to_list() == [
        float(t) for t in texts
    ]


def test_bad_records_leave_their_neighbours_untouched():
    records: list[bytes | None] = list(PLAIN)
    for position, record in enumerate(BAD):
        records[position * 4] = record
    batch = decoder().decode(raw_batch(records))
    codes = Counter(code for code in BAD.values() if code)
    assert Counter(b.code for b in batch.bad) == codes
    assert batch.read_count == len(batch.bad) + len(batch.offsets) == len(records)
    untouched = [i for i in range(300) if i % 4 or i // 4 >= len(BAD)]
    rows = batch.frame.with_columns(offset=batch.offsets).filter(
        pl.col("offset").is_in([i * 3 for i in untouched])
    )
    assert rows["count"].to_list() == untouched
    assert rows["card"].to_list() == [f"c{i}" for i in untouched]


def test_only_records_that_match_no_layout_are_judged_one_by_one():
    """The bound behind "1 % of bad records costs 1 %": no record is judged for its neighbours."""
    fresh = decoder()
    judged: list[bytes | None] = []

    class Counting:
        def __init__(self, judge):
            self._judge = judge

        def judge(self, raw):
            judged.append(raw)
            return self._judge.judge(raw)

    fresh._judge = Counting(fresh._judge)
    records: list[bytes | None] = [*PLAIN, *PLAIN]
    records[100] = b'{"at":5}'
    records[350] = None
    batch = fresh.decode(raw_batch(records))
    assert judged == [b'{"at":5}', None]
    assert len(batch.bad) == 2


def test_a_reader_that_fails_is_replaced_by_judging_each_record(monkeypatch):
    def fails(*args, **kwargs):
        raise pl.exceptions.ComputeError("no")

    expected = verdicts(decoder().decode(raw_batch(PLAIN)))
    monkeypatch.setattr(pl, "read_ndjson", fails)
    assert verdicts(JsonDecoder(SCHEMA, "at").decode(raw_batch(PLAIN))) == expected


def test_an_empty_batch_decodes_to_no_rows_of_the_right_columns():
    batch = decoder().decode(raw_batch([]))
    assert (batch.read_count, batch.next_offset, batch.bad) == (0, 9, ())
    assert dict(batch.frame.schema) == {name: dtype.polars for name, dtype in SCHEMA.items()}


def test_offsets_keep_their_gaps_and_ascend():
    batch = decoder().decode(raw_batch([*PLAIN, b"x", *GOOD]))
    assert (np.diff(batch.offsets) > 0).all()
    assert batch.bad[0].offset == 900
    assert batch.offsets[-1] == 3 * (300 + len(GOOD))
