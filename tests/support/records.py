"""Records of every nasty kind, and what a decoder says of them, one by one."""

from __future__ import annotations

import numpy as np
import orjson
import polars as pl

from tegula.connectors.decode import DecodedBatch, JsonDecoder
from tegula.connectors.source import Payloads, RawBatch
from tegula.schemas.outcomes import RecordCode
from tegula.schemas.types import Bool, Float64, Int64, List, String, Timestamp

SCHEMA = {
    "card": String,
    "amount": Float64,
    "count": Int64,
    "big spender": Bool,
    "tags": List(String),
    "codes": List(Int64),
    "marks": List(Float64),
    "flags": List(Bool),
    "at": Timestamp,
    "seen": Timestamp.of("ms"),
}
AT = "2024-05-01T12:00:00.25Z"
AT_US = 1_714_564_800_250_000
LARGEST_BYTES = 2_000


def raw_batch(records: list[bytes | None], first_offset: int = 0) -> RawBatch:
    count = len(records)
    offsets = np.arange(first_offset, first_offset + count) * 3
    return RawBatch("7", offsets, offsets + 1_000, Payloads.from_list(records), first_offset + 9)


class Decoder(JsonDecoder):
    """Fails where the columnar reader does not take what a layout has matched.

    The verdicts would still be right, since all would be judged one by one; but one such record
    could slow down every batch that it is in.
    """

    __slots__ = ()

    def _read_wire(self, payloads):
        wire = super()._read_wire(payloads)
        assert wire is not None, "a layout matches what the columnar reader refuses"
        return wire


def decoder() -> Decoder:
    return Decoder(SCHEMA, "at", record_bytes_max=LARGEST_BYTES)


def verdicts(batch: DecodedBatch) -> dict[int, object]:
    """Per offset: the row, or the code and reason of the bad record; floats bit by bit."""
    bits = pl.col("marks").list.eval(pl.element().reinterpret(signed=True))
    rows = batch.frame.with_columns(pl.col("amount").reinterpret(signed=True), bits).rows()
    result: dict[int, object] = dict(
        zip(
            batch.offsets.tolist(),
            zip(batch.log_us.tolist(), batch.event_us.tolist(), rows, strict=True),
            strict=True,
        )
    )
    result |= {b.offset: (b.log_us, b.code, b.reason, b.raw) for b in batch.bad}
    assert len(result) == batch.read_count
    return result


def one(record: bytes | None) -> DecodedBatch:
    return decoder().decode(raw_batch([record]))


DEEP = b'{"at":"%s","x":' % AT.encode() + b"[" * 100_000 + b"]" * 100_000 + b"}"

BAD = {
    b"": RecordCode.EMPTY_PAYLOAD,
    b" \n ": RecordCode.EMPTY_PAYLOAD,
    None: RecordCode.TOMBSTONE,
    b"\xff": RecordCode.NOT_UTF8,
    b'{"at":"2024-05-01T12:00:00Z","card":"\xed\xa0\x80"}': RecordCode.NOT_UTF8,
    b'{"at":"2024-05-01T12:00:00Z","other":"\xc3"}': RecordCode.NOT_UTF8,
    b"null": RecordCode.NOT_AN_OBJECT,
    b"[]": RecordCode.NOT_AN_OBJECT,
    b'"{}"': RecordCode.NOT_AN_OBJECT,
    b"12": RecordCode.NOT_AN_OBJECT,
    b"{": RecordCode.MALFORMED,
    b"{}{}": RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z"}{"at":"2024-05-01T12:00:00Z"}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z"}\n{"at":"2024-05-01T12:00:00Z"}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z",}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z","amount":NaN}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z","amount":Infinity}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z","amount":1e400}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z","amount":01}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z","amount":+1}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z","card":"a\nb"}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z","card":"\\ud800"}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z","card":"\\q"}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z","unknown":tru}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z","card":"a"': RecordCode.MALFORMED,
    b'\xef\xbb\xbf{"at":"2024-05-01T12:00:00Z"}': RecordCode.MALFORMED,
    DEEP: RecordCode.TOO_LARGE,
    b'{"at":"2024-05-01T12:00:00Z","x":' + b"[" * 900 + b"]" * 900 + b"}": None,
    b'{"at":"2024-05-01T12:00:00Z","card":"%s"}' % (b"x" * LARGEST_BYTES): RecordCode.TOO_LARGE,
    b"{}": RecordCode.MISSING_EVENT_TIME,
    b'{"card":"a"}': RecordCode.MISSING_EVENT_TIME,
    b'{"at":null}': RecordCode.MISSING_EVENT_TIME,
    b'{"at":null,"at":"2024-05-01T12:00:00Z"}': RecordCode.DUPLICATE_FIELD,
    b'{"at":"2024-05-01T12:00:00Z","card":"a","card":"a"}': RecordCode.DUPLICATE_FIELD,
    b'{"at":"2024-05-01T12:00:00Z","amount":1,"\\u0061mount":2}': RecordCode.DUPLICATE_FIELD,
    b'{"at":"2024-05-01T12:00:00Z","card":5}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","card":{}}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","card":["a"]}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","card":true}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","amount":"1"}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","amount":true}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","count":1.0}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","count":1e3}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","count":9223372036854775808}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","count":99999999999999999999999}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","count":"1"}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","count":true}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","big spender":1}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","big spender":"true"}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","seen":"2024-05-01T12:00:00Z"}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","seen":1.5}': RecordCode.WRONG_TYPE,
    b'{"at":1714564800}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00"}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-02-30T12:00:00Z"}': RecordCode.WRONG_TYPE,
    b'{"at":"yesterday"}': RecordCode.WRONG_TYPE,
    b'{"at":"0000-05-01T12:00:00Z"}': RecordCode.TIME_OUT_OF_RANGE,
    b'{"at":"9999-12-31T23:59:59-01:00"}': RecordCode.TIME_OUT_OF_RANGE,
    b'{"at":"2024-05-01T12:00:00Z","seen":999999999999999999}': RecordCode.TIME_OUT_OF_RANGE,
    b'{"at":"2024-05-01T12:00:00Z","seen":9223372036854775807}': RecordCode.TIME_OUT_OF_RANGE,
    b'{"at":"2024-05-01T12:00:00Z","seen":-62135596800001}': RecordCode.TIME_OUT_OF_RANGE,
    b'{"at":"2024-05-01T12:00:00Z","tags":"a"}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","tags":{"a":1}}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","tags":[["a"]]}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","tags":[null,"a",5]}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","tags":["a",]}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z","tags":["a"],"tags":["a"]}': RecordCode.DUPLICATE_FIELD,
    b'{"at":"2024-05-01T12:00:00Z","codes":[1,2.0]}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","codes":[true]}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","codes":[9223372036854775808]}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","marks":["1"]}': RecordCode.WRONG_TYPE,
    b'{"at":"2024-05-01T12:00:00Z","marks":[1e400]}': RecordCode.MALFORMED,
    b'{"at":"2024-05-01T12:00:00Z","flags":[0]}': RecordCode.WRONG_TYPE,
    # Times 1000 these wrap around 64 bits to an instant in 1970.
    b'{"at":"2024-05-01T12:00:00Z","seen":18446744073709551}': RecordCode.TIME_OUT_OF_RANGE,
    b'{"at":"2024-05-01T12:00:00Z","seen":-18446744073709551}': RecordCode.TIME_OUT_OF_RANGE,
}

GOOD = [
    b'{"at":"2024-05-01T12:00:00Z"}',
    b'{"card":"a","amount":1.5,"count":3,"big spender":true,"at":"%s","seen":0}' % AT.encode(),
    b'{"card":null,"amount":null,"count":null,"big spender":null,"at":"%s"}' % AT.encode(),
    b'{ "at" : "2024-05-01T12:00:00Z" , "amount" : -0 }',
    b'{"at":"2024-05-01T12:00:00Z","amount":-0.0}',
    b'{\n  "at": "2024-05-01T12:00:00Z",\r\n\t"card": "a"\n}\n',
    b'{"at":"2024-05-01T12:00:00Z","amount":1e-400,"count":-0}',
    b'{"at":"2024-05-01T12:00:00Z","amount":123456789012345678901234567890}',
    b'{"at":"2024-05-01T12:00:00Z","amount":0.1000000000000000055511151231257827021181583404541015625}',
    b'{"at":"2024-05-01T12:00:00Z","count":-9223372036854775808}',
    b'{"at":"2024-05-01T12:00:00Z","count":9223372036854775807}',
    b'{"at":"2024-05-01T12:00:00Z","\\u0061mount":2}',
    b'{"at":"2024-05-01T12:00:00Z","card":"\\ud83d\\ude00 \\u00e9 \\u0000 \\/ \\" \\\\ \\n"}',
    '{"at":"2024-05-01T12:00:00Z","card":"é😀\u2028"}'.encode(),
    b'{"at":"2024-05-01T12:00:00Z","card":"\\"amount\\":\\"abc\\",\\"at\\":null"}',
    b'{"at":"2024-05-01T12:00:00Z","unknown":{"at":null,"amount":"x","card":["card"]},"z":[]}',
    b'{"at":"2024-05-01T12:00:00Z","twice":1,"twice":2,"":0}',
    b'{"at":"2024-05-01T12:00:00Z","x":{"a":[1,{"b":[2,{"c":{"d":{"e":[]}}}]}]}}',
    b'{"amount":3,"at":"2024-05-01T14:00:00.5+02:00","card":""}',
    b'{"at":"2024-05-01T12:00:00Z","tags":[],"codes":[],"marks":[],"flags":[]}',
    b'{"at":"2024-05-01T12:00:00Z","tags":null,"codes":[null],"marks":[ null , 1 ],"flags":null}',
    b'{"at":"2024-05-01T12:00:00Z","tags":["","\\ud83d\\ude00","\\"],[","TG-202",null,"a","a"]}',
    '{"at":"2024-05-01T12:00:00Z","tags":["é😀\u2028"],"flags":[true,false,null]}'.encode(),
    b'{"at":"2024-05-01T12:00:00Z","codes":[-9223372036854775808,9223372036854775807,-0,0]}',
    b'{"at":"2024-05-01T12:00:00Z","marks":[1,-0.0,-0,0.1,1e-400,123456789012345678901234567890]}',
    b'{"at":"2024-05-01T12:00:00Z","codes":[%s]}' % b",".join(b"%d" % i for i in range(500)),
    b'{"card":"b", "at":"2024-05-01t12:00:00.123456789z", "seen": -62135596800000}',
]

NASTY = [*BAD, *GOOD]
PLAIN = [
    orjson.dumps(
        {
            "card": f"c{i}",
            "amount": i / 7,
            "count": i,
            "tags": ["a", None, f"t{i}"][: i % 4],
            "at": AT,
            "more": [i, {"k": i}],
        }
    )
    for i in range(300)
]

# A record that teaches a layout, and one that differs from it where a reader is lenient.
TRAPS = [
    (b'{"at":"%s","\\u0061mount":1}', b'{"at":"%s","\\u0061mount":"x"}'),
    (b'{"at":"%s","other":1}', b'{"at":"%s","other":1,"other":{"a":1}}'),
    (b'{"at":"%s","amount":1}', b'{"at":"%s","amount":1e999}'),
    (b'{"at":"%s","amount":1}', b'{"at":"%s","amount":01}'),
    (b'{"at":"%s","amount":1}', b'{"at":"%s","amount":1.}'),
    (b'{"at":"%s","amount":1}', b'{"at":"%s","amount":.5}'),
    (b'{"at":"%s","amount":1}', b'{"at":"%s","amount":-}'),
    (b'{"at":"%s","amount":1}', b'{"at":"%s","amount":1}{"amount":2}'),
    (b'{"at":"%s","amount":1}', b'{"at":"%s","amount":1}\n{"at":"%s"}'),
    (b'{"at":"%s","amount":1}', b'{"at":"%s","amount":1}]'),
    (b'{"at":"%s","amount":1}', b'{"at":"%s","amount":"1"}'),
    (b'{"at":"%s","count":1}', b'{"at":"%s","count":99999999999999999999}'),
    (b'{"at":"%s","count":1}', b'{"at":"%s","count":1.0}'),
    (b'{"at":"%s","card":"a"}', b'{"at":"%s","card":1}'),
    (b'{"at":"%s","card":"a"}', b'{"at":"%s","card":"a\tb"}'),
    (b'{"at":"%s","card":"a"}', b'{"at":"%s","card":"\\ud800"}'),
    (b'{"at":"%s","card":"a"}', b'{"at":"%s","card":"\\udc00\\ud800"}'),
    (b'{"at":"%s","card":"a"}', b'{"at":"%s","card":"\\x41"}'),
    (b'{"at":"%s","card":"a"}', b'{"at":"%s","card":"\xff"}'),
    (b'{"at":"%s","card":"a"}', b'{"at":"%s","card":"\xed\xa0\x80"}'),
    (b'{"at":"%s","x":{"a":"b"}}', b'{"at":"%s","x":{"a":"\xff"}}'),
    (b'{"at":"%s","x":{"a":"b"}}', b'{"at":"%s","x":{"a":"b",}}'),
    (b'{"at":"%s","x":{"a":"b"}}', b'{"at":"%s","x":{"a":"b"},"at":null}'),
    (b'{"at":"%s","x":[1]}', b'{"at":"%s","x":[1,]}'),
    (b'{"at":"%s","x":[1]}', b'{"at":"%s","x":[NaN]}'),
    (b'{"at":"%s","tags":["a"]}', b'{"at":"%s","tags":["a",1]}'),
    (b'{"at":"%s","tags":["a"]}', b'{"at":"%s","tags":[["a"]]}'),
    (b'{"at":"%s","tags":["a"]}', b'{"at":"%s","tags":["a",]}'),
    (b'{"at":"%s","tags":["a"]}', b'{"at":"%s","tags":[,"a"]}'),
    (b'{"at":"%s","tags":["a"]}', b'{"at":"%s","tags":"a"}'),
    (b'{"at":"%s","tags":[]}', b'{"at":"%s","tags":["\\ud800"]}'),
    (b'{"at":"%s","codes":[1]}', b'{"at":"%s","codes":[1,99999999999999999999]}'),
    (b'{"at":"%s","codes":[1]}', b'{"at":"%s","codes":[1.0]}'),
    (b'{"at":"%s","marks":[1]}', b'{"at":"%s","marks":[1,1e999]}'),
    (b'{"at":"%s","flags":[true]}', b'{"at":"%s","flags":[1]}'),
    (b'{"at":"%s","seen":1}', b'{"at":"%s","seen":18446744073709551}'),
    (b'{"at":"%s","seen":1}', b'{"at":"%s","seen":-18446744073709551}'),
]
