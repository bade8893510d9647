"""What `get` and `push` make of their words and lines; how output and progress read."""

from __future__ import annotations

import io

import httpx
import pytest

from tegula.cli.get import parse
from tegula.cli.push import BATCH_BYTES, batches, merged
from tegula.cli.said import error_of
from tegula.schemas.errors import BadRequest, NotReady, RequestError, UnknownService

KINDS = {"card_id": "string", "shop": "int", "open": "bool"}


def test_get_reads_a_service_and_keys_by_their_types():
    wanted = parse(["fraud", "card_id=1,2", "shop=3,4", "open=true"], KINDS)
    assert wanted.service == "fraud"
    assert wanted.keys == {"card_id": ["1", "2"], "shop": [3, 4], "open": [True, True]}
    assert wanted.key_count == 2


def test_get_reads_features_and_takes_json_as_it_stands():
    wanted = parse(["spend:a", "spend:b", "card_id:=[1, null]"], {})
    assert (wanted.service, wanted.features) == (None, ("spend:a", "spend:b"))
    assert wanted.keys == {"card_id": [1, None]}


@pytest.mark.parametrize(
    "words",
    [
        ["fraud"],
        ["card_id=1"],
        ["fraud", "other", "card_id=1"],
        ["fraud", "spend:a", "card_id=1"],
        ["fraud", "shop=x"],
        ["fraud", "open=yes"],
        ["fraud", "card_id:=["],
    ],
)
def test_get_refuses_words_that_do_not_say_what_to_get(words):
    with pytest.raises(BadRequest):
        parse(words, KINDS)


class Slow(io.BytesIO):
    """Gives what it has in small pieces, as a pipe does."""

    def read1(self, size=-1):
        return super().read1(min(size, 7))


@pytest.mark.parametrize("make", [io.BytesIO, Slow])
@pytest.mark.parametrize("text", [b"", b"a\n", b"a", b"aa\nbbbb\n\nc", b"0123456789\n" * 9])
def test_push_sends_every_line_whole_and_once(make, text):
    parts = list(batches(make(text)))
    assert b"".join(body for body, _ in parts) == text
    assert sum(count for _, count in parts) == len(text.splitlines())
    assert all(body.endswith(b"\n") for body, _ in parts[:-1])


def test_push_sends_a_long_file_in_parts():
    line = b"x" * 99 + b"\n"
    parts = list(batches(io.BytesIO(line * (3 * BATCH_BYTES // 100))))
    assert len(parts) >= 3
    assert max(len(body) for body, _ in parts) <= BATCH_BYTES + len(line)


def test_push_merges_receipts():
    assert merged([]) is None
    assert merged(["s/0:5", "s/1:2,0:3"]) == "s/0:5,1:2"


def test_door_gives_a_servers_error_back_as_its_class():
    error = UnknownService(service="x", known=("a",))
    found = error_of(httpx.Response(404, json={"error": error.as_dict()}), "url")
    assert type(found) is UnknownService
    assert found.as_dict() == error.as_dict()
    unknown = {**error.as_dict(), "code": "TG-999"}
    assert type(error_of(httpx.Response(400, json={"error": unknown}), "url")) is RequestError
    assert type(error_of(httpx.Response(502, text="<html>"), "url")) is RequestError
    not_ready = NotReady("wait").as_dict()
    assert error_of(httpx.Response(503, json={"error": not_ready}), "url").retryable
