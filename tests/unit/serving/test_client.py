"""The client: what it sends, and what it makes of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import polars as pl
import pytest

from tegula.schemas.errors import RequestError, TegulaError, UnknownService
from tegula.serving.client import AsyncClient, Client

ANSWER = {"values": {"spend:n": [3, 0]}, "trace_id": "ab"}


class Server:
    """Answers every request alike, and remembers the last."""

    def __init__(self, status: int, content: Any) -> None:
        self._status, self._content = status, content
        self.request: httpx.Request | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.request = request
        content = self._content
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        return httpx.Response(self._status, content=body)

    @property
    def sent(self) -> Any:
        assert self.request is not None
        return orjson.loads(self.request.content)


Call = Callable[[Any], Any]


def blocking(server: Server, call: Call) -> Any:
    with Client("http://there/") as client:
        client._http = httpx.Client(transport=httpx.MockTransport(server), base_url="http://there")
        return call(client)


def awaited(server: Server, call: Call) -> Any:
    async def one() -> Any:
        async with AsyncClient("http://there/") as client:
            client._http = httpx.AsyncClient(
                transport=httpx.MockTransport(server), base_url="http://there"
            )
            return await call(client)

    return asyncio.run(one())


def both(server: Server, call: Call) -> list[Any]:
    """What the blocking client and the other one make of the same answer."""
    return [blocking(server, call), awaited(server, call)]


def test_features_are_asked_for_and_come_back_as_dict_and_frame():
    server = Server(200, ANSWER)
    keys = {"card_id": ["c1", "c2"]}
    for answer in both(server, lambda client: client.features(keys, service="fraud")):
        assert answer == ANSWER
        assert answer.frame.to_dict(as_series=False) == {**keys, "spend:n": [3, 0]}
    assert server.sent == {"service": "fraud", "keys": keys}
    assert server.request.url.path == "/v1/features"


def test_features_pass_on_how_to_answer():
    server = Server(200, ANSWER)
    both(
        server,
        lambda client: client.features(
            pl.DataFrame({"card_id": ["c1", "c2"]}),
            features=["spend:n"],
            as_of=datetime(2024, 5, 1, 12, tzinfo=UTC),
            include=("status",),
            after="payments/0:1",
            max_age=timedelta(minutes=90),
        ),
    )
    assert server.sent == {
        "features": ["spend:n"],
        "keys": {"card_id": ["c1", "c2"]},
        "as_of": "2024-05-01T12:00:00+00:00",
        "include": ["status"],
        "after": "payments/0:1",
        "max_age": "1h30m",
    }


@pytest.mark.parametrize("frame", [True, False])
def test_events_are_pushed_one_a_line(frame):
    rows = [{"card": "c1", "at": datetime(2024, 5, 1, tzinfo=UTC)}, {"card": None, "at": None}]
    server = Server(200, {"accepted": 2})
    both(server, lambda client: client.push("payments", pl.DataFrame(rows) if frame else rows))
    assert server.request.url.path == "/v1/streams/payments/events"
    assert server.request.headers["content-type"] == "application/x-ndjson"
    assert [orjson.loads(line) for line in server.request.content.splitlines()] == [
        {"card": "c1", "at": "2024-05-01T00:00:00+00:00"},
        {"card": None, "at": None},
    ]


def test_health_is_an_answer_also_when_it_is_bad():
    content = {"status": "not ready", "reasons": ["x"]}
    assert both(Server(503, content), lambda client: client.health()) == [content] * 2


def raised(server: Server) -> list[TegulaError]:
    """What both clients raise."""
    found = []
    for way in (blocking, awaited):
        with pytest.raises(TegulaError) as caught:
            way(server, lambda client: client.features({"card_id": []}, service="fruad"))
        found.append(caught.value)
    return found


def test_error_of_the_server_arrives_as_what_it_is_with_its_fields():
    sent = UnknownService(service="fruad", known=["fraud"])
    for error in raised(Server(404, {"error": sent.as_dict(), "trace_id": "ab"})):
        assert type(error) is UnknownService
        assert str(error) == str(sent)


def test_error_of_a_newer_server_arrives_with_its_text():
    fields = {**UnknownService(service="x").as_dict(), "code": "TG-999"}
    for error in raised(Server(400, {"error": fields})):
        assert type(error) is TegulaError
        assert error.message == "there is no feature service 'x'"


@pytest.mark.parametrize("content", [b"<html>", b"", [], {"detail": "x"}, {"error": "x"}])
def test_answer_of_something_else_is_named_as_such(content):
    for error in raised(Server(502, content)):
        assert type(error) is RequestError
        assert "not Tegula" in error.message
        assert "502" in error.got
