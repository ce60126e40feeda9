"""Cells that attack the page, in Chromium and in Firefox: each ends, says why, and gets nowhere.

On a plain file host, which sends no policy: what holds there holds on our server too. One page and
one Python serve all of them, as far as Python outlives them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from browser.plain_host import Host, hosted
from conftest import Server, matrix
from security.cells import Attack, attacks, searches, uses
from security.visitor import Visitor, in_chromium, in_firefox

CHAPTERS = ("what-full-fine-tuning-is", "forgetting")

pytestmark = pytest.mark.slow

STOLEN = "stolen"
ASKED = ("js.fetch", "pyodide_js", "pyfetch", "urllib", "socket", "subprocess", "the old js")
ASKED += ("mount", "timer of text", "constructor")
ODD = ("sys.exit", "SystemExit in a task", "KeyboardInterrupt", "a task that cancels the run")
ODD += ("a loop of causes", "a message of a million", "a class that lies", "a repr that is no text")
ODD += ("half a pair", "print replaced", "print put back", "stdout closed")
ODD += ("builtins emptied", "builtins that are none")
ENDS = ("os._exit", "a list nested", "the loop closed")
ENDS += ("no result", "a script of C with an answer")
TOLD = ("location", "sessionStorage", "cookie", "getEntries", "token", "headers", "everything")
TOLD += ("every text", "environment", "files", "memory")


def some(found: list[Attack], names: tuple[str, ...]) -> list[object]:
    """One attack of each kind for every run, the others for the matrix."""
    return matrix(found, *(attack for attack in found if attack.name in names))


@pytest.fixture(scope="module")
def host(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with hosted(site, tmp_path_factory.mktemp("attacked") / "site") as server:
        yield server


def visit(request: pytest.FixtureRequest, url: str) -> AbstractContextManager[Visitor]:
    """A visitor of `url` in the browser that the fixture's parameter names."""
    if request.param == "firefox":
        return in_firefox(url)
    return in_chromium(request.getfixturevalue("chromium"), url)


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def visitor(request: pytest.FixtureRequest, host: Host) -> Iterator[Visitor]:
    """A reader of the page on the plain host."""
    with visit(request, host.url) as found:
        yield found


@pytest.fixture
def hunter(visitor: Visitor, host: Host) -> Iterator[Visitor]:
    """A visitor whose Python has found all that it can of JavaScript."""
    if visitor.run("len(found)")["errorType"] is not None:
        hunt = visitor.run(attacks("hunt")[0].code)
        assert hunt["value"] == "True", hunt
    yield visitor
    visitor.assert_unharmed()
    assert not [path for path in host.asked if STOLEN in path]


@pytest.mark.parametrize("attack", uses("STOLEN"), ids=str)
def test_a_tool_it_must_not_have_is_not_there(hunter: Visitor, host: Host, attack: Attack) -> None:
    result = hunter.run(attack.code.replace("STOLEN", f"{host.url}{STOLEN}?{attack.name}"))
    assert (result["value"], result["errorType"]) == ("[]", None)


@pytest.mark.parametrize("attack", some(attacks("ask"), ASKED), ids=str)
def test_what_it_asks_for_by_name_is_refused_in_words(
    hunter: Visitor, host: Host, attack: Attack
) -> None:
    result = hunter.run(attack.code.replace("STOLEN", f"{host.url}{STOLEN}"))
    assert not result["ok"]
    assert result["error"]


@pytest.mark.parametrize("attack", some(attacks("odd"), ODD), ids=str)
def test_an_odd_cell_ends_as_any_other(hunter: Visitor, attack: Attack) -> None:
    hunter.run(attack.code)
    after = hunter.run("6 * 7")
    assert (after["value"], after["phase"]) == ("42", "ready")


@pytest.mark.parametrize("attack", some(attacks("exits"), ENDS), ids=str)
def test_an_end_of_python_is_reported_and_python_starts_anew(
    visitor: Visitor, host: Host, attack: Attack
) -> None:
    assert visitor.run("kept = 1\n6 * 7")["value"] == "42"
    result = visitor.run(attack.code.replace("STOLEN", f"{host.url}{STOLEN}"))
    said = result["message"] if result["cleared"] else str(result["error"])
    assert attack.word in said or "RecursionError" in said  # how deep a stack goes is the browser's
    if result["cleared"]:
        assert "variables of all cells are gone" in said
    else:  # what it has turned around goes
        visitor.evaluate("() => document.querySelector('.python-restart').click()")
    after = visitor.run("6 * 7")
    assert (after["value"], after["phase"]) == ("42", "ready")
    visitor.assert_unharmed()
    assert not [path for path in host.asked if STOLEN in path]


@pytest.fixture(scope="module", params=matrix(["chromium", "firefox"], "chromium"))
def let_in(request: pytest.FixtureRequest, serve_site: Server) -> Iterator[Visitor]:
    """A reader of the page on our server, who holds its token."""
    with visit(request, serve_site.url) as found:
        yield found


def test_our_server_s_worker_may_ask_for_nothing_but_scripts(let_in: Visitor) -> None:
    policy = let_in.evaluate(
        "async () => (await fetch('python/worker.js')).headers.get('Content-Security-Policy')"
    )
    assert policy == "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'"


@pytest.mark.parametrize("attack", some(searches(), TOLD), ids=str)
def test_no_cell_finds_the_token(let_in: Visitor, serve_site: Server, attack: Attack) -> None:
    if let_in.run("len(found)")["errorType"] is not None:
        assert let_in.run(attacks("hunt")[0].code)["value"] == "True"
    result = let_in.run(attack.code)
    assert serve_site.token not in str(result)
    let_in.assert_unharmed()
