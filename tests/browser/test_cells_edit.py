"""Editing cells: by keyboard alone, kept over a reload, taken back and given again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.cell_reader import BOXES, CellReader
from browser.drawing import wait

CHAPTERS = ("what-full-fine-tuning-is",)


@pytest.fixture
def reader(page: Page, static_site: Any) -> CellReader:
    return CellReader(page, static_site.url)


def code(reader: CellReader) -> str:
    return str(reader.page.evaluate("(id) => document.getElementById(id).code", reader.cell))


def focused(reader: CellReader) -> str:
    return str(reader.page.evaluate("document.activeElement.className"))


def wait_for_saved(reader: CellReader, wanted: Callable[[str], bool]) -> None:
    """Wait until what the browser keeps of the reader's version, or "", is as wanted."""
    ask, key = "(key) => localStorage.getItem(key) ?? ''", f"unfrozen-cell:{reader.cell}"
    wait(reader.page, lambda: wanted(reader.page.evaluate(ask, key)), "such version in its store")


def test_nothing_of_the_editor_is_fetched_before_it_is_wanted(page: Page, static_site: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    reader = CellReader(page, static_site.url)
    page.wait_for_timeout(300)
    assert not [url for url in asked if "/editor-" in url or "pyodide" in url]
    page.locator(f"#{reader.cell} .cell-source").click()
    page.locator(f"#{reader.cell} .cm-focused").wait_for()
    assert [url for url in asked if "/editor-" in url]


def test_opening_the_editor_moves_nothing(page: Page, static_site: Any) -> None:
    reader = CellReader(page, static_site.url)
    page.evaluate("() => document.querySelectorAll('.cell-fold').forEach((f) => (f.open = true))")
    before = reader.page.evaluate(BOXES)
    for cell in reader.cells:
        reader.page.evaluate("(id) => document.getElementById(id).source.edit()", cell)
    after = reader.page.evaluate(BOXES)
    for (name, top, height), (_, new_top, new_height) in zip(before, after, strict=True):
        assert (new_top, new_height) == pytest.approx((top, height), abs=0.5), name


def test_a_long_cell_runs_folded_and_the_keyboard_alone_unfolds_edits_runs_leaves_and_resets(
    reader: CellReader,
) -> None:
    page, cell, baked = reader.page, reader.page.locator(f"#{reader.cell}"), reader.shown()
    source, summary = cell.locator(".cell-source"), cell.locator("summary")
    imports, status = source.locator(".kn").first, cell.locator(".cell-bar [role=status]")
    whole = code(reader)
    assert whole.count("\n") > 12
    expect(imports).to_be_hidden()
    assert "import" not in source.inner_text()
    cell.locator(".cell-run").click()
    expect(status).to_have_text("Done", timeout=90_000)
    for state in (expect(imports).to_be_visible, expect(imports).to_be_hidden):
        summary.focus()
        page.keyboard.press("Enter")
        state()
    assert code(reader) == whole
    assert "press Enter to edit" in str(source.get_attribute("aria-label"))
    source.focus()
    page.keyboard.press("Enter")
    cell.locator(".cm-focused").wait_for()
    assert cell.locator(".cm-content").inner_text().count("import") >= 2
    expect(cell.locator("details")).to_have_attribute("open", "")
    page.keyboard.press("Control+A")
    page.keyboard.type("for i in range(3):\nprint(i)\n")
    assert code(reader).startswith("for i in range(3):\n    print(i)\n")
    page.keyboard.press("Shift+Enter")
    cell.locator(".cell-stdout", has_text="0\n1\n2\n").wait_for()
    expect(status).to_have_text("Done")
    page.keyboard.press("Escape")
    assert focused(reader) == "cell-run"
    cell.locator(".cell-reset").focus()
    page.keyboard.press("Enter")
    assert reader.shown() == baked


def test_a_click_puts_the_cursor_where_it_fell_and_tab_is_no_trap(reader: CellReader) -> None:
    page, cell, before = reader.page, reader.page.locator(f"#{reader.cell}"), code(reader)
    cell.locator(":is(.cell-source .mi, .cell-source .mf)").first.click()
    cell.locator(".cm-focused").wait_for()
    at = page.evaluate(
        "(id) => document.getElementById(id).source.editor.state.selection.main.head", reader.cell
    )
    assert any(letter.isdigit() for letter in before[at - 4 : at + 4])
    cell.locator(".cm-gutters").wait_for(state="visible")
    page.keyboard.press("Tab")
    assert focused(reader) == "cell-run"
    assert code(reader) == before
    cell.locator(".cm-gutters").wait_for(state="hidden")  # they number what is edited alone


def test_an_edit_survives_a_reload_and_reset_takes_it_back_and_undo_again(
    reader: CellReader,
) -> None:
    page = reader.page
    article = code(reader)
    page.evaluate("(id) => { document.getElementById(id).code = 'mine = 1\\n'; }", reader.cell)
    wait_for_saved(reader, lambda kept: "mine = 1" in kept)
    page.reload()
    page.locator(f"#{reader.cell} .cm-content").wait_for()
    assert code(reader) == "mine = 1\n"
    expect(page.locator(f"#{reader.cell} .cell-run")).to_have_text("Run your version")
    assert "before your edit" in str(reader.shown()["note"])
    button = page.locator(f"#{reader.cell} .cell-reset")
    button.click()
    assert code(reader) == article
    assert reader.shown()["note"] == "Computed beforehand"
    assert button.inner_text() == "Undo reset"
    button.click()
    assert code(reader) == "mine = 1\n"
    button.click()
    wait_for_saved(reader, lambda kept: not kept)
    page.reload()
    page.locator(f"#{reader.cell} .cell-run").wait_for()
    assert code(reader) == article


def test_a_changed_article_keeps_the_reader_s_version_and_offers_the_new(
    reader: CellReader,
) -> None:
    page = reader.page
    article = code(reader)
    kept = '{"hash": "0123456789abcdef", "code": "mine = 2"}'
    page.evaluate(
        "([key, kept]) => localStorage.setItem(key, kept)", [f"unfrozen-cell:{reader.cell}", kept]
    )
    page.reload()
    note = page.locator(f"#{reader.cell} .cell-versions")
    expect(note).to_contain_text("has changed since you edited yours")
    assert code(reader) == "mine = 2"
    assert note.locator("ins").all_text_contents() == ["+ mine = 2"]
    assert note.locator("del").count() == len(article.splitlines()) + 1
    note.get_by_role("button", name="Take the new version").click()
    assert code(reader) == article
    page.locator(f"#{reader.cell} .cell-reset").click()  # undone: it is asked for again
    wait_for_saved(reader, lambda found: "mine = 2" in found and found != kept)
    page.evaluate(
        "([key, kept]) => localStorage.setItem(key, kept)", [f"unfrozen-cell:{reader.cell}", kept]
    )
    page.reload()
    note.get_by_role("button", name="Keep mine").click()
    page.reload()
    page.locator(f"#{reader.cell} .cell-run").wait_for()
    assert code(reader) == "mine = 2"
    assert note.count() == 0


def test_all_edits_are_saved_as_one_file_also_those_that_the_browser_refuses_to_store(
    reader: CellReader,
) -> None:
    page = reader.page
    old = "localStorage.setItem('unfrozen-cell:gone', JSON.stringify({ code: 'old = 1' }))"
    page.evaluate(
        f"() => {{ {old}; Storage.prototype.setItem = () => {{ throw Error('full'); }}; }}"
    )
    page.evaluate("(id) => { document.getElementById(id).code = 'mine = 1\\n'; }", reader.cell)
    status = page.locator(f"#{reader.cell} .cell-bar [role=status]")
    expect(status).to_have_text("This browser stores no edits: they last as long as this page.")
    with page.expect_download() as button:
        page.locator(f"#{reader.cell} .cell-message button").click()
    expect(status).to_have_text("2 edits saved")
    page.evaluate("(id) => document.getElementById(id).source.edit()", reader.cell)
    with page.expect_download() as keys:
        page.keyboard.press("Control+s")
    for download in (button.value, keys.value):
        text = Path(download.path()).read_text(encoding="utf-8")
        assert text.endswith(f"# %% {reader.cell}\nmine = 1\n\n# %% gone\nold = 1\n")


def test_edits_in_two_tabs_are_both_kept_until_one_is_chosen(reader: CellReader) -> None:
    write = "([id, code]) => { document.getElementById(id).code = code; }"
    other = CellReader(reader.page.context.new_page(), reader.page.url)
    reader.page.evaluate(write, [reader.cell, "mine = 1\n"])
    note = other.page.locator(f"#{reader.cell} .cell-versions")
    expect(note.locator("ins")).to_have_text("+ mine = 1")
    expect(note).to_contain_text("You changed this cell in another tab")
    other.page.evaluate(write, [reader.cell, "yours = 2\n"])
    first = reader.page.locator(f"#{reader.cell} .cell-versions")
    expect(first.locator("ins")).to_have_text("+ yours = 2")
    reader.page.close()
    other.page.reload()  # both are stored
    expect(note.locator("del")).to_have_text("− yours = 2")
    expect(note.locator("ins")).to_have_text("+ mine = 1")
    note.get_by_role("button", name="Take the other").click()
    assert code(other) == "mine = 1\n"
    other.page.reload()
    other.page.locator(f"#{reader.cell} .cell-run").wait_for()
    assert (code(other), note.count()) == ("mine = 1\n", 0)


def test_a_version_is_shared_by_a_link_and_neither_run_nor_saved_before_it_is_taken(
    reader: CellReader, chromium: Browser
) -> None:
    page = reader.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    article = code(reader)
    unseen = "\u202e", "\u200b", "\u3164", "\U000e0041"  # which turn text around, or hide it
    far = f"print('{''.join(unseen)}'){' ' * 3000}; print('far')"
    mine = f"{article.replace('steps = 40', 'steps = 20')}print('é')\n{far}\n"
    page.evaluate(
        "([id, mine]) => { document.getElementById(id).code = mine; }", [reader.cell, mine]
    )
    page.locator(f"#{reader.cell} .cell-share").click()
    expect(page.locator(f"#{reader.cell} .cell-status")).to_have_text("Link copied")
    link = page.evaluate("() => navigator.clipboard.readText()")
    assert f"#{reader.cell}&edit?" in link
    other = chromium.new_page()
    other.goto(link)
    note = other.locator(f"#{reader.cell} .cell-versions")
    expect(note).to_contain_text("It was neither run nor saved.")
    expect(note).to_be_in_viewport()
    names = [f"U+{ord(one):04X}" for one in unseen]
    shown = f"+ {far.replace(''.join(unseen), ''.join(names))}"
    assert note.locator("ins").all_text_contents() == ["+ steps = 20", "+ print('é')", shown]
    assert note.locator("mark").all_text_contents() == names
    assert note.locator(".cell-diff").evaluate("(all) => all.scrollWidth <= all.clientWidth")
    assert other.url.endswith(f"#{reader.cell}")
    read = "(id) => [document.getElementById(id).code, localStorage.length]"
    assert other.evaluate(read, reader.cell) == [article, 0]
    note.get_by_role("button", name="Take it").click()
    assert other.evaluate(read, reader.cell)[0] == mine
    marks = other.locator(f"#{reader.cell} .cm-content mark")
    expect(marks).to_have_text(names)  # also once it is taken
    for damaged in (link[:-4], f"{link[:-9]}%00", link.replace("edit?", "edit?" + "A" * 100_001)):
        other.goto("about:blank")
        other.goto(damaged)
        other.locator(f"#{reader.cell} .cell-run").wait_for()
        assert other.evaluate(read, reader.cell)[0] == mine  # as it was taken before
    other.close()


def test_a_link_to_a_cell_that_is_not_there_says_so(page: Page, static_site: Any) -> None:
    page.goto(f"{static_site.url}#%E0%A4%A&edit?SyzKBQA")
    expect(page.locator("live-cell").first).to_contain_text("a cell that is not on this page")
