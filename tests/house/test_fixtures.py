"""The fixtures of all tests do what they say: real server, real browser, errors that count."""

from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page

from conftest import Server


def answer(server: Server) -> int:
    """The status of the list of runs, asked for with the server's token."""
    bearer = {"Authorization": f"Bearer {server.token}"}
    with urlopen(Request(f"{server.origin}/api/runs", headers=bearer), timeout=60) as reply:
        return int(reply.status)


def test_the_server_survives_being_killed_and_restarted(serve_site: Server) -> None:
    assert answer(serve_site) == 200
    serve_site.kill()
    with pytest.raises(OSError, match="refused"):
        answer(serve_site)
    serve_site.restart()
    assert answer(serve_site) == 200


def test_the_page_opens_without_an_error(page: Page, serve_site: Server) -> None:
    page.goto(serve_site.url)
    assert page.locator("live-cell").count() >= 2
