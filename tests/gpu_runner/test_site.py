"""The table of what is served: files put together from parts, and the one word that is changed."""

import json
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from gpu_runner.site import SiteTable

PAGE = '<!doctype html><html lang="en" data-program="unfrozen"><p>data-program="unfrozen"'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text(PAGE)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "weights").write_bytes(b"weights")
    return tmp_path


def client(table: SiteTable) -> TestClient:
    async def answer(request):  # type: ignore[no-untyped-def]
        return table.answer(request)

    return TestClient(Starlette(routes=[Route("/{path:path}", answer)]))


def test_the_page_says_once_how_its_command_is_typed(root: Path) -> None:
    asked = client(SiteTable(root / "page", program='.venv/bin/"unfrozen"'))
    html = asked.get("/").text
    assert html.startswith('<!doctype html><html lang="en" data-program=".venv/bin/&quot;unfrozen&')
    assert html.endswith('<p>data-program="unfrozen"')
    plain = client(SiteTable(root / "page")).get("/index.html")
    assert plain.text == PAGE
    assert plain.headers["etag"] != asked.get("/index.html").headers["etag"]


def test_a_file_is_put_together_from_parts_that_the_package_has(root: Path) -> None:
    parts = [{"base64": "YQ=="}, {"file": "demo/weights"}, {"base64": "Yg=="}]
    (root / "page" / "a.whl.spliced").write_text(json.dumps(parts))
    found = client(SiteTable(root / "page", package=root)).get("/a.whl")
    assert found.content == b"aweightsb"
    assert found.headers["content-type"] == "application/octet-stream"
    assert client(SiteTable(root / "page", package=root)).get("/a.whl.spliced").status_code == 404
