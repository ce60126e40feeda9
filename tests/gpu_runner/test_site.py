"""The table of what is served: folders beside the page, and the one word that is changed in it."""

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from gpu_runner.site import SiteTable

PAGE = '<!doctype html><html lang="en" data-program="unfrozen"><p>data-program="unfrozen"'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "page" / "demo").mkdir(parents=True)
    (tmp_path / "page" / "index.html").write_text(PAGE)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "a.json").write_text("{}")
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


def test_a_folder_beside_the_page_is_served_where_the_page_has_none(root: Path) -> None:
    beside = {"demo/data": root / "beside"}
    assert client(SiteTable(root / "page", beside=beside)).get("/demo/data/a.json").text == "{}"
    (root / "page" / "demo" / "data").mkdir()
    (root / "page" / "demo" / "data" / "a.json").write_text("[]")
    assert client(SiteTable(root / "page", beside=beside)).get("/demo/data/a.json").text == "[]"
    assert client(SiteTable(root / "page")).get("/a.json").status_code == 404
