"""The table of what is served: files put together from parts, and the one word that is changed."""

import gzip
import html
import json
from pathlib import Path

import brotli
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from gpu_runner.serve.site import SiteTable, taken_encodings
from unfrozen.schema import policy

WORDS = 'data-program="unfrozen" data-runs=""'
PAGE = f'<!doctype html><html lang="en" {WORDS}><p>{WORDS}'


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
    asked = client(SiteTable(root / "page", program='.venv/bin/"unfrozen"', runs="'<'"))
    html = asked.get("/").text
    own = 'data-program=".venv/bin/&quot;unfrozen&quot;" data-runs="&#x27;&lt;&#x27;"'
    assert html == f'<!doctype html><html lang="en" {own}><p>{WORDS}'
    plain = client(SiteTable(root / "page")).get("/index.html")
    assert plain.text == PAGE
    assert plain.headers["etag"] != asked.get("/index.html").headers["etag"]


def test_a_page_in_a_folder_is_found_with_and_without_a_slash_and_says_the_command(
    root: Path,
) -> None:
    (root / "page" / "deep").mkdir()
    (root / "page" / "deep" / "index.html").write_text(PAGE)
    asked = client(SiteTable(root / "page", program="uv run unfrozen"))
    assert 'data-program="uv run unfrozen"' in asked.get("/deep/").text
    led = asked.get("/deep", follow_redirects=False)
    assert (led.status_code, led.headers["location"]) == (308, "deep/")
    assert asked.get("/deep").text == asked.get("/deep/").text
    assert asked.get("/shallow").status_code == 404


def test_a_page_is_sent_with_the_policy_that_it_names_and_into_no_frame(root: Path) -> None:
    rules = policy.with_style("p { color: red }")
    meta = f'<meta http-equiv="Content-Security-Policy" content="{html.escape(rules)}">'
    (root / "page" / "index.html").write_text(meta + PAGE)
    asked = client(SiteTable(root / "page", package=root))
    sent = asked.get("/").headers["content-security-policy"]
    assert sent == f"{rules}; frame-ancestors 'none'"
    assert "sha256-" in sent
    (root / "page" / "embed" / "run").mkdir(parents=True)
    (root / "page" / "embed" / "run" / "index.html").write_text(meta + PAGE)
    framed = client(SiteTable(root / "page", package=root)).get("/embed/run/")
    assert framed.headers["content-security-policy"] == rules, "a figure, for any frame"
    (root / "page" / "a.js").write_text(meta)
    plain = client(SiteTable(root / "page", package=root))
    assert "content-security-policy" not in plain.get("/a.js").headers


def test_a_file_is_put_together_from_parts_that_the_package_has(root: Path) -> None:
    parts = [{"base64": "YQ=="}, {"file": "demo/weights"}, {"base64": "Yg=="}]
    (root / "page" / "a.whl.spliced").write_text(json.dumps(parts))
    found = client(SiteTable(root / "page", package=root)).get("/a.whl")
    assert found.content == b"aweightsb"
    assert found.headers["content-type"] == "application/octet-stream"
    assert client(SiteTable(root / "page", package=root)).get("/a.whl.spliced").status_code == 404


TEXT = b"let it shrink; " * 1000


@pytest.fixture
def packed(root: Path) -> Path:
    """A page with a script in both forms, one whose compressed form is of another day, and a lone
    archive.
    """
    page = root / "page"
    for name, compressed in (("main-ABCD1234.js", TEXT), ("old.js", TEXT + b"!")):
        (page / name).write_bytes(TEXT)
        (page / f"{name}.gz").write_bytes(gzip.compress(compressed, mtime=0))
        (page / f"{name}.br").write_bytes(brotli.compress(compressed))
    (page / "index.html.gz").write_bytes(gzip.compress(PAGE.encode(), mtime=0))
    (page / "data.gz").write_bytes(gzip.compress(b"mine"))
    return page


def ask(table: SiteTable, path: str, accepted: str, **more: str) -> httpx.Response:
    headers = {"Accept-Encoding": accepted, **{k.replace("_", "-"): v for k, v in more.items()}}
    answer: httpx.Response = client(table).get(path, headers=headers)
    return answer


def test_the_compressed_form_goes_to_who_takes_it_under_its_own_validator(packed: Path) -> None:
    table = SiteTable(packed)
    forms = {form: ask(table, "/main-ABCD1234.js", form) for form in ("br", "gzip", "identity")}
    for form, answer in forms.items():
        assert answer.content == TEXT
        assert answer.headers.get("content-encoding", "identity") == form
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert "immutable" in answer.headers["cache-control"]
    sizes = [int(answer.headers["content-length"]) for answer in forms.values()]
    assert sizes[0] < sizes[1] < sizes[2] / 10
    assert len({answer.headers["etag"] for answer in forms.values()}) == len(forms)
    both = ask(table, "/main-ABCD1234.js", "gzip, deflate, br, zstd")
    assert both.headers["content-encoding"] == "br"
    for accepted, known in forms.items():
        tag = known.headers["etag"]
        for tags in (tag, f'"x", {tag}', f"W/{tag}"):
            again = ask(table, "/main-ABCD1234.js", accepted, if_none_match=tags)
            assert again.status_code == 304
            assert again.headers["etag"] == tag
            assert again.headers["vary"] == "Accept-Encoding"
    other = ask(table, "/main-ABCD1234.js", "br", if_none_match=forms["gzip"].headers["etag"])
    assert other.status_code == 200


def test_a_form_that_is_not_of_its_file_is_not_sent_and_has_no_address(packed: Path) -> None:
    table = SiteTable(packed, program="python -m gpu_runner")
    old = ask(table, "/old.js", "gzip, br")
    assert old.content == TEXT
    assert "content-encoding" not in old.headers
    assert ask(table, "/old.js.gz", "gzip").status_code == 404
    assert ask(table, "/main-ABCD1234.js.gz", "gzip").status_code == 404
    assert gzip.decompress(ask(table, "/data.gz", "gzip").content) == b"mine"
    page = ask(table, "/", "gzip")
    assert page.headers["content-encoding"] == "gzip"
    assert 'data-program="python -m gpu_runner"' in page.text


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "br gzip"),
        ("br;q=1, GZIP;q=0.5", "br gzip"),
        ("*", "br gzip"),
        ("x-gzip", "gzip"),
        ("gzip ; q=1.000", "gzip"),
        ("", ""),
        ("identity", ""),
        ("br, deflate", "br"),
        ("gzip;q=0", ""),
        ("gzip;q=0.000, *", "br"),
        ("*;q=0", ""),
        ("gzip;q=nan", ""),
        ("gzip;q=2", ""),
        ("gzip;x", ""),
        ("not-gzip", ""),
    ],
)
def test_what_a_client_takes_is_read_as_the_standard_says(accepted: str, taken: str) -> None:
    assert taken_encodings(accepted) == set(taken.split())
