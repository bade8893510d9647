"""A small S3 for tests: buckets in memory, as much of the protocol as clients of objects use.

Objects are put whole or in parts, or only where none is, read whole or by range, listed by prefix
and delimiter, deleted one by one or many. Nobody signs in: whatever signature comes is taken. `TEGULA_S3=http://host:port`
has the tests use another server, such as moto or MinIO, with the keys `minioadmin`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest

BUCKET = "backups"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'


@dataclass
class Buckets:
    """What the server holds."""

    endpoint: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    away: bool = False
    """Whether every request is refused, as by a store that is down."""
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    upload_count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def options(self) -> dict[str, str]:
        """The settings that reach it."""
        return {
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "access_key": "minioadmin",
            "secret_key": "minioadmin",
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    buckets: Buckets

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test says what went wrong."""

    def _said(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        return unquote(parts.path).lstrip("/"), {name: of[0] for name, of in query.items()}

    def _answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        body = f"{_HEAD}<Error><Code>{code}</Code><Message>{code}</Message></Error>"
        self._answer(status, body.encode(), Content_Type="application/xml")

    def _body(self) -> bytes:
        """The body, unwrapped where it comes in chunks, which may be signed ones in others."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            raw = b"".join(self._chunks())
        else:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return raw
        content, at = [], 0
        while size := int(raw[at : (end := raw.index(b"\r\n", at))].split(b";")[0], 16):
            content.append(raw[end + 2 : end + 2 + size])
            at = end + 2 + size + 2
        return b"".join(content)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            """A trailer; nobody asks for it."""

    def parse_request(self) -> bool:
        """Refuse everything while the store is away."""
        if not super().parse_request():
            return False
        if not self.buckets.away:
            return True
        self.close_connection = True
        self.send_error(503)
        return False

    def do_PUT(self) -> None:
        key, query = self._said()
        body = self._body()
        with self.buckets.lock:
            if "uploadId" in query:
                self.buckets.uploads[query["uploadId"]][int(query["partNumber"])] = body
            elif "/" in key:
                if self.headers.get("If-None-Match") == "*" and key in self.buckets.objects:
                    return self._refuse(412, "PreconditionFailed")
                self.buckets.objects[key] = body
        return self._answer(200, ETag='"e"')

    def do_POST(self) -> None:
        key, query = self._said()
        body = self._body()
        bucket, _, name = key.partition("/")
        with self.buckets.lock:
            if "uploads" in query:
                self.buckets.upload_count += 1
                made = str(self.buckets.upload_count)
                self.buckets.uploads[made] = {}
                inner = f"<Bucket>{bucket}</Bucket><Key>{escape(name)}</Key>"
                inner += f"<UploadId>{made}</UploadId>"
                return self._xml("InitiateMultipartUploadResult", inner)
            if "uploadId" in query:
                parts = self.buckets.uploads.pop(query["uploadId"])
                self.buckets.objects[key] = b"".join(parts[number] for number in sorted(parts))
                return self._xml("CompleteMultipartUploadResult", '<ETag>"e"</ETag>')
            for one in ElementTree.fromstring(body).iter():
                if one.tag.endswith("Key"):
                    self.buckets.objects.pop(f"{bucket}/{one.text}", None)
        gone = ElementTree.fromstring(body).iter()
        inner = "".join(
            f"<Deleted><Key>{escape(one.text or '')}</Key></Deleted>"
            for one in gone
            if one.tag.endswith("Key")
        )
        return self._xml("DeleteResult", inner)

    def do_DELETE(self) -> None:
        key, query = self._said()
        with self.buckets.lock:
            if "uploadId" in query:
                self.buckets.uploads.pop(query["uploadId"], None)
            else:
                self.buckets.objects.pop(key, None)
        self._answer(204)

    def do_HEAD(self) -> None:
        key, _ = self._said()
        found = self.buckets.objects.get(key)
        if found is None and "/" in key.rstrip("/"):
            return self._answer(404)
        return self._answer(200, b"", Content_Length=str(len(found or b"")), ETag='"e"')

    def do_GET(self) -> None:
        key, query = self._said()
        if "list-type" in query or "/" not in key.rstrip("/"):
            return self._list(key.rstrip("/"), query)
        content = self.buckets.objects.get(key)
        if content is None:
            return self._refuse(404, "NoSuchKey")
        asked = self.headers.get("Range")
        if asked is None:
            return self._answer(200, content, ETag='"e"')
        first, last = asked.removeprefix("bytes=").split("-")
        if not first:  # so many from the end
            first, last = str(max(0, len(content) - int(last))), ""
        part = content[int(first) : int(last) + 1 if last else None]
        where = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        return self._answer(206, part, Content_Range=where, ETag='"e"')

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys, folders = [], set()
        with self.buckets.lock:
            held = sorted(self.buckets.objects.items())
        for key, content in held:
            name = key.removeprefix(f"{bucket}/")
            if name == key or not name.startswith(prefix) or name <= query.get("start-after", ""):
                continue
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
                continue
            keys.append(
                f"<Contents><Key>{escape(name)}</Key><Size>{len(content)}</Size>"
                '<LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>"e"</ETag></Contents>'
            )
        common = "".join(
            f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>"
            for one in sorted(folders)
        )
        count = f"<KeyCount>{len(keys) + len(folders)}</KeyCount>"
        inner = f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>{count}"
        self._xml(
            "ListBucketResult", f"{inner}<IsTruncated>false</IsTruncated>{''.join(keys)}{common}"
        )

    def _xml(self, name: str, inner: str) -> None:
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        body = f'{_HEAD}<{name} xmlns="{space}">{inner}</{name}>'
        self._answer(200, body.encode(), Content_Type="application/xml")


@contextmanager
def serving() -> Iterator[Buckets]:
    """A server on a free port of 127.0.0.1, with an empty bucket `BUCKET`."""
    elsewhere = os.environ.get("TEGULA_S3")
    if elsewhere:
        yield Buckets(endpoint=elsewhere)
        return
    buckets = Buckets()
    handler = type("Handler", (_Handler,), {"buckets": buckets})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    buckets.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield buckets
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def s3() -> Iterator[Buckets]:
    """The server of the run; tests take prefixes of their own."""
    with serving() as buckets:
        yield buckets
