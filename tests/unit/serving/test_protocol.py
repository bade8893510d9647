"""Requests as they are read: what is right, and one error that helps for whatever is not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tegula.schemas.errors import BadRequest, TegulaError, TooLarge
from tegula.schemas.time import MINUTE_US
from tegula.serving.protocol import Limits, parse_request

LIMITS = Limits(body_bytes=1_000, keys=3, features=4)
GOOD: dict[str, Any] = {"service": "fraud", "keys": {"card_id": ["c1", "c2"]}}


def parse(request: Any) -> Any:
    return parse_request(request if isinstance(request, bytes) else orjson.dumps(request), LIMITS)


def test_request_for_a_service_is_read_with_its_keys():
    request = parse(GOOD)
    assert (request.service, request.features) == ("fraud", None)
    assert (request.keys, request.key_count) == (GOOD["keys"], 2)
    assert (request.as_of_us, request.include, request.after, request.max_age_us) == (
        None,
        frozenset(),
        None,
        None,
    )


def test_request_says_how_to_answer():
    request = parse(
        {
            "features": ["spend:n", "spend:m"],
            "keys": {"card_id": ["c1"]},
            "request": {"amount": [1.5]},
            "as_of": "1970-01-01T01:00:01+01:00",
            "include": ["bounds", "status"],
            "after": "payments/0:1",
            "max_age": "10m",
        }
    )
    assert request.features == ("spend:n", "spend:m")
    assert request.as_of_us == 1_000_000
    assert request.include == {"bounds", "status"}
    assert (request.after, request.max_age_us) == ("payments/0:1", 10 * MINUTE_US)


def test_request_takes_an_instant_in_whole_microseconds():
    assert parse({**GOOD, "as_of": -5}).as_of_us == -5


def test_request_with_empty_lists_asks_for_no_keys():
    assert parse({"service": "fraud", "keys": {"card_id": []}}).key_count == 0


def test_request_takes_null_for_an_option_that_is_not_used():
    request = parse({**GOOD, "as_of": None, "after": None, "max_age": None, "include": None})
    assert request == parse(GOOD)


BAD: dict[str, tuple[Any, str, str]] = {
    # what is wrong: the request, where, a word of the sentence
    "no JSON": (b'{"service": "fraud", ', "body, line 1", "not JSON"),
    "nothing": (b"", "body, line 1", "not JSON"),
    "not UTF-8": (b'{"service": "\xff"}', "body, line 1", "not JSON"),
    "a list": ([1], "body", "not an object"),
    "an unknown field": ({**GOOD, "key": {}}, "key", "no such field"),
    "both": ({**GOOD, "features": ["a:b"]}, "body", "either"),
    "neither": ({"keys": {}}, "body", "either"),
    "a service that is no text": ({**GOOD, "service": 7}, "service", "not a name"),
    "features that are text": ({"features": "a:b", "keys": {}}, "features", "not a list"),
    "a feature that is no text": ({"features": [7], "keys": {}}, "features", "not a list"),
    "no keys": ({"service": "fraud"}, "keys", "missing"),
    "keys that are a list": ({"service": "fraud", "keys": ["c1"]}, "keys", "not an object"),
    "a bare key": ({"service": "fraud", "keys": {"card_id": "c1"}}, "keys.card_id", "not a list"),
    "lengths": (
        {"service": "fraud", "keys": {"a": ["x"], "b": ["x", "y"]}},
        "keys.b",
        "different lengths",
    ),
    "request values for other keys": ({**GOOD, "request": {"a": [1]}}, "request", "do not match"),
    "a bare request value": ({**GOOD, "request": {"a": 1}}, "request.a", "not a list"),
    "an instant without a zone": ({**GOOD, "as_of": "2024-05-01T12:00:00"}, "as_of", "instant"),
    "an instant past the calendar": ({**GOOD, "as_of": 10**18}, "as_of", "instant"),
    "true for an instant": ({**GOOD, "as_of": True}, "as_of", "instant"),
    "a fraction for an instant": ({**GOOD, "as_of": 1.5}, "as_of", "instant"),
    "an unknown include": ({**GOOD, "include": ["staus"]}, "include", "cannot be included"),
    "includes that are text": ({**GOOD, "include": "status"}, "include", "not a list"),
    "a receipt that is a number": ({**GOOD, "after": 7}, "after", "not a receipt"),
    "a span without a unit": ({**GOOD, "max_age": 10}, "max_age", "needs a unit"),
    "a span of months": ({**GOOD, "max_age": "1mo"}, "max_age", "span of time"),
}


@pytest.mark.parametrize("what", BAD)
def test_request_that_is_wrong_is_refused_with_where_and_what(what):
    request, where, sentence = BAD[what]
    with pytest.raises(BadRequest, match=sentence) as caught:
        parse(request)
    error = caught.value
    assert error.where.startswith(where)
    assert error.expected or error.hint, "an error says what belongs there"
    assert error.http_status == 400


@pytest.mark.parametrize(
    ("request_", "hint"),
    [
        ({**GOOD, "servce": "x"}, "'service'"),
        ({**GOOD, "include": ["staus"]}, "'status'"),
        ({"service": "fraud", "keys": {"card_id": "c1"}}, '"card_id": ["c1"]'),
    ],
)
def test_request_with_a_slip_is_told_what_was_probably_meant(request_, hint):
    with pytest.raises(BadRequest) as caught:
        parse(request_)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        ({"service": "fraud", "keys": {"card_id": ["c"] * 4}}, "too many keys. Got 4"),
        (b" " * 1_001, "too many bytes. Got 1001, expected at most 1000"),
    ],
)
def test_request_past_a_limit_is_refused_as_too_large(request_, what):
    with pytest.raises(TooLarge, match=what) as caught:
        parse(request_)
    assert caught.value.http_status == 413


def test_error_shows_at_most_the_beginning_of_what_stood_there():
    with pytest.raises(TegulaError) as caught:
        parse({"service": ["x" * 500], "keys": {}})
    assert len(caught.value.got) < 80


def test_request_for_too_many_features_is_refused():
    names = ["spend:n"] * 5
    assert parse({"features": names[:4], "keys": {"card_id": ["c1"]}}).features == tuple(names[:4])
    with pytest.raises(TooLarge, match=r"too many features. Got 5, expected at most 4"):
        parse({"features": names, "keys": {"card_id": ["c1"]}})
