"""Figures in frames: a page of another origin shows three, from a runner's server or any host."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from accessibility import objections
from conftest import Server, StaticSite

pytestmark = pytest.mark.slow

POST = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A post</title><h1>A post</h1>
{frames}
<script>window.told = [];
addEventListener("message", ({{ data, origin }}) => told.push({{ ...data, origin }}));</script>
"""
FRAME = '<iframe id="{0}" src="{1}embed/{0}/{2}" title="{0}" width="640" height="1100"></iframe>'
QUERIES = {"planner": "?model=Qwen/Qwen3-8B&amp;seq_len=4096", "run": "", "forgetting": ""}


@pytest.fixture
def other_origin(tmp_path: Path) -> Iterator[str]:
    """The address of another host, which serves the post of `tmp_path`."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        yield f"http://localhost:{host.server_port}/"
        host.shutdown()


def show(page: Page, host: str, folder: Path, site: str, *names: str) -> dict[str, FrameLocator]:
    """Open a post with these figures of a site; return their frames."""
    frames = "".join(FRAME.format(name, site, QUERIES[name]) for name in names)
    (folder / "index.html").write_text(POST.format(frames=frames))
    (folder / "favicon.ico").write_bytes(b"")
    page.goto(host)
    return {name: page.frame_locator(f"#{name}") for name in names}


def test_a_page_of_another_origin_shows_a_plan_a_run_and_what_is_forgotten(
    page: Page, static_site: StaticSite, other_origin: str, tmp_path: Path
) -> None:
    frames = show(page, other_origin, tmp_path, static_site.url, *QUERIES)
    planner = frames["planner"].locator("memory-planner")
    expect(planner.locator("[data-part=verdict]")).to_contain_text("Qwen/Qwen3-8B", timeout=60_000)
    expect(planner.get_by_label("Sequence length").last).to_have_value("4096")
    link = planner.locator(".mp-more")
    assert str(link.get_attribute("href")).startswith("../../planner/#planner?")
    with page.expect_popup() as opened:
        link.click()
    assert opened.value.url.startswith(f"{static_site.url}planner/#planner?model=Qwen")
    opened.value.close()
    page.locator("#run").scroll_into_view_if_needed()
    expect(frames["run"].locator("run-view[data-state=finished]")).to_be_visible()
    expect(frames["run"].locator("run-chart canvas").first).to_be_visible()
    page.locator("#forgetting").scroll_into_view_if_needed()
    slider = frames["forgetting"].locator("input[type=range]")
    slider.fill("0")
    expect(frames["forgetting"].locator("th .slid")).to_have_text("0")
    page.wait_for_function("told.length >= 3")
    told = page.evaluate("told")
    assert {each["unfrozen"] for each in told} == {"height"}
    assert all(static_site.url.startswith(each["origin"]) for each in told)
    assert all(100 < each["height"] < 2000 for each in told)
    assert page.evaluate("history.length") <= 3, "no state of a frame is a step of Back"


def test_the_fold_below_a_figure_has_the_html_of_its_frame(
    page: Page, static_site: StaticSite
) -> None:
    for name in ("", "planner/"):
        page.goto(static_site.url + name)
        fold = page.locator("#opening .embed-fold" if not name else "memory-planner .embed-fold")
        fold.locator("summary").click()
        of = "planner" if name else "forgetting"
        code = fold.locator("code")
        expect(code).to_contain_text(f'<iframe src="{static_site.url}embed/{of}/"')


def test_axe_finds_nothing_in_a_figure_of_its_own(
    chromium: Browser, static_site: StaticSite
) -> None:
    page = chromium.new_context(bypass_csp=True).new_page()
    for name in QUERIES:
        page.goto(f"{static_site.url}embed/{name}/")
        page.locator("memory-planner, run-view[data-state=finished], input").first.wait_for()
        assert objections(page, "main", ("light", 640), ("dark", 320)) == [], name
    page.context.close()


def test_a_runners_server_lets_figures_into_a_frame_and_no_other_page(
    page: Page, serve_site: Server, other_origin: str, tmp_path: Path
) -> None:
    site = f"{serve_site.origin}/"
    frames = show(page, other_origin, tmp_path, site, "forgetting")
    expect(frames["forgetting"].locator("input[type=range]")).to_be_visible()
    page.allowed_errors.append("403")  # type: ignore[attr-defined]
    page.allowed_errors.append("frame")  # type: ignore[attr-defined]
    with page.expect_response(f"{site}planner/") as answered:
        page.evaluate(f"document.getElementById('forgetting').src = '{site}planner/'")
    assert answered.value.status == 403
