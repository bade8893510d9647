"""The server over real sockets: both ways in give the same bytes, and every route answers."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import orjson
import pytest

from tegula.schemas import agg
from tegula.schemas.codec import collect
from tegula.schemas.definitions import FeatureService, FeatureView
from tegula.schemas.windows import sliding
from tests.support.server import (
    TRACE,
    TRACEPARENT,
    Running,
    apply_live,
    read_answers,
    running,
    settings_of,
)
from tests.support.serving import CARD, NOON_US, PAYMENTS, MemoryStore, build_of

FEATURES = {
    "n": agg.count().over(sliding("1h")),
    "total": agg.sum("amount").over(sliding("1h")),
    "shop": agg.last("shop").over(sliding("30d")),
    "seen": agg.max("at").over(sliding("30d")),
}
VIEW = FeatureView("spend", entity=CARD, stream=PAYMENTS, features=FEATURES)
DEFINITIONS = collect(FeatureService("fraud", version=1, features=[VIEW]))
NOW_US = NOON_US + 1


def now_us() -> int:
    return NOW_US


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = settings_of(
        tmp_path_factory.mktemp("home"), request_bytes_max=100_000, keys_max=1_000
    )
    apply_live(settings, DEFINITIONS, NOW_US)
    store = MemoryStore()
    build = build_of(FEATURES)
    store.put(build, "c1", [(NOON_US - 1, 40.5, 1, "ä"), (NOON_US - 5_000_000, 2.0, 1, "b")])
    store.put(
        build, "late", [(NOON_US + 5_000_000, 40.5, 1, "ä"), (NOON_US - 5_000_000, 2.0, 1, "b")]
    )
    with running(settings, now_us, store) as found:
        yield found


GOOD = b'{"service":"fraud","keys":{"card_id":["c1"]}}'
BODIES = {
    "one key": GOOD,
    "some keys": b'{"service":"fraud","keys":{"card_id":["c1","never",null,"late"]}}',
    "features": b'{"features":["spend:shop","spend:n"],"keys":{"card_id":["c1"]}}',
    "no keys": b'{"service":"fraud","keys":{"card_id":[]}}',
    "details": b'{"service":"fraud","keys":{"card_id":["c1"]},"include":["bounds","event_time"]}',
    "as of": b'{"service":"fraud","keys":{"card_id":["c1"]},"as_of":"2023-11-14T21:59:57Z"}',
    "max age": b'{"service":"fraud","keys":{"card_id":["c1"]},"max_age":"1us"}',
    "spaces": b' { "service" : "fraud" , "keys" : { "card_id" : [ "c1" ] } } ',
    "no JSON": b'{"service"',
    "no body": b"",
    "unknown service": b'{"service":"fruad","keys":{}}',
    "unknown column": b'{"service":"fraud","keys":{"card":["c1"]}}',
    "missing column": b'{"service":"fraud","keys":{}}',
    "wrong type": b'{"service":"fraud","keys":{"card_id":[7]}}',
    "too many keys": b'{"service":"fraud","keys":{"card_id":[' + b'"c",' * 1_000 + b'"c"]}}',
}


def request(body: bytes, *headers: str, target: str = "POST /v1/features HTTP/1.1") -> bytes:
    lines = [target, "host: here", f"traceparent: {TRACEPARENT}", *headers]
    if not any("content-length" in one or "transfer-encoding" in one for one in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def undated(answer: bytes) -> bytes:
    """The answer without the one header that time changes."""
    return re.sub(rb"\r\ndate: [^\r]*", b"", answer)


@pytest.mark.parametrize("what", BODIES)
def test_both_ways_give_the_same_bytes(server, what):
    body = BODIES[what]
    before = server.hot_count
    (hot,) = server.exchange(request(body))
    assert server.hot_count == before + 1, "the request is plain: it goes the hot way"
    # A header that the hot way does not take, and that changes nothing.
    (slow,) = server.exchange(request(body, "expect: nothing"))
    assert undated(hot) == undated(slow)
    assert TRACE.encode() in hot


def test_answer_has_values_statuses_and_the_catalogue(server):
    answer = httpx.post(f"{server.url}/v1/features", content=BODIES["some keys"])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["server"] == "tegula"
    assert int(answer.headers["tegula-catalogue"]) == server.serving.catalogue.version
    content = answer.json()
    assert content["values"] == {
        "spend:n": [2, 0, 0, 1],
        "spend:total": [42.5, 0.0, 0.0, 2.0],
        "spend:shop": ["ä", None, None, "b"],
        "spend:seen": ["2023-11-14T21:59:59.999999Z", None, None, "2023-11-14T21:59:55Z"],
    }
    found = ["PRESENT", "NOT_FOUND", "NOT_FOUND", "PRESENT"]
    assert content["status"] == dict.fromkeys(content["values"], found)
    assert re.fullmatch("[0-9a-f]{32}", content["trace_id"])


def test_connection_is_kept_and_both_ways_take_turns_on_it(server):
    slow = request(GOOD, "expect: nothing")
    many = server.exchange(request(GOOD), slow, request(GOOD), request(GOOD), slow, answers=5)
    assert len({undated(one) for one in many}) == 1


PARTIAL = request(GOOD)
CUTS = [
    (1,),
    (20,),
    (len(PARTIAL) - len(GOOD) - 2,),
    (len(PARTIAL) - len(GOOD),),
    (len(PARTIAL) - 1,),
    (5, 40, len(PARTIAL) - 7),
]


@pytest.mark.parametrize("cuts", CUTS)
def test_request_that_comes_in_pieces_is_answered_as_a_whole_one(server, cuts):
    edges = [0, *cuts, len(PARTIAL)]
    pieces = [PARTIAL[a:b] for a, b in pairwise(edges)]
    (whole,) = server.exchange(PARTIAL)
    got = server.exchange(*pieces, PARTIAL, answers=2)
    assert [undated(one) for one in got] == [undated(whole)] * 2


def test_body_that_looks_like_a_request_is_a_body(server):
    inner = request(GOOD)
    outer = request(inner)
    head, body = outer[: -len(inner)], inner
    before = server.hot_count
    got = server.exchange(head, body, request(GOOD), answers=2)
    assert server.hot_count == before + 1, "only the request that follows goes the hot way"
    assert b" 400 Bad Request" in got[0]
    assert b'"values"' in got[1]


def test_pipelined_requests_are_answered_in_order(server):
    others = [BODIES[what] for what in ("some keys", "no JSON", "features", "no keys")]
    got = server.exchange(b"".join(map(request, others)) + request(GOOD)[:30], answers=4)
    alone = [server.exchange(request(body))[0] for body in others]
    assert [undated(one) for one in got] == [undated(one) for one in alone]


def test_connection_is_closed_where_the_client_asks_for_it(server):
    with server.connect() as connection:
        connection.sendall(request(GOOD, "connection: close"))
        (answer,) = read_answers(connection, 1)
        assert b"connection: close" in answer
        assert connection.recv(1) == b""


def test_chunked_body_is_read(server):
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)
    (answer,) = server.exchange(request(chunked, "transfer-encoding: chunked"))
    assert b'"values"' in answer


@pytest.mark.parametrize("bytes_", [100_001, 1_000_000])
def test_body_past_the_limit_is_refused_and_not_read(server, bytes_):
    answer = httpx.post(f"{server.url}/v1/features", content=b" " * bytes_)
    assert answer.status_code == 413
    assert answer.json()["error"]["got"] == str(bytes_)
    chunks = (b" " * 10_000 for _ in range(100))
    answer = httpx.post(f"{server.url}/v1/features", content=chunks)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "TG-407")


def test_encoded_body_is_refused(server):
    headers = {"content-encoding": "gzip"}
    answer = httpx.post(f"{server.url}/v1/features", content=gzip.compress(GOOD), headers=headers)
    assert answer.status_code == 400
    assert "content-encoding" in answer.json()["error"]["where"]


def test_many_keys_are_read_in_slices_and_come_back_in_order(server):
    cards = ["c1" if n % 3 == 0 else f"n{n}" if n % 3 == 1 else None for n in range(1_000)]
    asked: dict[str, Any] = {"service": "fraud", "keys": {"card_id": cards}}
    answer = httpx.post(f"{server.url}/v1/features", content=orjson.dumps(asked)).json()
    assert answer["values"]["spend:n"] == [2 if card == "c1" else 0 for card in cards]
    wanted = ["PRESENT" if card == "c1" else "NOT_FOUND" for card in cards]
    assert answer["status"]["spend:n"] == wanted
    asked["include"] = ["status", "event_time", "bounds"]
    answer = httpx.post(f"{server.url}/v1/features", content=orjson.dumps(asked)).json()
    assert answer["status"]["spend:n"] == wanted
    seen = ["2023-11-14T21:59:59.999999Z" if card == "c1" else None for card in cards]
    assert answer["event_time"] == {"spend": seen}
    assert len(answer["bounds"]["spend:n"]) == 1_000


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/features", 405),
        ("POST", "/v1/feature", 404),
        ("GET", "/", 404),
        ("DELETE", "/health/live", 405),
    ],
)
def test_path_that_does_not_exist_has_an_error_of_the_family(server, method, path, status):
    answer = httpx.request(method, f"{server.url}{path}")
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == "TG-400"
    assert path in answer.json()["error"]["message"]


def test_push_is_durable_in_the_log_and_says_what_was_refused(server):
    events = [
        {"card_id": "c9", "amount": 1.5, "at": "2023-11-14T21:59:00Z"},
        {"card_id": "c9", "amount": "1.5", "at": "2023-11-14T21:59:00Z"},
        {"card_id": "c9", "amount": 1.5, "at": "2100-01-01T00:00:00Z"},
    ]
    answer = httpx.post(
        f"{server.url}/v1/streams/payments/events",
        json={"events": events},
        headers={"traceparent": TRACEPARENT},
    )
    assert answer.status_code == 200
    content = answer.json()
    assert (content["accepted"], content["trace_id"]) == (1, TRACE)
    assert re.fullmatch(r"payments/[0-3]:\d+", content["receipt"])
    assert [(one["index"], one["code"]) for one in content["rejected"]] == [
        (1, "TG-202"),
        (2, "TG-209"),
    ]
    assert server.settings.log_path("payments").exists()


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("payment", b'{"events":[]}', 404, "TG-404"),
        ("payments", b"[]", 400, "TG-401"),
        ("payments", b" " * 100_001, 413, "TG-407"),
    ],
)
def test_push_that_is_wrong_has_an_error_of_the_family(server, path, body, status, code):
    answer = httpx.post(f"{server.url}/v1/streams/{path}/events", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_read_after_a_push_waits_for_the_marks_to_pass_it(server):
    event = {"card_id": "c9", "amount": 1.5, "at": "2023-11-14T21:59:00Z"}
    with httpx.Client(base_url=server.url) as client:
        pushed = client.post("/v1/streams/payments/events", json={"events": [event]}).json()
        _, _, place = pushed["receipt"].partition("/")
        partition, _, position = place.partition(":")
        server.serving._registry.partition_ordinal("payments", partition)
        ordinal = server.serving._registry.partitions("payments")[partition]
        server.serving.store.positions[ordinal] = int(position)
        asked = {**orjson.loads(GOOD), "after": pushed["receipt"]}
        answer = client.post("/v1/features", json=asked)
        assert answer.status_code == 200
        asked["after"] = "no receipt"
        assert client.post("/v1/features", json=asked).json()["error"]["where"] == "after"


def test_health_tells_live_from_ready(server):
    live = httpx.get(f"{server.url}/health/live")
    assert (live.status_code, live.json()) == (200, {"status": "live"})
    ready = httpx.get(f"{server.url}/health/ready")
    assert ready.status_code == 503
    assert ready.json()["status"] == "not ready"
    assert "no engine runs" in ready.json()["reasons"][0]
    report = {"at_us": NOW_US, "streams": {}}
    server.settings.engine_status_path.write_bytes(orjson.dumps(report))
    ready = httpx.get(f"{server.url}/health/ready")
    assert (ready.status_code, ready.json()["reasons"]) == (200, [])
    server.settings.engine_status_path.unlink()


def test_metrics_count_both_ways_alike(server):
    def count() -> float:
        page = httpx.get(f"{server.url}/metrics").text
        found = re.search(r'tegula_requests_total\{route="features",status="2xx"\} (\S+)', page)
        assert found is not None
        return float(found[1])

    before = count()
    server.exchange(request(GOOD), request(GOOD, "expect: nothing"), answers=2)
    assert count() == before + 2


def test_every_route_is_documented_with_an_example(server):
    pages = httpx.get(f"{server.url}/openapi.json").json()
    assert set(pages["paths"]) == {
        "/v1/features",
        "/v1/streams/{stream}/events",
        "/v1/datasets",
        "/v1/datasets/{name}",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    features = pages["paths"]["/v1/features"]["post"]
    assert features["requestBody"]["content"]["application/json"]["schema"]["examples"]
    assert {"200", "400", "404", "413", "422", "503"} <= set(features["responses"])
    page = httpx.get(f"{server.url}/docs")
    assert page.status_code == 200
    assert "//" not in re.sub(r"<!--.*?-->", "", page.text), "the page needs no other server"
