"""Which header blocks are plain enough for the hot way."""

from __future__ import annotations

import pytest

from tegula.serving.hot import HOT_BODY_BYTES_MAX, HeadJudge

HOST = b"host: a\r\n"


def length(head: bytes) -> int:
    return HeadJudge().body_bytes(head)


@pytest.mark.parametrize(
    "head",
    [
        HOST + b"content-length: 7\r\n",
        b"Content-Length:7\r\nHOST: a:6180\r\nAccept: */*\r\n",
        HOST + b"content-length: \t7 \r\nconnection: Keep-Alive\r\n",
        HOST + b"content-length: 7\r\nx-note: \xc3\xa4\ttab\r\nuser-agent: a/1 (b; c)\r\n",
        HOST + b"content-length: 7\r\ntraceparent: 00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01\r\n",
    ],
)
def test_plain_head_tells_the_length_of_the_body(head):
    judge = HeadJudge()
    assert [judge.body_bytes(head), judge.body_bytes(head)] == [7, 7]


@pytest.mark.parametrize(
    "head",
    [
        b"",
        HOST,
        b"content-length: 7\r\n",
        HOST + b"content-length: 7\r\ncontent-length: 7\r\n",
        HOST + b"content-length: 7, 7\r\n",
        HOST + b"content-length: +7\r\n",
        HOST + b"content-length : 7\r\n",
        HOST + b" content-length: 7\r\n",
        HOST + b"content-length: 7\r\n folded\r\n",
        HOST + b"content-length: 7\r\nno colon\r\n",
        HOST + b"content-length: 7\r\nx: a\nb\r\n",
        HOST + b"content-length: 7\r\nx: a\rb\r\n",
        HOST + b"content-length: 7\r\nx: \x00\r\n",
        HOST + HOST + b"content-length: 7\r\n",
        HOST + b"content-length: 7\r\ntransfer-encoding: chunked\r\n",
        HOST + b"content-length: 7\r\nTransfer-Encoding: chunked\r\n",
        HOST + b"content-length: 7\r\ncontent-encoding: gzip\r\n",
        HOST + b"content-length: 7\r\nexpect: 100-continue\r\n",
        HOST + b"content-length: 7\r\nupgrade: websocket\r\n",
        HOST + b"content-length: 7\r\nconnection: close\r\n",
        HOST + b"content-length: 7\r\nconnection: keep-alive, upgrade\r\n",
        HOST + b"content-length: %d\r\n" % (HOT_BODY_BYTES_MAX + 1),
        HOST + b"content-length: 99999999999999999999\r\n",
    ],
)
def test_head_that_is_not_plain_goes_to_uvicorn(head):
    assert length(head) == -1


def test_judge_remembers_a_bounded_number_of_heads():
    judge = HeadJudge()
    for number in range(10_000):
        assert judge.body_bytes(HOST + b"x: %d\r\ncontent-length: 7\r\n" % number) == 7
    assert len(judge._known) <= 4_096
