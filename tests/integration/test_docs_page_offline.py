"""The page at /docs works where nothing but the server can be reached."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from tegula.engine.runtime.clock import now_us
from tests.support.server import running, settings_of


def test_docs_page_asks_no_other_host_for_anything(tmp_path: Path):
    with running(settings_of(tmp_path), now_us) as server, httpx.Client() as client:
        page = client.get(f"{server.url}/docs").text
        links = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert links
        assert not [link for link in links if link.startswith(("http:", "https:", "//"))]
        codes = {link: client.get(f"{server.url}{link}").status_code for link in links}
        assert set(codes.values()) == {200}, codes
